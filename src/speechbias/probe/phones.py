"""Phones of English in ARPAbet: the 39 of CMU's dictionary, or the 71 of SUPERB, whose vowels carry stress.

The outputs of a probe are these symbols behind CTC's blank, which is output 0. SUPERB's option puts ``<eos>`` and
``<unk>`` between (S3PRL's text encoder): ``<eos>`` ends every target and is trained, ``<unk>`` never occurs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Count = Literal[39, 71]

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
STOPS, NASALS = ("B", "D", "G", "K", "P", "T"), ("M", "N", "NG")
FRICATIVES = ("CH", "DH", "F", "HH", "JH", "S", "SH", "TH", "V", "Z", "ZH")  # and affricates
CONSONANTS = (*STOPS, *NASALS, *FRICATIVES, "L", "R", "W", "Y")
STRESSES = "012"
NO_SPEECH = ("SIL", "SPN")  # silence, noise: among SUPERB's 71, and in no pronunciation
STRESSED = frozenset(vowel + stress for vowel in VOWELS for stress in STRESSES)
KNOWN = frozenset((*VOWELS, *CONSONANTS, *STRESSED))  # what a lexicon or a manifest may hold
BLANK, EOS, UNKNOWN = "<blank>", "<eos>", "<unk>"


def without_stress(phone: str) -> str:
    """``AH0`` -> ``AH``."""
    return phone.rstrip(STRESSES)


def lacks_stress(phones: Iterable[str]) -> str | None:
    """The first vowel that has no stress mark, if there is one."""
    return next((phone for phone in phones if phone in VOWELS), None)


@dataclass(frozen=True)
class PhoneSet:
    """``count`` phones; ``eos``: SUPERB's two further outputs."""

    count: Count
    eos: bool = False

    @cached_property
    def phones(self) -> tuple[str, ...]:
        """The symbols that are counted in an error rate."""
        if self.count == 39:
            return tuple(sorted((*VOWELS, *CONSONANTS)))
        return (*NO_SPEECH, *sorted((*STRESSED, *CONSONANTS)))

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """What the outputs of a probe stand for, in order."""
        return (BLANK, *((EOS, UNKNOWN) if self.eos else ()), *self.phones)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.outputs)}

    def fit(self, phones: Sequence[str]) -> tuple[str, ...]:
        """Phones as this set has them: without stress where it has none."""
        return tuple(map(without_stress, phones)) if self.count == 39 else tuple(phones)

    def targets(self, phones: Sequence[str]) -> list[int]:
        """Output numbers that a probe is trained to give, ``<eos>`` last where there is one."""
        return [self._numbers[phone] for phone in (*phones, *((EOS,) if self.eos else ()))]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """Phones of output numbers; blank, ``<eos>`` and ``<unk>`` are none."""
        first = len(self.outputs) - len(self.phones)
        return [self.outputs[number] for number in numbers if number >= first]
