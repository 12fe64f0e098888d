"""Random numbers of the data: every choice has its own stream, named by what it is for.

An utterance's crop, mask and noise are functions of (seed, purpose, epoch, key) and of nothing else: neither of its
neighbours in the batch, nor of the number of workers, nor of what was drawn before. A restart needs no replay. The
key is the path as the source writes it, so a corpus may move; two sources may have the same (``Manifest.stream``).
"""

import hashlib

import numpy as np


def generator(seed: int, purpose: str, epoch: int, key: str) -> np.random.Generator:
    """The stream of one choice. ``key`` names the utterance; it is blank for what concerns the whole epoch."""
    name = f"{seed}\0{purpose}\0{epoch}\0{key}".encode(errors="surrogateescape")
    digest = hashlib.blake2b(name, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
