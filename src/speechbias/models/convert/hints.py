"""What a file says of its model beside its tensors: no shape shows it."""

from dataclasses import dataclass

from speechbias.models.config import Family


@dataclass(frozen=True)
class Hints:
    """Settings as far as the file has them; None: it does not say."""

    family: Family | None = None
    layers: int | None = None
    heads: int | None = None  # of the unpruned model, so that dim / heads is the size of a head
    pre_norm: bool | None = None
    normalise: bool | None = None  # waves to zero mean and unit variance
    normalise_eps: float = 1e-5
    strides: tuple[int, ...] | None = None
    student: bool = False
