"""Phones, lexicons, and what was said as phones."""

import subprocess
import sys

import pytest

from speechbias.errors import InputError
from speechbias.probe import lexicon as lexicons
from speechbias.probe.lexicon import find_lexicon, read_lexicon
from speechbias.probe.phones import PhoneSet
from speechbias.probe.synthetic import phones_of
from speechbias.probe.transcripts import Transcriber, read_phones, words_of

CMU = """;;; a remark
A  AH0
A(2)  EY1
ABBOT  AE1 B AH0 T # a remark
WELL  W EH1 L
'TIS  T IH1 Z
DON'T  D OW1 N T
A  EY1
"""


def written(tmp_path, text, name="lexicon.txt"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_two_sets_have_the_symbols_of_cmu_and_of_superb():
    small, large, superb = PhoneSet(39), PhoneSet(71), PhoneSet(71, eos=True)
    assert len(small.phones) == 39
    assert len(large.phones) == 71
    assert len(set(large.phones)) == 71
    assert small.outputs[0] == large.outputs[0] == "<blank>"
    assert len(large.outputs) == 72
    assert len(superb.outputs) == 74
    assert superb.outputs[:3] == ("<blank>", "<eos>", "<unk>")
    assert {"SIL", "SPN", "AH0", "ZH"} <= set(large.phones)
    assert sum(phone[-1] in "012" for phone in large.phones) == 45


def test_targets_end_with_eos_and_decoding_drops_what_is_no_phone():
    superb = PhoneSet(71, eos=True)
    targets = superb.targets(["B", "AH0"])
    assert [superb.outputs[number] for number in targets] == ["B", "AH0", "<eos>"]
    assert superb.decode([0, *targets, 2]) == ["B", "AH0"]
    assert PhoneSet(39).decode(PhoneSet(39).targets(["ZH", "AA"])) == ["ZH", "AA"]


def test_the_first_pronunciation_of_a_word_counts_in_a_file_and_over_files(tmp_path):
    first = written(tmp_path, CMU)
    second = written(tmp_path, "abbot\tB AH0 T\nZEBRA Z IY1 B R AH0\n", "more.txt")
    read = read_lexicon([first, second])
    assert read.words["A"] == ("AH0",)
    assert read.words["ABBOT"] == ("AE1", "B", "AH0", "T")
    assert read.words["ZEBRA"] == ("Z", "IY1", "B", "R", "AH0")
    assert read.unstressed is None
    assert read.name == "lexicon.txt + more.txt"
    assert read.sha256 != read_lexicon([first]).sha256


@pytest.mark.parametrize(
    ("line", "said"),
    [("WORD", "no phones"), ("WORD AH0 QQ", "'QQ' is no phone"), ("word,AH0", "no phones"), ("W ah0", "'ah0' is no")],
)
def test_a_line_that_is_no_pronunciation_is_named(tmp_path, line, said):
    with pytest.raises(InputError, match=rf"lexicon.txt, line 2: .*{said}"):
        read_lexicon([written(tmp_path, f"A AH0\n{line}\n")])


def test_a_lexicon_that_is_none(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_lexicon([tmp_path / "no.txt"])
    with pytest.raises(InputError, match="without words"):
        read_lexicon([written(tmp_path, ";;; nothing\n")])
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is no text"):
        read_lexicon([tmp_path / "bytes"])


def test_a_lexicon_in_latin_1_is_read_as_cmu_wrote_it(tmp_path):
    (tmp_path / "cmudict").write_bytes(";;; CMU\r\nD\xc9J\xc0 D EY2 ZH AA1\r\nA AH0\r\n".encode("latin-1"))
    assert dict(read_lexicon([tmp_path / "cmudict"]).words) == {"D\xc9J\xc0": ("D", "EY2", "ZH", "AA1"), "A": ("AH0",)}


def test_pocketsphinx_is_found_without_its_native_library():
    code = (
        "import sys; from speechbias.probe.lexicon import find_lexicon; found = find_lexicon([]);"
        "print(len(found.words), found.words['SPEECH'], 'pocketsphinx' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.split(" ", 1)[1].strip() == "('S', 'P', 'IY', 'CH') False"
    assert int(answer.split()[0]) > 100_000


def test_without_a_lexicon_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(lexicons, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"no lexicon: name LibriSpeech's.*pip install"):
        find_lexicon([])


def test_words_of_a_text():
    assert words_of("Don\u2019t  stop, well-known \u201cMr.\u201d O'Hara: 'twas 42% caf\u00e9_x ' --") == [
        *("DON'T", "STOP", "WELL", "KNOWN", "MR", "O'HARA", "'TWAS", "42", "CAF\u00c9", "X")
    ]


def test_text_by_lexicon_with_and_without_stress(tmp_path):
    read = read_lexicon([written(tmp_path, CMU)])
    stressed, plain = (Transcriber(read, PhoneSet(count), "drop") for count in (71, 39))
    assert stressed.transcribe("'Tis a 'well'").phones == ("T", "IH1", "Z", "AH0", "W", "EH1", "L")
    assert plain.transcribe("'Tis a 'well'").phones == ("T", "IH", "Z", "AH", "W", "EH", "L")


def test_words_outside_the_lexicon_are_told_and_dropped_or_skipped(tmp_path):
    read = read_lexicon([written(tmp_path, CMU)])
    dropped = Transcriber(read, PhoneSet(39), "drop").transcribe("A zebra, 7 abbots")
    assert dropped.phones is None
    assert dropped.unknown == ("ZEBRA", "7", "ABBOTS")
    skipped = Transcriber(read, PhoneSet(39), "skip").transcribe("A zebra well")
    assert skipped.phones == ("AH", "W", "EH", "L")
    assert skipped.unknown == ("ZEBRA",)


def test_stress_is_not_made_up(tmp_path):
    read = read_lexicon([written(tmp_path, "A AH0\nBE B IY\n")])
    with pytest.raises(InputError, match=r"no stress marks \(BE\).*phones = 39"):
        Transcriber(read, PhoneSet(71), "drop")
    with pytest.raises(InputError, match="IY has no stress mark"):
        read_phones("B IY", PhoneSet(71), "x.csv")
    assert read_phones("b iy1", PhoneSet(39), "x.csv") == ("B", "IY")
    with pytest.raises(InputError, match=r"x.csv: unknown phone 'OEY'"):
        read_phones("B OEY", PhoneSet(39), "x.csv")


def test_phones_of_synthetic_syllables_are_phones():
    assert read_phones(phones_of("simo, ta"), PhoneSet(71), "x") == ("S", "IY1", "M", "OW1", "T", "AA1")
