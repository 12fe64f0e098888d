"""The German example of docs/groups.md, run as it is printed, on made-up voices in the layouts that it names."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from recordings import read_rows
from speechbias.cli import app
from speechbias.results import read_records
from speechbias.synthetic import SAMPLE_RATE, draw_room, draw_sentence, draw_voice, synthesise

PAGE = Path(__file__).parents[2] / "docs" / "groups.md"
ACCENTS = {"Deutschland Deutsch": -1.0, "Österreichisches Deutsch": -1.0, "Schweizerdeutsch": 1.9}  # habits
EMOTIONS = {"F": 1.0, "W": -1.0, "N": 0.0}  # valence


def commands():
    """Those below the heading, continuation lines joined."""
    text = PAGE.read_text(encoding="utf-8")
    block = re.search(r"^## In another language.*?^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
    return [shlex.split(line)[1:] for line in block.replace("\\\n", " ").splitlines()]


def say(path, voice, session, rng, valence=0.0):
    """One take of a sentence in a room; who is to be compared says the same (synthetic/sets.py)."""
    sentence, room = session
    soundfile.write(path, synthesise(voice, valence=valence, sentence=sentence, room=room, rng=rng), SAMPLE_RATE)


def sessions(rng, count):
    return [(draw_sentence(rng), draw_room(rng)) for _ in range(count)]


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """`de` as Common Voice, `emodb` as Emo-DB: the Swiss speak as if happy."""
    folder, rng = tmp_path_factory.mktemp("german"), np.random.default_rng(0)
    for name in ("de/clips", "emodb/wav"):
        (folder / name).mkdir(parents=True)
    rows = ["client_id\tpath\tsentence\tage\tgender\taccents\tlocale"]
    said = sessions(rng, 14)
    for accent, habit in ACCENTS.items():
        for person in range(7):
            voice = draw_voice(rng, habit=habit)
            for clip in range(2):
                name = f"common_voice_de_{len(rows)}.wav"
                say(folder / "de" / "clips" / name, voice, said[2 * person + clip], rng)
                sex = ("female_feminine", "male_masculine")[person % 2]
                told = "" if person == 6 else accent  # some do not tell
                rows.append(f"{accent[:3]}{person}\t{name}\tHallo\ttwenties\t{sex}\t{told}\tde")
    (folder / "de" / "validated.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for speaker in ("03", "08", "09", "10"):
        voice, said = draw_voice(rng), sessions(rng, 3)
        for place, (letter, valence) in enumerate(EMOTIONS.items()):
            for take, session in zip("abc", said, strict=True):
                path = folder / "emodb" / "wav" / f"{speaker}a0{place + 1}{letter}{take}.wav"
                say(path, voice, session, rng, valence)
    return folder


def test_the_commands_of_the_page_find_what_was_planted(voices, monkeypatch):
    monkeypatch.chdir(voices)
    for command in commands():
        quick = ["--permutations", "2000", "--resamples", "300", "--no-audit"] if command[0] == "measure" else []
        done = CliRunner().invoke(app, [*command, *quick, *(["--no-audit"] if command[0] == "stimuli" else [])])
        assert done.exit_code == 0, (command, done.output, done.exception)
    rows = read_rows(voices / "dialekte.csv")
    counts = {accent: sum(row["accents"] == accent for row in rows) for accent in ACCENTS}
    assert counts == dict.fromkeys(ACCENTS, 12)
    assert {row["emotion"] for row in rows if row["set"] == "A"} == {"happiness"}
    against, factors = (each for each in read_records(voices / "dialekte.jsonl") if each["kind"] == "groups")
    found = {each["first"]: (each["associated"], each["d"] > 0) for each in against["contrasts"]}
    assert found["Schweizerdeutsch"] == (True, True)
    assert not found["Österreichisches Deutsch"][0]
    assert [each["kind"] for each in factors["effects"]] == ["first", "first", "second", "interaction", "interaction"]
    assert "More than two groups" in (voices / "dialekte" / "index.html").read_text(encoding="utf-8")
