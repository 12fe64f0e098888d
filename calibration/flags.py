"""The audit of confounds: how often chance alone flags a covariate, and coverage of the standardised difference."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile

from calibration.cells import Cell, Found
from calibration.figures import Section, Table, coverage, power
from calibration.groups import Groups
from speechbias.confounds.clips import describe_clip
from speechbias.confounds.covariates import BY_NAME, THRESHOLD
from speechbias.confounds.differences import standardised_difference
from speechbias.inference.designs import name_blanks
from speechbias.synthetic import SAMPLE_RATE, draw_sentence, draw_voice, synthesise

GROUPS = (
    Groups(60, 60),
    Groups(30, 20),
    Groups(10, 10),
    Groups(12, 8, 5, "speaker"),
    Groups(5, 5, 4, "speaker"),
    Groups(12, 12, 3, "within-speaker"),
)
DIFFERENCES = (0.0, 0.5, 1.0)  # SDs within groups
SPEAKERS = {"20 + 20 voices x 2": 20, "10 + 10 voices x 2": 10}
SAID = 2  # clips of a voice
COVARIATES = ("duration", "pauses", "level", "snr", "bandwidth")  # what needs no Praat
DRAWS, SPLITS = 800, 400


def cells() -> Iterator[Cell]:
    """Normal draws at three true differences; synthetic voices, dealt to two groups."""
    for groups in GROUPS:
        for d in DIFFERENCES:
            yield Cell("flags", f"{groups}, {d:g}", DRAWS, {"groups": groups, "d": d})
    for name, voices in SPEAKERS.items():
        yield Cell("flags", name, SPLITS, {"voices": voices})


def run(draws: int, rng: np.random.Generator, **settings: Any) -> dict[str, float]:
    """Share flagged, and share of intervals that hold the true difference."""
    return _of_voices(draws, rng, **settings) if "voices" in settings else _of_normal(draws, rng, **settings)


def _of_normal(draws: int, rng: np.random.Generator, *, groups: Groups, d: float) -> dict[str, float]:
    named = groups.labels
    labels = name_blanks(named["X"], "X"), name_blanks(named["Y"], "Y")
    rows = []
    for _ in range(draws):
        s = groups.noise(rng)
        x, y = s[: groups.n_x] + d, s[groups.n_x :]
        found = standardised_difference(x, y, labels, resamples=999, confidence=0.95, seed=int(rng.integers(1 << 31)))
        assert found.low is not None
        assert found.high is not None
        rows.append((found.flagged, found.low <= d <= found.high))
    return dict(zip(("flagged", "interval"), np.mean(rows, axis=0).tolist(), strict=True))


def _of_voices(draws: int, rng: np.random.Generator, *, voices: int) -> dict[str, float]:
    """Voices made once; then they are dealt to X and Y over and over, and the audit looks at each covariate."""
    values = _covariates(rng, 2 * voices)
    flagged = dict.fromkeys(values, 0)
    for _ in range(draws):
        order = rng.permutation(2 * voices)
        names = [tuple(f"v{k}" for k in part for _ in range(SAID)) for part in np.split(order, 2)]
        for name, column in values.items():
            x, y = (column[part].ravel() for part in np.split(order, 2))
            found = standardised_difference(
                x, y, (names[0], names[1]), least=BY_NAME[name].least, resamples=19, confidence=0.5, seed=0
            )
            flagged[name] += found.flagged
    return {name: count / draws for name, count in flagged.items()}


def _covariates(rng: np.random.Generator, voices: int) -> dict[str, np.ndarray]:
    """Of synthetic voices, (voices, clips), what needs no Praat."""
    rows = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        for _ in range(voices):
            voice = draw_voice(rng)
            for _ in range(SAID):
                samples = synthesise(voice, sentence=draw_sentence(rng), rng=rng)
                soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
                said = describe_clip(path)
                rows.append([said[name] for name in COVARIATES])
    table = np.array(rows).reshape(voices, SAID, len(COVARIATES))
    return {name: table[:, :, place] for place, name in enumerate(COVARIATES)}


def section(found: Found) -> Section:
    """The part of the page."""
    return Section(
        "Confounds: flags and differences",
        "the 95 % interval of a standardised difference holds it in 95 %; a flag promises nothing",
        f"A covariate is flagged where the sets differ by more than {THRESHOLD:g} SD within groups. That is about "
        "these clips: an imbalance that arose by chance is in d all the same. So few speakers are flagged often, "
        "and the interval says which may be chance.",
        [_flags(found), _intervals(found), _voices(found)],
        "",
        "`confounds/differences.py`",
    )


def _flags(found: Found) -> Table:
    rows = []
    for groups in GROUPS:
        results = [found[f"{groups}, {d:g}"] for d in DIFFERENCES]
        rows.append((str(groups), [power(each["flagged"], each.draws) for each in results]))
    return Table("**Flagged, by the true difference.**", [f"{d:g} SD" for d in DIFFERENCES], rows, "design")


def _intervals(found: Found) -> Table:
    rows = []
    for groups in GROUPS:
        results = [found[f"{groups}, {d:g}"] for d in DIFFERENCES]
        rows.append((str(groups), [coverage(each["interval"], each.draws) for each in results]))
    return Table("**Coverage of its interval.**", [f"{d:g} SD" for d in DIFFERENCES], rows, "design")


def _voices(found: Found) -> Table:
    rows = [(name, [power(found[name][column], found[name].draws) for column in COVARIATES]) for name in SPEAKERS]
    caption = "**Flagged on synthetic voices dealt to X and Y by chance;** what is measured without Praat."
    return Table(caption, [BY_NAME[name].label for name in COVARIATES], rows, "voices")
