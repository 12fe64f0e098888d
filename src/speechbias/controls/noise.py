"""Does a model tell speech from noise at all? If not, no d of it says anything of speech.

X and A are targets of the test, of disjoint speakers; Y and B are noise, a clip for each of theirs, as long and as
loud (RMS over the clip). So neither length nor level tells them apart, whatever else does. The noise is white: this is
the lowest bar, which everything passes whose embeddings depend on what is heard, and neither a constant nor chance.
Noise with the spectrum of the clip itself would be a bar that a mean spectrum, which is a fair feature, need not pass.
A clip is a unit of its own here: asked is about this model and these clips, not about other speakers. There is no
p_attribute: speech and noise lie so far apart that any unequal deal of A and B gives a d near to 2 or to -2.
"""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from speechbias.audio import AudioFacts, read_audio
from speechbias.embeddings import Cache, Vectors, pool, single_threaded
from speechbias.encoder import Encoder, Wave
from speechbias.errors import InputError
from speechbias.inference.association import associate
from speechbias.paper import EFFECT_BOUNDS
from speechbias.stimuli import Stimulus, StimulusSet

CLIPS = 6  # in X and in A at the most: 924 relabellings, all of which are counted
LARGE = EFFECT_BOUNDS["large"]  # d that speech against noise has to reach
ALPHA = 0.01
FEWEST = 5  # of each: with 4, no p can be below alpha


def noise_control(
    encoder: Encoder,
    test: StimulusSet,
    facts: Mapping[Path, AudioFacts],
    *,
    cache: Path | None = None,
    workers: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """What a record of this control holds beside what it is of: ``noise`` with d and p, and ``passed``.

    ``facts`` of the audio, by path. ``passed`` is None, and ``why`` says so, where the test has too few targets or
    speakers for two halves.
    """
    halves = choose_speech(test)
    if min(map(len, halves)) < FEWEST:
        why = f"it has fewer than {2 * FEWEST} targets whose speakers make two halves"
        return {"noise": None, "passed": None, "why": why}
    files = [[facts[clip.path] for clip in half] for half in halves]
    asked = {"kind": "white", "clips": [len(half) for half in halves], "alpha": ALPHA}
    try:
        pooled = pool(encoder, list(chain(*files)), workers=workers, cache=cache)
        speech = [np.stack([pooled[each.sha256] for each in half]) for half in files]
        noise = [np.stack([_pooled_noise(encoder, each, cache, seed) for each in half]) for half in files]
        sets = [
            array.astype(np.float64).mean(1, keepdims=True) for array in (speech[0], noise[0], speech[1], noise[1])
        ]
        (found,) = associate(*sets, alternative="greater", resamples=1_000, seed=seed)
    except InputError as error:  # embeddings that are all alike, zero or not finite
        nothing = asked | dict.fromkeys(("d", "p_value"))
        return {"noise": nothing, "passed": False, "why": _without_paths(error, chain(*files))}
    numbers = {name: getattr(found, name) for name in ("d", "p_value", "ci_low", "ci_high")}
    return {"noise": asked | numbers, "passed": bool(found.d >= LARGE and found.p_value < ALPHA), "seed": seed}


def choose_speech(test: StimulusSet) -> tuple[list[Stimulus], list[Stimulus]]:
    """Two halves of up to ``CLIPS`` targets without a common speaker, of X and Y in turn; the same for every model.

    Speakers are dealt to the halves in turn; each half takes one clip of every speaker before a second one of any.
    """
    people: dict[str, list[Stimulus]] = {}
    for number, clip in enumerate(chain(*zip_longest(test.X, test.Y))):
        if clip is not None:
            people.setdefault(clip.speaker or f"\0{number}", []).append(clip)
    speakers = list(people.values())
    together = 2 if len(speakers) > 2 else 1  # one of X and one of Y, as they come in turn
    halves = ([clips for k, clips in enumerate(speakers) if k // together % 2 == half] for half in range(2))
    first, second = ([clip for turn in zip_longest(*half) for clip in turn if clip][:CLIPS] for half in halves)
    return first, second


def _without_paths(error: InputError, files: Iterable[AudioFacts]) -> str:
    """What an error says, without where the clips lie: it goes into a record."""
    said = str(error)
    for facts in files:
        said = said.replace(str(facts.path), "a clip")
    return said


def white_noise(speech: Wave, rng: np.random.Generator) -> Wave:
    """Noise of the length and the level (RMS) of a wave."""
    noise = rng.standard_normal(len(speech))
    level = np.sqrt(np.mean(np.square(speech, dtype=np.float64)))
    return np.asarray(noise * level / np.sqrt(np.mean(noise**2)), np.float32)


def _pooled_noise(encoder: Encoder, facts: AudioFacts, cache: Path | None, seed: int) -> Vectors:
    """The embedding (states, dim) of the noise that stands against a clip, which is drawn from the clip's own hash."""
    rng = np.random.default_rng([seed, int(facts.sha256[:16], 16)])
    wave = white_noise(read_audio(facts.path, encoder.sample_rate), rng)
    store, key = Cache(cache, encoder) if cache else None, hashlib.sha256(wave.tobytes()).hexdigest()
    kept = store.get(key) if store else None
    if kept is not None:
        return kept
    with single_threaded():
        made = encoder.pooled(wave)
    if store:
        store.put(key, made)
    return made
