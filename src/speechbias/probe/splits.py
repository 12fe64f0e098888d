"""Training, dev and test of one probe: what is learnt, what chooses, what is reported. They share no recording.

Where no dev is named it is a share of the sentences of the training corpus: all readings of a sentence stand on one
side. Test recordings that training or dev holds too, by the hash of their bytes, are refused.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from speechbias.errors import InputError
from speechbias.models.config import SAMPLE_RATE
from speechbias.probe.lexicon import Lexicon, find_lexicon
from speechbias.probe.phones import PhoneSet
from speechbias.probe.recipe import ProbeSection
from speechbias.probe.synthetic import write_voices
from speechbias.probe.transcripts import OfUnknown, Spoken, Transcriber, read_phones
from speechbias.probe.utterances import LeftOut, Opening, Utterance, open_split
from speechbias.training.draws import generator
from speechbias.training.recipe_sections import SYNTHETIC


@dataclass(frozen=True, eq=False)
class Splits:
    """Utterances of the three; ``lexicon`` is None where the manifests give phones alone."""

    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    left_out: tuple[LeftOut, ...]
    unknown: Counter[str]  # words of all three
    lexicon: Lexicon | None

    @property
    def all(self) -> tuple[Utterance, ...]:
        """Training, dev, test, one after another."""
        return (*self.train, *self.dev, *self.test)

    @cached_property
    def sha256(self) -> str:
        """Identity of what is learnt and tested: audio, phones, speakers and groups of every utterance, in order."""
        digest = hashlib.sha256()
        for name in ("train", "dev", "test"):
            for each in getattr(self, name):
                digest.update(
                    repr((name, each.sha256, each.phones, each.speaker, sorted(each.groups.items()))).encode()
                )
        return digest.hexdigest()

    def warnings(self) -> list[str]:
        """What is not used, counted; all of it is listed in the run folder."""
        made = []
        known = {each.sentence for each in (*self.train, *self.dev)}
        if common := [each for each in self.test if each.sentence in known]:
            made.append(
                f"test: {len(common)} of {len(self.test)} utterances say a sentence that train or dev says too, first "
                f"{common[0].key}; are they other readings of it?"
            )
        learnt = {each.speaker for each in self.train} - {""}
        if heard := [each for each in self.test if each.speaker in learnt]:
            made.append(
                f"test: {len(heard)} of {len(self.test)} utterances are by speakers that train has too; error rates "
                "of new speakers may be higher"
            )
        for split in ("train", "dev", "test"):
            reasons = Counter(each.why.partition(":")[0] for each in self.left_out if each.split == split)
            made += [
                f"{split}: {count} utterances are left out ({why}); all in {LEFT_OUT}"
                for why, count in reasons.most_common()
            ]
        if self.unknown:
            first = ", ".join(word for word, _ in self.unknown.most_common(3))
            made.append(
                f"{len(self.unknown)} words ({self.unknown.total()} times) are in no lexicon, first {first}; all in "
                f"{OUT_OF_LEXICON}"
            )
        return made


Sources = dict[str, tuple[tuple[str, ...], str | None]]  # corpora and filter of a split
OUT_OF_LEXICON, LEFT_OUT = "out-of-lexicon.tsv", "left-out.tsv"


class _Reader:
    """Reads a manifest's rows; the lexicon is looked for when the first text comes."""

    def __init__(self, phone_set: PhoneSet, files: Sequence[str], of_unknown: OfUnknown) -> None:
        self.phone_set, self.of_unknown = phone_set, of_unknown
        self.files = [Path(file) for file in files]
        self.lexicon: Lexicon | None = None

    @cached_property
    def transcriber(self) -> Transcriber:
        self.lexicon = find_lexicon(self.files)
        return Transcriber(self.lexicon, self.phone_set, self.of_unknown)

    def text(self, text: str) -> Spoken:
        return self.transcriber.transcribe(text)

    def phones(self, phones: str, where: str) -> tuple[str, ...]:
        return read_phones(phones, self.phone_set, where)


