"""The second anchor: SpEAT's d of the paper's three categories, and which published weights both measured.

Slaughter et al., "Pre-trained speech processing models contain human-like biases that propagate to speech emotion
recognition", Findings of EMNLP 2023; github.com/isaacOnline/SpEAT, plots/eats/test_results/all_mean_mean_results.csv
(attributes of the Morgan set, mean over time and layers): Age 58, Native 59, Gender 60 clips per group.
"""

from dataclasses import dataclass

SPEAT_COUNTS = {"Age": 58, "Native": 59, "Gender": 60}
# d in the paper's order of columns, by SpEAT's names of models
SPEAT = {
    "wav2vec2_base": (0.4586, 0.1764, 1.2302),
    "wav2vec2_large_ls960": (0.4668, 0.7463, 0.5300),
    "wav2vec2_large_ll60k": (0.3135, 1.2375, -0.1582),
    "hubert_base_ls960": (0.5576, 0.6214, 1.0649),
    "hubert_large_ll60k": (0.9487, 0.8395, 0.9118),
    "hubert_xtralarge_ll60k": (0.6959, 1.1085, 0.7835),
    "wavlm_base": (0.6380, 0.5249, 1.0689),
    "wavlm_base_plus": (0.6997, 0.5559, 1.3596),
    "wavlm_large": (0.7066, 1.0340, 1.3936),
    "whisper_base_encoder": (1.0188, 1.3106, 0.8866),
    "whisper_base_en_encoder": (0.9788, 1.2216, 1.1587),
    "whisper_small_encoder": (1.0867, 0.8902, 0.8546),
    "whisper_small_en_encoder": (-1.0487, -0.6726, 0.4531),
    "whisper_medium_encoder": (0.9569, 0.8131, 0.6731),
    "whisper_medium_en_encoder": (1.0200, 0.6058, 0.6825),
    "whisper_large_encoder": (1.0598, 0.7253, 0.9377),
}


SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")  # of files of weights; an .onnx may hold integers


@dataclass(frozen=True)
class Weights:
    """Published weights of a row of Table 3 or of SpEAT: the names under which they lie on disk, and where from."""

    names: tuple[str, ...]  # of files without their suffix, of folders, hub ids; the first is what a note names
    source: str
    licence: str
    hub: str | None = None  # the same weights for transformers
    speat: str | None = None  # SpEAT's name

    def are(self, model: str) -> bool:
        """Whether a record's ``model`` is one of these names; of a file as it lies on disk, with its suffix."""
        stem = next((model.removesuffix(each) for each in SUFFIXES if model.endswith(each)), model)
        return stem in self.names or model == self.hub


_FAIRSEQ = "https://dl.fbaipublicfiles.com/"
_MIT = "MIT"
WEIGHTS = {  # by the paper's name of the row; its footnotes 1 to 3
    "Wav2Vec2 base": Weights(
        ("wav2vec_small", "wav2vec2-base"),
        f"{_FAIRSEQ}fairseq/wav2vec/wav2vec_small.pt",
        _MIT,
        hub="facebook/wav2vec2-base",
        speat="wav2vec2_base",
    ),
    "Wav2Vec2 large": Weights(
        ("libri960_big", "wav2vec2-large"),
        f"{_FAIRSEQ}fairseq/wav2vec/libri960_big.pt",
        _MIT,
        hub="facebook/wav2vec2-large",
        speat="wav2vec2_large_ls960",
    ),
    "HuBERT base": Weights(
        ("hubert_base_ls960", "hubert-base-ls960"),
        f"{_FAIRSEQ}hubert/hubert_base_ls960.pt",
        _MIT,
        hub="facebook/hubert-base-ls960",
        speat="hubert_base_ls960",
    ),
    "MelHuBERT base": Weights(
        ("melhubert-base", "melhubert_20ms_960h_stage2", "MelHuBERT-20ms"),
        "github.com/nervjack2/MelHuBERT, 20 ms, 960 h, stage 2",
        "not stated",
    ),
}
