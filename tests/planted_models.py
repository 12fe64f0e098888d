"""Models that are made up: vectors with an association planted in them, and the records of their measurements."""

from dataclasses import replace

import numpy as np

from speechbias.measure import measure_bias
from speechbias.reproduce.findings import Evidence, find_all
from speechbias.results import write_vectors
from speechbias.vectors import read_vectors, to_arrays

CLIPS, DIM = 24, 16
PARAMETERS = {"slim": 20_400_000, "small": 21_300_000, "base": 95_000_000}


class World:
    """Models on the same clips of three tests, each with a strength by which X goes with A."""

    def __init__(self, folder):
        self.folder, self.records, self.places, self.count = folder, [], {}, 0
        self.rates = []  # phone error rates

    def add(self, strength, *, tests=("Age", "Native", "Gender"), keep=True, **changes):
        """A model; ``strength``: a number, or one per test. ``keep``: its vectors lie beside the results."""
        self.count += 1
        for k, test in enumerate(tests):
            much = strength[test] if isinstance(strength, dict) else strength
            shared = np.random.default_rng(k).normal(size=(4, CLIPS, DIM))  # the same clips for all models
            own = np.random.default_rng([k, self.count]).normal(size=(4, CLIPS, DIM))
            x, y, a, b = shared + 0.3 * own
            a[:, 0] += 4
            b[:, 0] -= 4
            x[:, 0] += much
            y[:, 0] -= much
            path = self.folder / f"{test}-{self.count}.npz"
            states = np.ones((1, changes.get("num_states", 1), 1))  # all alike
            np.savez(path, **{name: states * each[:, None] for name, each in zip("XYAB", (x, y, a, b), strict=True)})
            embeddings = read_vectors(path)
            made = measure_bias(embeddings, permutations=99, resamples=100)
            values = {
                "test": test.lower(),
                "model": f"m{self.count}",
                "model_sha256": f"{self.count:064d}",
                "stimuli_sha256": test,
                "family": "wav2vec2",
                **changes,
            }
            stored = write_vectors(self.folder / "results.jsonl", to_arrays(embeddings)) if keep else None
            record = replace(made, vectors=stored, **values)
            self.records.append(record)
            self.places[record.identity] = self.folder

    def trained(self, family, size, strength):
        self.add(strength, family=family, parameters=PARAMETERS[size])

    def find(self, statement, on):
        (found,) = [
            f
            for f in find_all(Evidence(self.records, self.places, self.rates))
            if statement in f.statement and f.on == on
        ]
        return found
