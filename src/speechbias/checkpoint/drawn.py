"""Weights that a seed draws and that lie in no file: who packs them takes them part by part, each going with its part.

So an untrained model needs no more memory than one on disk. What went and is asked for again is drawn again.
"""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor


class DrawnTensors(Mapping[str, Tensor]):
    """The tensors ``drawn``, under our names; ``again`` draws the same ones. As a mapping it keeps all of them."""

    def __init__(self, drawn: Mapping[str, Tensor], *, again: Callable[[], Mapping[str, Tensor]]) -> None:
        self._names, self._held, self._again = tuple(drawn), dict(drawn), again

    def __getitem__(self, name: str) -> Tensor:
        """One tensor."""
        if name in self._names:
            self._complete()
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._names)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._names)

    def part(self, module: str) -> dict[str, Tensor]:
        """The tensors of one module, given away: nothing here holds them any more. All of them for "", which stay.

        Where parts were given away before, all of them are drawn for the caller alone.
        """
        if not module:
            return self._held.copy() if self._whole else dict(self._again())
        prefix = f"{module}."
        wanted = [name for name in self._names if name.startswith(prefix)]
        if not self._held.keys() >= set(wanted):
            self._complete()
        return {name.removeprefix(prefix): self._held.pop(name) for name in wanted}

    def check(self) -> None:
        """A seed does not change."""

    @property
    def _whole(self) -> bool:
        return len(self._held) == len(self._names)

    def _complete(self) -> None:
        if not self._whole:
            self._held = {**self._again(), **self._held}
