"""How many stimuli and speakers? From a pilot's stored vectors, or from an expected d and a correlation.

The arithmetic is ``inference.planning``. A plan is for the interval of d for given attribute clips (``ci_low`` to
``ci_high``): how attribute talkers vary is not in it.
"""

from dataclasses import dataclass
from pathlib import Path

from speechbias.errors import InputError
from speechbias.inference.association import all_cosines
from speechbias.inference.planning import (
    Components,
    correlation_of,
    estimate_components,
    expect_components,
    smallest_p_of,
)
from speechbias.inference.units import target_units
from speechbias.results import BiasResult
from speechbias.speat import check_sets, check_spread
from speechbias.vectors import sets_of_layer, stored_vectors

CLIPS = (1, 2, 4, 8)
COARSE = 1e-6  # a smallest p below it limits nobody
FEW_SPEAKERS = 8  # below it the variance of a first order, and any interval, is a rough guide


@dataclass(frozen=True)
class Need:
    """What an interval of the wanted width takes, with so many clips of a speaker in a group; None: out of reach."""

    clips: int
    speakers: int | None  # in each group
    width: float | None
    p_min: float | None


@dataclass(frozen=True)
class Plan:
    """What is there, if anything, and what is needed; ``print`` says it."""

    what: str  # "gender, wav2vec2-base" or the assumptions
    wanted: float
    confidence: float
    crossed: bool  # every speaker in both groups
    correlation: float | None  # of a speaker's clips; None where it is not known or does not matter
    needs: tuple[Need, ...]
    present: str = ""  # the design of the pilot in words

    def __str__(self) -> str:
        level = f"{100 * self.confidence:g} %"
        where = "speakers, each in both groups" if self.crossed else "speakers in each group"
        lines = [self.what, *([f"  {self.present}"] if self.present else [])]
        lines.append(f"  For a {level} interval no wider than {self.wanted:g}:")
        for need in self.needs:
            clips = "1 clip" if need.clips == 1 else f"{need.clips} clips"
            each = f"{clips} of each{' in each group' if self.crossed else ''}"
            if need.speakers is None or need.width is None or need.p_min is None:
                lines.append(f"    {each}: out of reach")
                continue
            total = 2 * need.speakers * need.clips
            floor = f", p not below {need.p_min:.2g}" if need.p_min > COARSE else ""
            rough = ", a rough guide with so few" if need.speakers < FEW_SPEAKERS else ""
            lines.append(
                f"    {need.speakers} {where} with {each} ({total} clips): width {need.width:.2f}{floor}{rough}"
            )
        return "\n".join(lines)


def plan_design(
    *,
    width: float,
    d: float = 0.0,
    correlation: float = 0.0,
    crossed: bool = False,
    clips: tuple[int, ...] = CLIPS,
    confidence: float = 0.95,
) -> Plan:
    """A plan from an expected ``d`` and the intraclass ``correlation`` of s between a speaker's clips, s being normal.

    ``width`` of the interval, upper less lower limit; ``crossed``: every speaker is recorded in both groups. The
    widest interval is that at d = 0, where correlation costs most. ``InputError`` for values that cannot be.
    """
    _check(width, clips, confidence)
    components = expect_components(d, correlation, crossed=crossed)
    what = f"d = {d:g}, correlation {correlation:g} between the clips of a speaker"
    return Plan(what, width, confidence, crossed, correlation, _needs(components, width, clips, confidence))


def plan_from_pilot(
    record: BiasResult, folder: Path, *, width: float, clips: tuple[int, ...] = (), confidence: float | None = None
) -> Plan:
    """A plan from a measured test: variances between and within its speakers, from the vectors beside the results.

    ``folder`` is that of the results file. ``clips`` of a speaker: by default those of the pilot, and 1 to 8 where its
    speakers have several. ``InputError`` where the vectors are missing or damaged, and for a group of one speaker.
    """
    confidence = record.confidence if confidence is None else confidence
    _check(width, clips, confidence)
    embeddings = stored_vectors(record, folder)
    sets = {name: array[:, None] for name, array in sets_of_layer(embeddings, record.layer).items()}
    cosines = all_cosines(check_sets(sets, ndim=3))[0]
    n_x, n_a = embeddings.n["X"], embeddings.n["A"]
    s = cosines[:, :n_a].mean(axis=1) - cosines[:, n_a:].mean(axis=1)
    check_spread(s, where=f"{record.test}, {record.model}")
    units = target_units("speaker", embeddings.speakers, None)
    if units.one_sided(n_x):
        raise InputError(
            f"{record.test}: a group is of one speaker, which says nothing of others. Record more of them."
        )
    components = estimate_components(s, units, n_x, record.ddof)
    mean_clips = len(s) / 2 / max(len(units.units) / (1 if components.crossed else 2), 1)
    several = any(components.within)
    clips = clips or (tuple(sorted({*CLIPS, max(round(mean_clips), 1)})) if several else (1,))
    rho = correlation_of(components) if several else None
    return Plan(
        f"{record.test}, {record.model}, layer {record.layer}",
        width,
        confidence,
        components.crossed,
        rho,
        _needs(components, width, clips, confidence),
        _present(record, rho),
    )


def _check(width: float, clips: tuple[int, ...], confidence: float) -> None:
    if not 0 < width < 4:
        raise InputError(f"width is {width:g}. Give upper less lower limit of d, for example 0.5.")
    if not all(count >= 1 for count in clips):
        raise InputError("A speaker has at least 1 clip. Give counts from 1 on.")
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence is {confidence:g}. Take a share from 0.5 to below 1, for example 0.95.")


def _needs(components: Components, width: float, clips: tuple[int, ...], confidence: float) -> tuple[Need, ...]:
    return tuple(_need(components, width, count, confidence) for count in clips)


def _need(components: Components, width: float, clips: int, confidence: float) -> Need:
    speakers = components.speakers_for(width, clips, confidence)
    if speakers is None:
        return Need(clips, None, None, None)
    p_min = smallest_p_of(speakers, speakers, clips, crossed=components.crossed)
    return Need(clips, speakers, components.width(speakers, clips, confidence), p_min)


def _present(record: BiasResult, rho: float | None) -> str:
    """The design of the pilot, and what it gives."""
    sizes = " and ".join(f"{record.n[name]} clips of {record.n_speakers[name]}" for name in "XY")
    text = (
        f"Now: {sizes} speakers, d = {record.d:+.2f}, interval {record.ci_low:+.2f} to {record.ci_high:+.2f} "
        f"(width {record.ci_high - record.ci_low:.2f}), p not below {record.p_min:.2g}."
    )
    return text + (f" Correlation of a speaker's clips: {rho:.2f}." if rho is not None else "")
