"""Vectors with a known association: what ``associate`` is calibrated on.

w = mean + shift + z, z normal with variance 1 in every dimension, and a mean of length 4 that all clips share, as the
embeddings of speech models do. X is shifted along one direction against Y, and A along the same one against B.
"""

from dataclasses import dataclass

import numpy as np

from calibration.groups import Array, Groups
from speechbias.inference import AssociationTest, associate
from speechbias.speat import unit

LENGTH = 4.0
LARGE = 20_000  # of targets, or attributes, in the place of endlessly many


@dataclass(frozen=True)
class World:
    """A mean and a direction, (dim,), and how far X lies from Y and A from B along it, in SDs."""

    mean: Array
    along: Array
    apart: float
    aligned: float

    @classmethod
    def draw(cls, rng: np.random.Generator, dim: int, *, apart: float, aligned: float) -> "World":
        """At random."""
        mean, along = rng.normal(size=(2, dim))
        return cls(LENGTH * mean / np.sqrt(dim), along / np.linalg.norm(along), apart, aligned)

    def clips(self, groups: Groups, rng: np.random.Generator, states: int, shift: float) -> tuple[Array, Array]:
        """Two sets (clips, states, dim), the first shifted."""
        vectors = self.mean + groups.noise(rng, states, len(self.mean))
        vectors[: groups.n_x] += shift * self.along
        return vectors[: groups.n_x], vectors[groups.n_x :]

    def test(
        self, targets: Groups, attributes: Groups, rng: np.random.Generator, states: int, *, resamples: int
    ) -> tuple[tuple[AssociationTest, ...], Array]:
        """So many simulated tests, as states of one model, and the direction of A against B in each, (dim, states)."""
        X, Y = self.clips(targets, rng, states, self.apart)
        A, B = self.clips(attributes, rng, states, self.aligned)
        speakers = targets.labels | {"A": attributes.labels["X"], "B": attributes.labels["Y"]}
        speakers |= {name: tuple(f"t{label}" if label else "" for label in speakers[name]) for name in "AB"}
        options = {"permutations": 999, "resamples": resamples, "seed": int(rng.integers(1 << 31))}
        found = associate(X, Y, A, B, speakers=speakers, pairs=targets.pairs, **options)  # type: ignore[arg-type]
        return found, (unit(A).mean(0) - unit(B).mean(0)).T

    def true_d(self, g: Array, rng: np.random.Generator, share: float = 0.5) -> Array:
        """D of endlessly many targets for attribute directions ``g`` (dim, states)."""
        x, y = (
            unit(self.mean + rng.normal(size=(LARGE, len(self.mean))) + by * self.along) @ g for by in (self.apart, 0)
        )
        means, variances = (x.mean(0), y.mean(0)), (x.var(0), y.var(0))
        total = share * variances[0] + (1 - share) * variances[1] + share * (1 - share) * (means[0] - means[1]) ** 2
        return np.asarray((means[0] - means[1]) / np.sqrt(total))

    def endless_g(self, rng: np.random.Generator) -> Array:
        """The direction of endlessly many attribute talkers, (dim, 1)."""
        z = rng.normal(size=(LARGE, len(self.mean)))
        a, b = unit(self.mean + z + self.aligned * self.along), unit(self.mean + z)
        return np.asarray((a.mean(0) - b.mean(0))[:, None])
