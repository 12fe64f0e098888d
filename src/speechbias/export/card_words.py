"""What a model card says in words: what the model is, how to use it, what it is not meant for, how biased it is."""

import json
import shlex

from speechbias.inspection import Description
from speechbias.report.card import bias_section
from speechbias.report.grid import Grid

FAMILY_NAMES = {"wav2vec2": "wav2vec 2.0", "hubert": "HuBERT", "melhubert": "MelHuBERT"}
WHAT = {
    "hf": "as a folder that `transformers` loads",
    "onnx": "as an ONNX file in float32",
    "int8": "as an ONNX file whose linear layers are quantised to 8 bits",
    "speechbias": "as a checkpoint of speechbias",
}
USE = """\
It gives one vector per frame of speech. Intended for research: as input of a recogniser or classifier of one's own,
and for studies of what such models represent.

Not intended to judge, rank or identify people, or to infer their gender, age, origin, health or feelings. What a
system built on this model does to people has to be tested in that system, on the speech of those it will meet; no
number in this card stands in for that. The model hears 16 kHz mono speech, and its training data decide which speech
it knows.
"""
TRANSFORMERS_USE = """\
```python
import numpy as np
import torch
from transformers import AutoFeatureExtractor, {kind}

extractor = AutoFeatureExtractor.from_pretrained("FOLDER")
model = {kind}.from_pretrained("FOLDER")
wave = np.zeros(16_000, np.float32)  # one utterance: mono, 16 kHz, in [-1, 1]
with torch.no_grad():
    given = model(**extractor(wave, sampling_rate=16_000, return_tensors="pt"), output_hidden_states=True)
# given.last_hidden_state: (1, frames, dim); given.hidden_states: one per layer, and one before the first
```
"""
NOT_MEASURED = """\
Not measured. That is no sign of absence: representations of speech models have been found associated with the groups
of speakers that were looked at. Measure this model on recordings of your own:

```
speechbias measure {model} --stimuli FILE.csv -o results.jsonl
```
"""
OF_THE_ORIGIN = {
    "onnx": "These numbers are of the checkpoint that was exported. This file computes the same up to rounding.",
    "int8": "These numbers are of the checkpoint before it was quantised. This file's own may differ: measure it.",
    "hf": "These numbers are of the checkpoint that was exported, which holds the same weights.",
    "speechbias": "These numbers are of the checkpoint that was exported, which holds the same weights.",
}


def introduce(described: Description, form: str) -> str:
    """The first sentence."""
    norm = "pre" if described.pre_norm else "post"
    kind = "distilled student" if described.student else "speech encoder"
    return (
        f"A {FAMILY_NAMES[described.family]} {kind}, {WHAT[form]}: {described.num_layers} transformer layers "
        f"({norm}-norm), hidden states of {described.dim} numbers every {1000 * described.frame_shift:g} ms.\n"
    )


def say_usage(described: Description, form: str, *, file: str) -> str:
    """A first program with it; ``file``: its name, where it is one file."""
    measure = "```\nspeechbias measure FOLDER --stimuli FILE.csv -o results.jsonl\n```\n"
    if form == "hf":
        kind = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel"}[described.family]
        return TRANSFORMERS_USE.format(kind=kind)
    if form == "speechbias":
        return f'```python\nimport speechbias\n\nencoder = speechbias.load_encoder("FOLDER")\n```\n\n{measure}'
    feed = (
        '{"wave": wave[None]}' if described.recipe.get("mel_stats", "") is not None else '{"features": frames[None]}'
    )
    given = (
        "wave = np.zeros(16_000, np.float32)  # one utterance: mono, 16 kHz, in [-1, 1], of any length"
        if "wave" in feed
        else f"frames = np.zeros((50, {_width(described)}), np.float32)  # log-mel, normalised per bin, stacked"
    )
    return (
        "```python\nimport numpy as np\nimport onnxruntime\n\n"
        f"session = onnxruntime.InferenceSession({json.dumps(file)})\n{given}\n"
        f"states, last = session.run(None, {feed})\n"
        "# states: (hidden states, frames, dim), state 0 is before the first layer\n"
        "# last: (frames, dim), the last of them\n"
        "```\n\nThe file's metadata say the rest: `session.get_modelmeta().custom_metadata_map`.\n"
    )


def _width(described: Description) -> int:
    """Of a frame of stacked log-mel."""
    front = described.front_end
    return int(str(front["bins"])) * int(str(front["stack"]))


def say_bias(grid: Grid | None, form: str, *, own: bool, file: str) -> str:
    """Its d's, those of its ``own`` or of what it was made from; where there are none, that this is no good sign."""
    if grid is None:
        return NOT_MEASURED.format(model=shlex.quote(file) if form in {"onnx", "int8"} else "FOLDER")
    return ("" if own else OF_THE_ORIGIN[form] + "\n\n") + bias_section(grid)
