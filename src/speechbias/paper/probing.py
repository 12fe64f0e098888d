"""Section 3.3: phoneme recognition, the check of utility."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Probing:
    """Section 3.3: phoneme recognition by "the evaluation configurations in the S3PRL toolkit", none of which it says.

    The numbers are S3PRL's (downstream/ctc/libriphone.yaml): Adam at a constant rate, 16 utterances a batch, two
    batches an update. SUPERB searched the rate for each model by powers of ten; which ones the paper does not say.
    """

    updates: int = 100_000
    evaluate: int = 1_000
    rates: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float = 1.0
    accumulate: int = 2
    hidden: int = 256
    seconds: float = (
        200.0  # our choice: 16 utterances of LibriSpeech, of 12.6 s in the mean; by utterances memory varies
    )


PROBING = Probing()
