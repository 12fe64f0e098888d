"""``criterion = "bias"`` of a recipe: the clips on which heads and rows are scored, and how much L1 counts beside.

What a run tracks may not be what it cuts by: its d would say how well the cuts fit those clips.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speechbias.compress.criteria import Scores, What
from speechbias.compress.influence import bias_scores
from speechbias.models.config import EncoderConfig
from speechbias.models.mel import MelStats
from speechbias.stimuli import check_held_back, read_stimuli, stimuli_sha256
from speechbias.tracking.clips import Clips
from speechbias.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class BiasCriterion:
    """Clips, decoded once for all cuts of a run."""

    clips: Clips
    balance: float
    mel_stats: MelStats | None
    out_proj: bool = False

    def scores(self, model: Any, what: What) -> Scores:
        """Of all heads or rows of a network, objective or checkpoint, per layer; the lowest go first."""
        by: dict[str, Any] = {"balance": self.balance, "mel_stats": self.mel_stats, "out_proj": self.out_proj}
        return bias_scores(model, self.clips, what=what, **by)

    def describe(self) -> Mapping[str, Any]:
        """What a checkpoint says of it: the balance, and which clips are no more to be reported."""
        facts = self.clips.check.facts
        hashes = {
            test.name: stimuli_sha256(test, {clip.path: facts[clip.path].sha256 for clip in test.stimuli})
            for test in self.clips.tests
        }
        return {"balance": self.balance, "scored_on": hashes}


def bias_criterion(recipe: Recipe, config: EncoderConfig, mel_stats: MelStats | None) -> BiasCriterion | None:
    """The criterion of a recipe, its clips decoded; None where it is another one.

    InputError, a line per problem, for clips that cannot be used, and for tests of ``[track]`` that share speakers or
    files with them.
    """
    section = recipe.prune
    if section is None or section.criterion != "bias":
        return None
    assert section.stimuli is not None, "PruneSection asks for them"
    tests = [read_stimuli(path) for path in section.stimuli]
    if recipe.track is not None:
        check_held_back(tests, [read_stimuli(path) for path in recipe.track.stimuli])
    clips = Clips(tests, min_samples=config.frontend.receptive_field)
    return BiasCriterion(clips, section.balance, mel_stats, section.out_proj)
