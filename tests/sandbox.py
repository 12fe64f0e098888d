"""What the commands of the documents name, in small: recordings, corpora in their layouts, models, recipes, runs.

``main`` stands for the repository's root and ``shared`` lies beside it. Whatever a command names is there under that
very name, tiny: so the commands run as they are printed.
"""

import csv
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from exportable import MEL_STATS, drawn, saved, tiny
from laid_corpora import lay_archive, lay_morgan
from printed import ROOT
from recordings import RATE, tone, write_csv
from shrunk import write_shrunk
from speechbias.export import export_checkpoint
from speechbias.models.convert.names import FAIRSEQ_NAMES

CORPORA = {"saa", "SAA", "mess", "MESS", "LibriSpeech", "RAVDESS", "CREMA-D"}
PHONES = ["T", "S", "M", "N", "K"]
PEOPLE = 6  # speakers of a group
SAID = ["the cat sat on the mat and saw a dog run by", "she had your dark suit in water", "he will go home"]


def make_sandbox(folder: Path) -> Path:
    """Everything; the path of ``main``."""
    main, shared = folder / "main", folder / "shared"
    main.mkdir()
    write_recordings(main)
    lay_corpora(main)
    write_models(main)
    write_recipes(main)
    write_shared(shared)
    shutil.copytree(main / "openai" / "whisper-tiny.en", shared / "models" / "whisper-tiny.en")
    return main


def copy_sandbox(main: Path, folder: Path) -> Path:
    """A sandbox of one's own, without copies of the corpora, which nobody changes; the path of its ``main``."""
    (folder / "main").mkdir()
    (folder / "shared").symlink_to(main.parent / "shared")
    for path in main.iterdir():
        copied = folder / "main" / path.name
        if path.name in CORPORA:
            copied.symlink_to(path.resolve())
        elif path.is_dir():
            shutil.copytree(path, copied)
        else:
            shutil.copy(path, copied)
    return folder / "main"


def write_voice(path: Path, *, bright: bool, seed: int) -> None:
    """A second of syllables; of two kinds, which differ in pitch, and by chance in all else."""
    rng = np.random.default_rng(seed)
    pitch = rng.uniform(110, 150) * (1.2 if bright else 1)
    wave = tone(pitch, seconds=rng.uniform(0.8, 1.2), seed=seed, tilt=rng.uniform(0.7, 1.2))
    syllables = np.sin(np.pi * rng.uniform(3, 6) * np.arange(len(wave)) / RATE) ** 2
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave * (0.02 + syllables), RATE)


def write_recordings(main: Path) -> None:
    """``gender.csv`` and others, of 8 speakers of two clips in X and in Y; ``manifest.csv`` of the same kind."""
    people = []
    for number in range(2 * PEOPLE):
        woman = number < PEOPLE
        columns = {
            "gender": "female" if woman else "male",
            "age": 25 + 5 * (number % 6),
            "accent": ("usa", "korea", "spain")[number % 3],
        }
        people += [(f"s{number}", columns, take) for take in range(2)]
    moods = [("happy", "positive"), ("angry", "negative")]
    targets = [("target", speaker, columns, f"clips/{speaker}-{take}.wav") for speaker, columns, take in people]
    attributes = [
        ("attribute", f"t{talker}", {"emotion": emotion, "valence": valence}, f"clips/t{talker}-{emotion}-{take}.wav")
        for talker in range(5)
        for emotion, valence in moods
        for take in range(2)
    ]
    names = ("path", "role", "speaker", "gender", "age", "accent", "emotion", "valence", "text")
    rows = []
    for number, (role, speaker, columns, path) in enumerate((*targets, *attributes)):
        bright = columns.get("gender") == "female" or columns.get("valence") == "positive"
        write_voice(main / path, bright=bright, seed=number)
        said = {"path": path, "role": role, "speaker": speaker, "text": SAID[number % 3]}
        rows.append(dict.fromkeys(names, "") | said | columns)
    write_csv(main / "manifest.csv", rows)
    write_csv(main / "more.csv", [{"path": row["path"], "text": row["text"]} for row in rows[:4]])
    for name in ("gender", "age", "native"):
        write_csv(main / f"{name}.csv", [_stimulus(row, name) for row in rows])


def _stimulus(row: dict, test: str) -> dict:
    if row["role"] == "attribute":
        set_, group = ("A", "positive") if row["valence"] == "positive" else ("B", "negative")
    else:
        first = {"gender": row["gender"] == "female", "age": row["age"] < 40, "native": row["accent"] == "usa"}[test]
        set_, group = ("X", f"{test} 1") if first else ("Y", f"{test} 2")
    return {"path": row["path"], "set": set_, "group": group} | {k: v for k, v in row.items() if k != "path"}