def open_splits(section: ProbeSection, folder: Path, *, seed: int, workers: int, progress: bool = False) -> Splits:
    """The three splits of a recipe; scans and synthetic voices are kept in the run folder. InputError, one line."""
    phone_set = PhoneSet(section.phones, section.eos)
    reader = _Reader(phone_set, section.lexicon, section.unknown)
    how = Opening(section.scan, workers, folder / "scan.jsonl", progress, section.groups)
    if SYNTHETIC in section.train:
        table = str(write_voices(folder / SYNTHETIC))
        names: Sources = {name: ((table,), f"part={name}") for name in ("train", "dev", "test")}
    else:
        names = {
            "train": (section.train, section.train_rows),
            "dev": (section.dev, section.dev_rows),
            "test": (section.test, section.test_rows),
        }
    opened = {name: open_split(name, *named, reader, how) for name, named in names.items() if named[0]}
    train, test = opened["train"], opened["test"]
    dev = opened.get("dev") or None
    learnt, chosen = (train.utterances, dev.utterances) if dev else share(train.utterances, section.dev_share, seed)
    _refuse_overlap("test", test.utterances, "train", (*learnt, *(() if dev else chosen)))
    if dev is not None:
        _refuse_overlap("test", test.utterances, "dev", chosen)
        _refuse_overlap("dev", chosen, "train", learnt)
    longest = float("inf") if section.max_seconds is None else section.max_seconds * SAMPLE_RATE
    kept = tuple(each for each in learnt if each.samples <= longest)
    why = f"lasts longer than {section.max_seconds} s"
    long = tuple(LeftOut("train", each.key, why) for each in learnt if each.samples > longest)
    if not kept:
        raise InputError(f"[probe] max_seconds is {section.max_seconds}; all {len(learnt)} utterances are longer")
    _refuse_long(kept, section.seconds)
    return Splits(
        kept,
        chosen,
        test.utterances,
        (*(each for split in opened.values() for each in split.left_out), *long),
        sum((split.unknown for split in opened.values()), Counter()),
        reader.lexicon,
    )


def share(utterances: Sequence[Utterance], part: float, seed: int) -> tuple[tuple[Utterance, ...], ...]:
    """Training and dev: whole sentences, drawn by the seed, until they are ``part`` of the utterances. InputError."""
    sentences = sorted({each.sentence for each in utterances})
    if len(sentences) < 2:
        raise InputError(
            f"[probe] dev is empty: train says {len(sentences)} sentence in {len(utterances)} recordings, none of "
            "which can be spared; name dev, or give a larger train"
        )
    counts = Counter(each.sentence for each in utterances)
    taken: set[str] = set()
    for number in generator(seed, "dev", 0, "").permutation(len(sentences))[:-1]:
        if taken and sum(counts[each] for each in taken) >= part * len(utterances):
            break
        taken.add(sentences[number])
    train, dev = (tuple(each for each in utterances if (each.sentence in taken) is side) for side in (False, True))
    return train, dev


def _refuse_long(utterances: Sequence[Utterance], seconds: float | None) -> None:
    """Before states are computed, which may take days."""
    lengths = [each.samples / SAMPLE_RATE for each in utterances]
    if seconds is not None and (long := sum(length > seconds for length in lengths)):
        raise InputError(
            f"[probe] seconds is {seconds:g}; {long} training utterances are longer than such a batch (the longest "
            f"has {max(lengths):.1f} s), give larger batches, or leave them out by max_seconds"
        )


def _refuse_overlap(name: str, ours: Sequence[Utterance], other: str, theirs: Sequence[Utterance]) -> None:
    known = {each.sha256: each.key for each in theirs}
    if common := [each for each in ours if each.sha256 in known]:
        raise InputError(
            f"{len(common)} recordings of [probe] {name} stand in {other} too, first {common[0].key} "
            f"({known[common[0].sha256]} there); an error rate of what was learnt says nothing, take them out of one"
        )
