"""From what was said to phones: text by a lexicon, or phones as a manifest gives them.

Words: text in capitals, typographic apostrophes made plain; a word is letters, digits and apostrophes, and whatever
else parts words (a hyphen too: "well-known" is two). Digits are spelled in many ways and are in no lexicon, so are
letters that are no English ones. Apostrophes at the ends of a word are quotation marks where the lexicon does not
know the word with them. Phones of the words follow each other, without silence or boundaries between (S3PRL).
"""

import re
from dataclasses import dataclass
from typing import Literal

from speechbias.errors import InputError
from speechbias.probe.lexicon import Lexicon
from speechbias.probe.phones import KNOWN, PhoneSet, lacks_stress

WORD = re.compile(r"(?:[^\W_]|')+")
APOSTROPHES = str.maketrans("\u2019\u2018\u02bc\uff07`", "'''''")

OfUnknown = Literal["drop", "skip"]  # the utterance of a word that is in no lexicon; or the word alone


def words_of(text: str) -> list[str]:
    """The words of a text, in capitals; what is apostrophes alone is none."""
    return [word for word in WORD.findall(text.translate(APOSTROPHES).upper()) if word.strip("'")]


@dataclass(frozen=True)
class Spoken:
    """Phones of one utterance, and the words of it that no lexicon has; ``phones`` is None where it is left out."""

    phones: tuple[str, ...] | None
    unknown: tuple[str, ...] = ()


class Transcriber:
    """Text -> phones of one set, by one lexicon. InputError where the set has stress and the lexicon has none."""

    def __init__(self, lexicon: Lexicon, phone_set: PhoneSet, of_unknown: OfUnknown) -> None:
        if phone_set.count == 71 and lexicon.unstressed is not None:
            raise InputError(
                f"{lexicon.name} has no stress marks ({lexicon.unstressed}), and the 71 phones have them; name "
                "LibriSpeech's lexicon by [probe] lexicon, or set phones = 39"
            )
        self.lexicon, self.phone_set, self.of_unknown = lexicon, phone_set, of_unknown

    def transcribe(self, text: str) -> Spoken:
        """The phones of a text, as the option for unknown words says."""
        found = [(word, self._look_up(word)) for word in words_of(text)]
        unknown = tuple(word for word, phones in found if phones is None)
        if unknown and self.of_unknown == "drop":
            return Spoken(None, unknown)
        return Spoken(self.phone_set.fit([phone for _, phones in found for phone in phones or ()]), unknown)

    def _look_up(self, word: str) -> tuple[str, ...] | None:
        return self.lexicon.words.get(word) or self.lexicon.words.get(word.strip("'"))


def read_phones(said: str, phone_set: PhoneSet, where: str) -> tuple[str, ...]:
    """The phones that a manifest gives; ``where`` names the row in errors. InputError for what is none."""
    phones = said.upper().split()
    if strange := next((phone for phone in phones if phone not in KNOWN), None):
        raise InputError(
            f"{where}: unknown phone {strange[:40]!r}; `phones` holds ARPAbet, as AH0 B AE1 K or AH B AE K"
        )
    if phone_set.count == 71 and (bare := lacks_stress(phones)):
        raise InputError(f"{where}: {bare} has no stress mark, and the 71 phones have one; set phones = 39")
    return phone_set.fit(phones)