def lay_corpora(main: Path) -> None:
    """Corpora as they lie on disk; those of the paper whole, but for what is on the recordings."""
    lay_archive(main / "saa")
    lay_morgan(main / "mess")
    for other, name in (("SAA", "saa"), ("MESS", "mess")):
        (main / other).symlink_to(name)
    lay_librispeech(main / "LibriSpeech")
    lay_acted(main)


def lay_librispeech(folder: Path) -> None:
    """Eight speakers in every set, who say the same sentences; transcripts, and a lexicon of their words."""
    sets = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "test-clean")
    lines = []
    for number in range(1, 9):
        for place, part in enumerate(sets):
            chapter = folder / part / str(number) / "10"
            write_voice(chapter / f"{number}-10-0000.flac", bright=number % 2 == 1, seed=10 * number + place)
            (chapter / f"{number}-10.trans.txt").write_text(f"{number}-10-0000 {SAID[number % 3].upper()}\n")
        lines.append(f"{number:<5}| {'F' if number % 2 else 'M'} | train-clean-100 | 25.0 | Name")
    (folder / "SPEAKERS.TXT").write_text("\n".join(lines))
    words = sorted({*" ".join(SAID).split()})
    lexicon = "".join(f"{word.upper()} AH0 {PHONES[ord(word[0]) % len(PHONES)]}\n" for word in words)
    for kind in ("200k", "allothers"):
        (folder / f"librispeech-lexicon-{kind}-g2p.txt").write_text(lexicon)


