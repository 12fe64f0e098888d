"""What the paper reports: Tables 3 and 4."""

from dataclasses import dataclass

# Table 3: SpEAT d of each model, in the paper's order of rows and columns.
TABLE_3_COLUMNS = ("Age", "Native", "Gender")
TABLE_3 = {
    "Wav2Vec2 slim": (0.49, 0.52, 0.85),
    "Wav2Vec2 small": (0.40, 0.31, 0.07),
    "Wav2Vec2 base": (0.51, 0.21, 1.21),
    "Wav2Vec2 large": (0.46, 0.69, 0.58),
    "HuBERT slim": (0.52, 0.62, 0.91),
    "HuBERT small": (0.50, 0.33, 0.54),
    "HuBERT base": (0.52, 0.68, 1.04),
    "MelHuBERT slim": (0.44, 0.55, 1.33),
    "MelHuBERT small": (0.14, 0.57, 0.92),
    "MelHuBERT base": (0.16, 0.62, 0.92),
    "STFT": (0.39, -0.07, -0.04),
    "Spectrogram": (-0.32, -0.12, 0.17),
    "Mel Spectrogram": (-0.32, -0.07, 0.03),
    "MFCC": (-0.05, 0.13, 0.50),
}


@dataclass(frozen=True)
class Utility:
    """A row of Table 4: phone error rates in per cent. Pruned models: the middle size and the sparsest."""

    family: str
    method: str  # distillation, heads, rows or weights
    base: float
    compressed: tuple[float, ...]


# Table 4: the middle sizes are 72 of 144 heads, 1536 of 3072 rows and a sparsity of 0.4; the students have 2 layers.
TABLE_4 = (
    Utility("wav2vec2", "distillation", 5.7, (21.3,)),
    Utility("wav2vec2", "heads", 5.7, (11.5, 18.8)),
    Utility("wav2vec2", "rows", 5.7, (8.9, 17.3)),
    Utility("wav2vec2", "weights", 5.7, (6.6, 8.9)),
    Utility("hubert", "distillation", 5.41, (18.6,)),
    Utility("melhubert", "distillation", 8.2, (27.2,)),
    Utility("melhubert", "heads", 8.2, (7.0, 11.6)),
    Utility("melhubert", "rows", 8.2, (8.8, 14.1)),
    Utility("melhubert", "weights", 8.2, (8.1, 8.7)),
)
TABLE_4_MIDDLE = {"heads": 72 / 144, "rows": 1536 / 3072, "weights": 1 - 0.4}  # what is left, as a share
