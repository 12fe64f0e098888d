"""Signs that a run learns nothing, told while there is still time: collapsed codes, labels that give themselves away.

A model that has not learnt from context cannot know a masked label better than its frequency says, so a loss below
the labels' entropy at the start means that labels are broken, or that the mask hides nothing.
"""

from collections.abc import Mapping
from typing import Any

EARLY = 100  # updates: a first line of the log that tells of no more of them tells of a model that knows nothing yet
LEAST_CODES = 2.0  # per group: below, the quantizer says next to nothing


class Watch:
    """Looks at the lines of a log. Each thing is said once. ``naive``: the model had learnt nothing at the start."""

    def __init__(self, *, entropy: float | None, groups: int = 2, naive: bool = True) -> None:
        self.entropy, self.groups, self.naive = entropy, groups, naive
        self.said: set[str] = set()
        self.lines = 0

    def look(self, line: Mapping[str, Any]) -> list[str]:
        """What is new to say after this line."""
        self.lines += 1
        found = {name: text for name, text in self._signs(line).items() if name not in self.said}
        self.said |= found.keys()
        return list(found.values())

    def state(self) -> dict[str, Any]:
        """What was said so far, in plain containers: part of what a checkpoint keeps."""
        return {"said": sorted(self.said), "lines": self.lines}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on as a checkpoint says, so that nothing is said twice."""
        self.said, self.lines = set(state["said"]), state["lines"]

    def _signs(self, line: Mapping[str, Any]) -> dict[str, str]:
        signs = {}
        step, loss = line["step"], line.get("cross_entropy", line.get("loss"))
        perplexity = line.get("code_perplexity")
        if perplexity is not None and perplexity < LEAST_CODES * self.groups:
            signs["codes"] = (
                f"step {step}: code perplexity {perplexity:.1f}, so the quantizer has collapsed to a code or two per "
                "group; start again with a lower learning rate, a longer warm-up or a larger diversity weight"
            )
        if self.entropy is None or loss is None:
            return signs
        if self.naive and self.lines == 1 and step <= EARLY and loss < 0.9 * self.entropy:
            signs["labels"] = (
                f"step {step}: the loss {loss:.2f} is below the labels' entropy {self.entropy:.2f} before anything "
                "can have been learnt; check that labels belong to this audio and that the mask hides something"
            )
        if loss < 0.05 * self.entropy:
            signs["loss"] = (
                f"step {step}: the loss {loss:.3f} is next to nothing (the labels' entropy is {self.entropy:.2f}); "
                "check that labels say more than the audio around a mask gives away"
            )
        return signs