def lay_acted(main: Path) -> None:
    """RAVDESS by four actors, CREMA-D by eight."""
    for actor, emotion in product(range(1, 5), range(1, 9)):
        name = f"03-01-{emotion:02d}-{1 if emotion == 1 else 2:02d}-01-01-{actor:02d}.wav"
        path = main / "RAVDESS" / f"Actor_{actor:02d}" / name
        write_voice(path, bright=emotion in {2, 3}, seed=9 * actor + emotion)
    actors = range(1001, 1009)
    for actor, emotion in product(actors, ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")):
        path = main / "CREMA-D" / "AudioWAV" / f"{actor}_DFA_{emotion}_XX.wav"
        write_voice(path, bright=emotion == "HAP", seed=actor)
    races = ("Caucasian", "African American")
    rows = [f"{actor},{20 + actor % 40},Female,{races[actor % 2]},Not Hispanic" for actor in actors]
    table = "\n".join(["ActorID,Age,Sex,Race,Ethnicity", *rows])
    (main / "CREMA-D" / "VideoDemographics.csv").write_text(table + "\n")


def write_models(main: Path) -> None:
    """Files and folders of the formats that their names stand for."""
    for name, family in (("wav2vec_small", "wav2vec2"), ("libri960_big", "wav2vec2"), ("hubert_base_ls960", "hubert")):
        write_fairseq(main / f"{name}.pt", family, ffn=(160,) * 3)
    for name in ("melhubert", "melhubert_960h_20ms_stage2"):
        write_fairseq(main / f"{name}.ckpt", "melhubert")
    np.save(main / "libri-960-mean-std.npy", MEL_STATS)
    write_distilled(main / "distilhubert_ls960_4-8-12.ckpt")
    shutil.copy(main / "wav2vec_small.pt", main / "FILE")
    rng = np.random.default_rng(0)
    np.savez(main / "embeddings.npz", **{name: rng.normal(size=(8, 6)) for name in "XYAB"})
    write_whisper(main / "openai" / "whisper-tiny.en")
    saved(main / "checkpoint", tiny("hubert"))
    for name, family in (
        ("wav2vec2-base", "wav2vec2"),
        ("wav2vec2-large", "wav2vec2"),
        ("hubert-base-ls960", "hubert"),
    ):
        export_checkpoint(saved(main / "ours" / name, tiny(family)), main / "facebook" / name, latency=False)
    student = saved(main / "ours" / "distilhubert", tiny("hubert", heads=(4, 4), ffn=(32, 32)))
    export_checkpoint(student, main / "ntu-spml" / "distilhubert", latency=False)
    shutil.rmtree(main / "ours")
    for name, family in (("MODEL", "hubert"), ("OTHER", "wav2vec2")):
        saved(main / name, tiny(family))
    for name in ("MORE", "whisper-tiny.en"):
        shutil.copytree(main / "openai" / "whisper-tiny.en", main / name)
    (main / "models").mkdir()


def write_fairseq(path: Path, family: str, **shape: tuple[int, ...]) -> None:
    """A checkpoint with fairseq's (for MelHuBERT: its own) names and settings."""
    cfg = {"model": {"_name": family, "encoder_attention_heads": 4}, "task": {"normalize": False}}
    torch.save({"cfg": cfg, "model": _foreign(drawn(tiny(family, **shape)).state_dict())}, path)


def write_distilled(path: Path) -> None:
    """A student as S3PRL's distiller saves it."""
    config = tiny("hubert", heads=(4, 4), ffn=(32, 32), student=True)
    config = replace(config, frontend=replace(config.frontend, feature_norm=False))
    settings = {
        "extractor_conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2",
        "extractor_mode": "default",
        "encoder_layers": 2,
        "encoder_embed_dim": 16,
        "encoder_attention_heads": 4,
        "activation_fn": "gelu",
        "layer_norm_first": False,
        "n_tasks": 3,
        "pred_layer_id": [4, 8, 12],
    }
    made = {"distiller": settings, "teacher": {"model": "hubert_base", "n_layers": 12}}
    tensors = {k: v for k, v in drawn(config).state_dict().items() if k.startswith("encoder.")}
    torch.save({"Distiller": _foreign(tensors), "Config": made, "Step": 200_000}, path)


def _foreign(state: dict) -> dict:
    names = {}
    for name in state:
        theirs = FAIRSEQ_NAMES.theirs(name.removeprefix("encoder."))
        theirs = theirs.replace("parametrizations.weight.original0", "weight_g")
        names[name] = theirs.replace("parametrizations.weight.original1", "weight_v")
    return {names[name]: tensor for name, tensor in state.items()}


def write_whisper(folder: Path) -> None:
    """A random Whisper with four blocks, as transformers keeps it."""
    sizes = {"d_model": 16, "encoder_attention_heads": 1, "decoder_attention_heads": 1, "num_mel_bins": 20}
    layers = {"encoder_layers": 4, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    few = {"max_source_positions": 100}  # windows of 2 s
    tokens = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        WhisperModel(WhisperConfig(**sizes, **layers, **tokens, **few)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=20, chunk_length=2).save_pretrained(folder)


def write_recipes(main: Path) -> None:
    """Those of the repository, shrunk, and those of the reader's own that pages speak of."""
    write_shrunk(ROOT / "recipes", main / "recipes")
    tiny_recipes = main / "recipes" / "tiny"
    own = {"RECIPE": "pretrain-melhubert", "RECIPE.toml": "pretrain-melhubert", "prune.toml": "prune-heads"}
    for name, of in own.items():
        text = (tiny_recipes / f"{of}.toml").read_text().replace('base = "', 'base = "recipes/tiny/')
        (main / name).write_text(text)
    by_bias = '[prune]\ncriterion = "bias"\nstimuli = "halves/gender-scored.csv"\nbalance = 0.5'
    (main / "prune.toml").write_text((main / "prune.toml").read_text().replace("[prune]", by_bias))
    shutil.copy(main / "recipes" / "tiny" / "probe.toml", main / "my.toml")


def write_shared(shared: Path) -> None:
    """``../shared``: the tables of real speech with the columns that commands and recipes ask for."""
    rows = []
    for number in range(16):
        sex = "female" if number % 2 else "male"
        rows.append({"corpus": "LibriSpeech test-other", "speaker": f"ls_{number}", "gender": sex})
    for number in range(12):
        valence = "positive" if number % 2 else "negative"
        rows.append({"corpus": "RAVDESS", "speaker": f"actor_{number // 2}", "valence": valence})
    for number in range(12):
        accent = ("USA/neutral", "BEL/French", "USA/neutral", "GRC/Greek")[number % 4]
        rows.append({"corpus": "FSDD", "speaker": f"fsdd_{number % 4}", "accent": accent})
    names = [f"audio/clip_{n}.flac" for n in range(len(rows))]
    rows += [{"corpus": "CMU ARCTIC", "speaker": "cathy"} for _ in range(4)]
    names += [f"audio/arctic_b000{n}.flac" for n in range(4)]
    write_speech(shared / "data" / "speech", names, rows)
    pool = [f"audio/cathy_arctic_a{n:04d}.flac" for n in range(12)]
    write_speech(shared / "data" / "pool", pool, [{"corpus": "CMU ARCTIC", "speaker": "cathy"}] * len(pool))


def write_speech(folder: Path, names: list[str], rows: list[dict]) -> None:
    """A manifest and its clips."""
    columns = ("file", "corpus", "speaker", "gender", "accent", "valence", "text")
    folder.mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for number, (name, row) in enumerate(zip(names, rows, strict=True)):
            bright = row.get("gender") == "female" or row.get("valence") == "positive"
            write_voice(folder / name, bright=bright, seed=number)
            text = f"{SAID[number % 3]} {'again ' * (number % 4)}"
            writer.writerow({"file": name, "text": text.strip(), **row})
