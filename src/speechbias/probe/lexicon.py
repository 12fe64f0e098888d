"""Pronunciations by word, from text files: LibriSpeech's lexicon, CMU's dictionary, or the one in pocketsphinx.

A line is a word and its phones in ARPAbet, parted by blanks or tabs. Of several pronunciations of a word the first
counts, as in S3PRL: lines that repeat it, ``WORD(2)`` and later files are passed over. ``;;;`` begins a remark.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from speechbias.errors import InputError, os_reason
from speechbias.extras import MissingExtraError
from speechbias.probe.phones import KNOWN, lacks_stress

ALTERNATIVE = re.compile(r"\(\d+\)$")
IN_POCKETSPHINX = Path("model", "en-us", "cmudict-en-us.dict")
REMARK = ";;;"


@dataclass(frozen=True, eq=False)
class Lexicon:
    """``words`` in capitals -> phones; ``unstressed`` is the first word with a vowel that has no stress mark."""

    name: str
    words: Mapping[str, tuple[str, ...]]
    unstressed: str | None
    sha256: str  # of the words and their phones


def find_lexicon(files: Sequence[Path]) -> Lexicon:
    """The lexicon of these files, or of the pocketsphinx wheel where none is named. InputError where there is none."""
    if files:
        return read_lexicon(files)
    found = _in_pocketsphinx()
    if found is None:
        raise MissingExtraError(
            "no lexicon: name LibriSpeech's or CMU's by [probe] lexicon, or pip install 'speechbias[probe]', which "
            "brings pocketsphinx's dictionary (39 phones)"
        )
    return read_lexicon([found])


def _in_pocketsphinx() -> Path | None:
    """Its dictionary, found without importing the package, which loads a native library."""
    spec = find_spec("pocketsphinx")
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / IN_POCKETSPHINX
    return path if path is not None and path.is_file() else None


def read_lexicon(files: Sequence[Path]) -> Lexicon:
    """One lexicon of several files, the first of which knows best. InputError, with the line, for what is none."""
    words: dict[str, tuple[str, ...]] = {}
    for path in files:
        for word, phones in _entries(path):
            words.setdefault(word, phones)
    if not words:
        raise InputError(f"{', '.join(map(str, files))}: a lexicon without words; a line is WORD PHONE PHONE ...")
    unstressed = next((word for word, phones in words.items() if lacks_stress(phones)), None)
    return Lexicon(" + ".join(path.name for path in files), words, unstressed, _sha256(words.items()))


def _entries(path: Path) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Word in capitals and phones of every line that has a pronunciation of its own."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({os_reason(error)}); [probe] lexicon names text files") from None
    for number, line in enumerate(_decoded(content, path).split("\n"), start=1):
        if line.startswith(REMARK) or not line.strip():
            continue
        word, *phones = line.partition(" #")[0].split() or [""]
        if not word:  # a remark alone
            continue
        if ALTERNATIVE.search(word):
            continue
        if not phones or not KNOWN.issuperset(phones):
            strange = next((phone for phone in phones if phone not in KNOWN), None)
            problem = f"{strange[:40]!r} is no phone of ARPAbet" if strange else f"{word[:40]!r} has no phones"
            raise InputError(f"{path}, line {number}: {problem}; a line is WORD PHONE PHONE ...")
        yield word.upper(), tuple(phones)


def _sha256(words: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    lines = "".join(f"{word} {' '.join(phones)}\n" for word, phones in words)
    return hashlib.sha256(lines.encode()).hexdigest()


def _decoded(content: bytes, path: Path) -> str:
    """UTF-8, or Latin-1, in which CMU's releases up to 0.7b are. InputError for what is no text."""
    if b"\0" in content:
        raise InputError(f"{path} is no text; [probe] lexicon names text files")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
