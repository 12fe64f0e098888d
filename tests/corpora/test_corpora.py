"""RAVDESS, CREMA-D, LibriSpeech, Morgan, any table, and how sources combine."""

import hashlib
import json
from collections import Counter

import numpy as np
import openpyxl
import pytest

from laid_corpora import CODES, lay_morgan, write_ratings
from speechbias.corpora import CORPORA, Clip, Request, build, corpus, crema_d, emodb, librispeech, morgan, table
from speechbias.errors import InputError
from speechbias.stimuli import read_stimuli, write_stimuli


def of(part, key):
    return [s for s in part.stimuli if s.set == key]


# ---- Drawing ----


def slow_spread(clips, count):
    """How many clips each speaker gives: one more for everybody in turn, until count or nothing is left."""
    left, given = Counter(clip.speaker for clip in clips), Counter()
    while given.total() < min(count, len(clips)):
        fewest = min(given[speaker] for speaker in left if left[speaker] > given[speaker])
        speaker = next(s for s in left if left[s] > given[s] and given[s] == fewest)
        given[speaker] += 1
    return sorted(given.values())


@pytest.mark.parametrize("count", [1, 5, 7, 12, 40, 100])
def test_draws_are_even_over_speakers_and_kinds(tmp_path, count):
    sizes = {"a": 3, "b": 20, "c": 11, "d": 1, "e": 8}
    clips = [
        Clip(tmp_path / f"{s}{n}", s, "odd" if n % 2 else "even") for s, size in sizes.items() for n in range(size)
    ]
    for seed in range(5):
        drawn = corpus.spread(clips, count, np.random.default_rng(seed))
        assert len({clip.path for clip in drawn}) == len(drawn) == min(count, len(clips))
        assert sorted(Counter(clip.speaker for clip in drawn).values()) == slow_spread(clips, count)
        kinds = Counter(clip.kind for clip in drawn if clip.speaker == "b")
        if 0 < kinds.total() < 20:
            assert abs(kinds["odd"] - kinds["even"]) <= 1
        assert drawn == sorted(drawn, key=lambda clip: clip.path)


def test_draws_follow_the_seed(tmp_path):
    clips = [Clip(tmp_path / str(n), str(n % 7)) for n in range(70)]
    draws = [corpus.spread(clips, 20, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


# ---- RAVDESS ----


def test_ravdess_valence(ravdess):
    part = CORPORA["ravdess"].categories["valence"](Request(ravdess))
    a, b = of(part, "A"), of(part, "B")
    assert len(a) == len(b) == 32
    assert Counter(s.columns["emotion"] for s in a) == {"calm": 16, "happy": 16}
    assert Counter(s.columns["emotion"] for s in b) == dict.fromkeys(("sad", "angry", "fearful", "disgust"), 8)
    assert {s.columns["intensity"] for s in a + b} == {"strong"}
    assert Counter(s.speaker for s in b) == dict.fromkeys(["ravdess_01", "ravdess_02", "ravdess_03", "ravdess_04"], 8)
    assert all((s.columns["gender"] == "male") == (s.speaker in ("ravdess_01", "ravdess_03")) for s in a + b)
    assert all(s.path.stem.startswith("03-01-") for s in a + b)
    assert "B Negative: 32 of 64 clips, spread over 4 speakers" in part.notes


def test_ravdess_other_categories(ravdess):
    happy = CORPORA["ravdess"].categories["valence-happy"](Request(ravdess, count=8))
    assert {s.columns["emotion"] for s in of(happy, "A")} == {"happy"}
    assert len(of(happy, "A")) == len(of(happy, "B")) == 8
    gender = CORPORA["ravdess"].categories["gender"](Request(ravdess))
    assert {s.columns["emotion"] for s in gender.stimuli} == {"neutral"}
    assert [s.columns["gender"] for s in gender.stimuli] == ["female"] * 8 + ["male"] * 8
    assert {s.group for s in of(gender, "X")} == {"Female"}


def test_ravdess_count_and_seed(ravdess):
    parts = [CORPORA["ravdess"].categories["valence"](Request(ravdess, count=12, seed=seed)) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
    assert len(of(parts[0], "A")) == 12
    many = CORPORA["ravdess"].categories["valence"](Request(ravdess, count=100))
    assert "100 clips per set were asked for; the smaller group has 32" in many.notes


def test_ravdess_of_the_shared_manifest(shared):
    part = CORPORA["ravdess"].categories["valence"](Request(shared / "data" / "speech" / "audio"))
    assert len(of(part, "A")) == len(of(part, "B")) == 32


def test_ravdess_elsewhere(tmp_path):
    with pytest.raises(InputError, match=r"has no Actor_01/03-01-.*zenodo.*CC BY-NC-SA"):
        CORPORA["ravdess"].categories["valence"](Request(tmp_path))


# ---- CREMA-D ----


@pytest.fixture
def crema(tmp_path, lay):
    folder = tmp_path / "crema"
    people = [
        (1001, 51, "Male", "Caucasian"),
        (1002, 21, "Female", "Caucasian"),
        (1003, 30, "Female", "African American"),
        (1004, 31, "Male", "African American"),
        (1005, 50, "Female", "Asian"),
    ]
    rows = [f"{actor},{age},{sex},{race},Not Hispanic" for actor, age, sex, race in people]
    for actor, *_ in people:
        for sentence in ("DFA", "IEO"):
            for emotion in crema_d.EMOTIONS:
                lay(folder / "AudioWAV" / f"{actor}_{sentence}_{emotion}_XX.wav")
    lay(folder / "AudioWAV" / "9999_DFA_HAP_XX.wav")  # nobody knows who that is
    (folder / "VideoDemographics.csv").write_text("\n".join(["ActorID,Age,Sex,Race,Ethnicity", *rows]) + "\n")
    return folder


def test_crema_d_valence(crema):
    part = crema_d.attributes(Request(crema))
    assert Counter(s.columns["emotion"] for s in of(part, "A")) == {"happy": 10}
    assert set(Counter(s.columns["emotion"] for s in of(part, "B"))) == {"anger", "disgust", "fear", "sad"}
    assert Counter(s.speaker for s in of(part, "B")) == {f"crema-d_{actor}": 2 for actor in range(1001, 1006)}


@pytest.mark.parametrize(
    ("category", "x", "y"),
    [
        ("gender", {"1002", "1003", "1005"}, {"1001", "1004"}),
        ("age", {"1002", "1003"}, {"1001", "1005"}),
        ("race", {"1001", "1002"}, {"1003", "1004"}),
    ],
)
def test_crema_d_targets(crema, category, x, y):
    part = crema_d.CORPUS.categories[category](Request(crema))
    assert {s.columns["emotion"] for s in part.stimuli} == {"neutral"}
    assert len(of(part, "X")) == len(of(part, "Y")) == 4
    assert {s.speaker[-4:] for s in of(part, "X")} <= x
    assert {s.speaker[-4:] for s in of(part, "Y")} == y


def test_crema_d_groups_are_named_as_the_corpus_does(crema):
    part = crema_d.targets_race(Request(crema))
    assert {s.set: s.group for s in part.stimuli} == {"X": "Caucasian", "Y": "African American"}


def test_crema_d_elsewhere(tmp_path, crema):
    with pytest.raises(InputError, match=r"has no VideoDemographics.csv.*github.com.*Open Database"):
        crema_d.attributes(Request(tmp_path))
    (crema / "VideoDemographics.csv").write_text("ActorID,Age\n1001,51\n")
    with pytest.raises(InputError, match="no column Sex, Race, Ethnicity"):
        crema_d.attributes(Request(crema))
    for path in (crema / "AudioWAV").iterdir():
        path.unlink()
    (crema / "VideoDemographics.csv").write_text("ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,x\n")
    with pytest.raises(InputError, match="has no AudioWAV/1001"):
        crema_d.attributes(Request(crema))


def test_a_group_that_the_folder_lacks(crema):
    (crema / "VideoDemographics.csv").write_text("ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,x\n")
    with pytest.raises(InputError, match="has 0 clips of Female; 2 or more are needed"):
        crema_d.targets_gender(Request(crema))


# ---- LibriSpeech ----


@pytest.fixture
def libri(tmp_path, lay):
    folder = tmp_path / "LibriSpeech"
    lines = ["; comment", ";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for number in range(1, 9):
        sex = "F" if number % 2 else "M"
        lines.append(f"{number:<5}| {sex} | dev-clean        | 8.01  | Name | with a bar")
        for chapter in (10, 11):
            lay(
                *(folder / "dev-clean" / str(number) / str(chapter) / f"{number}-{chapter}-{n}.flac" for n in range(3))
            )
    lines.append("99   | F | train-clean-100 | 25 | Not on disk")
    folder.joinpath("SPEAKERS.TXT").write_text("\n".join(lines))
    (folder / "dev-clean" / "77").mkdir()
    return folder


def test_librispeech(libri):
    part = librispeech.targets(Request(libri))
    assert len(of(part, "X")) == len(of(part, "Y")) == 24
    assert {int(s.speaker.split("_")[1]) % 2 for s in of(part, "X")} == {1}
    assert {s.columns["gender"] for s in of(part, "Y")} == {"male"}
    few = librispeech.targets(Request(libri, count=6))
    assert sorted(Counter(s.speaker for s in of(few, "X")).values()) == [1, 1, 2, 2]
    assert len(of(few, "Y")) == 6


def test_librispeech_elsewhere(tmp_path, libri):
    with pytest.raises(InputError, match=r"has no SPEAKERS.TXT.*openslr.org/12.*CC BY 4.0"):
        librispeech.targets(Request(tmp_path))
    for path in libri.rglob("*.flac"):
        path.unlink()
    with pytest.raises(InputError, match="has no audio under"):
        librispeech.targets(Request(libri))


# ---- Morgan ----

# SHA-256 of [positive, negative] codes as pandas chooses them from the same ratings, run once:
# np.random.seed(431137); df.sample(frac=1).sort_values(["speaker_id", "Valence"]); first and last 10 per speaker.
PANDAS_CHOICE = "b4cb4b5e25c8be59e1b9e832bc6fd9430a36e3babf3cc982c484014cd1a4d34d"


@pytest.fixture
def mess(tmp_path):
    return lay_morgan(tmp_path / "mess")


def codes_of(part, key):
    return sorted(s.path.stem.removesuffix("_SCR") for s in of(part, key))


def test_morgan_chooses_what_pandas_chooses_with_speats_seed(mess):
    part = morgan.attributes(Request(mess, seed=5))  # the seed of draws plays no part
    assert len(of(part, "A")) == len(of(part, "B")) == 60
    assert Counter(s.speaker for s in of(part, "A")) == {f"{g}{t}": 10 for g in "FM" for t in "123"}
    chosen = json.dumps([codes_of(part, "A"), codes_of(part, "B")])
    assert hashlib.sha256(chosen.encode()).hexdigest() == PANDAS_CHOICE


def test_morgan_takes_highest_and_lowest_per_talker(mess):
    part = morgan.attributes(Request(mess))
    for talker in ("F1", "M3"):
        high = [float(s.columns["valence"]) for s in of(part, "A") if s.speaker == talker]
        low = [float(s.columns["valence"]) for s in of(part, "B") if s.speaker == talker]
        ratings = dict(zip(CODES, np.round(np.random.default_rng(3).normal(3, 1, len(CODES)), 1), strict=True))
        everything = sorted(value for code, value in ratings.items() if code[1:3] == talker)
        assert sorted(high) == everything[-10:]
        assert sorted(low) == everything[:10]
    assert {s.columns["gender"] for s in part.stimuli if s.speaker.startswith("F")} == {"female"}


def test_morgan_count_is_shared_out_over_talkers(mess):
    part = morgan.attributes(Request(mess, count=40))
    assert len(of(part, "A")) == len(of(part, "B")) == 36
    assert part.notes[-1] == "40 clips per set were asked for; 36 share out evenly over the talkers"
    with pytest.raises(InputError, match="talker F1 has 300 rated clips; 400 are needed"):
        morgan.attributes(Request(mess, count=1200))


def test_morgan_rows_without_audio_or_rating_take_no_part(mess):
    best = codes_of(morgan.attributes(Request(mess)), "A")[0]
    (mess / f"{best}_SCR.wav").unlink()
    part = morgan.attributes(Request(mess))
    assert best not in codes_of(part, "A")
    assert len(of(part, "A")) == 60
    assert "1 of 1800 rated clips have no _SCR.wav here and take no part" in part.notes
    write_ratings(mess, [None if code.startswith("A") else 1.0 for code in CODES])
    assert not any(code.startswith("A") for code in codes_of(morgan.attributes(Request(mess)), "B"))


def test_morgan_elsewhere(tmp_path, lay):
    with pytest.raises(InputError, match=r"has no Coded stimuli final.xlsx.*S. D. Morgan.*on request"):
        morgan.attributes(Request(tmp_path))
    (tmp_path / morgan.RATINGS).write_text("not Excel")
    with pytest.raises(InputError, match="cannot be read as an Excel file"):
        morgan.attributes(Request(tmp_path))
    write_ratings(tmp_path, [1.0] * len(CODES))
    with pytest.raises(InputError, match=r"has no \*_SCR.wav"):
        morgan.attributes(Request(tmp_path))
    openpyxl.Workbook().save(tmp_path / morgan.RATINGS)
    with pytest.raises(InputError, match="no sheet with the columns code"):
        morgan.attributes(Request(tmp_path))


def test_morgan_names_of_the_real_set(shared, tmp_path, lay):
    names = (shared / "data" / "morgan" / "all.tsv").read_text().splitlines()[1:]
    codes = [line.split("\t")[0].removesuffix("_SCR.wav") for line in names]
    write_ratings(tmp_path, np.random.default_rng(0).permutation(len(codes)).tolist(), codes)
    for code in codes:
        (tmp_path / f"{code}_SCR.wav").touch()
    part = morgan.attributes(Request(tmp_path))
    assert len(of(part, "A")) == len(of(part, "B")) == 60


# ---- Any table ----


@pytest.fixture
def manifest(tmp_path, lay):
    """gender by talker, valence by clip."""
    rows = [
        (f"clips/{n}.flac", f"s{n % 6}", "female" if n % 2 else "male", "positive" if n % 3 else "negative", "a, b")
        for n in range(36)
    ]
    lay(*(tmp_path / row[0] for row in rows))
    lines = ["file,talker,gender,valence,text", *(",".join((*row[:4], f'"{row[4]}"')) for row in rows)]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "manifest.csv"


SELECT = {
    "X": "gender=female,valence=positive",
    "Y": "gender=male, valence=positive",
    "A": "valence=negative,gender=female",
    "B": "gender=male,valence=negative",
}


def test_table(manifest):
    built = build([f"csv={manifest}"], name="t", select=SELECT)
    assert built.stimuli.groups == {"X": "female", "Y": "male", "A": "female", "B": "male"}
    assert {key: len(members) for key, members in built.stimuli.sets.items()} == {"X": 12, "Y": 12, "A": 6, "B": 6}
    first = built.stimuli.X[0]
    assert first.columns == {"gender": "female", "valence": "positive", "text": "a, b"}
    assert first.speaker == "s1"
    assert built.notes[0] == "X female: 12 of 12 rows with gender=female,valence=positive"
    few = build([f"csv={manifest}"], name="t", select=SELECT, count=4).stimuli
    assert {len(members) for members in few.sets.values()} == {4}


@pytest.mark.parametrize("column", table.PATH_COLUMNS)
@pytest.mark.parametrize("separator", ["\t", ";"])
def test_tables_of_other_kinds(tmp_path, lay, column, separator):
    lay(*(tmp_path / f"{n}.wav" for n in range(8)))
    rows = [(f"{n}.wav", "XYAB"[n // 2], f"t{n}") for n in range(8)]
    lines = [separator.join(row) for row in ((column, "side", "speaker_id"), *rows)]
    (tmp_path / "t.tsv").write_text("\n".join(lines))
    built = build([f"csv={tmp_path / 't.tsv'}"], name="t", select={key: f"side={key}" for key in "XYAB"})
    assert built.stimuli.speakers["B"] == ("t6", "t7")
    assert [s.path for s in built.stimuli.X] == [tmp_path / "0.wav", tmp_path / "1.wav"]


def test_table_of_the_shared_speech(shared, tmp_path):
    built = build(
        [f"csv={shared / 'data' / 'speech' / 'manifest.csv'}"],
        name="gender",
        select={
            "X": "corpus=LibriSpeech test-other,gender=female",
            "Y": "corpus=LibriSpeech test-other,gender=male",
            "A": "valence=positive",
            "B": "valence=negative",
        },
    )
    write_stimuli(built.stimuli, tmp_path / "gender.csv")
    again = read_stimuli(tmp_path / "gender.csv")
    assert again.groups == {"X": "female", "Y": "male", "A": "positive", "B": "negative"}
    assert len(set(again.speakers["X"])) == 5
    assert all(s.path.is_file() for s in again.stimuli)


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ({"X": "sex=female"}, r"no column `sex` \(--x\)"),
        ({"X": "gendr=female"}, "Did you mean gender"),
        ({"X": "gender=femal"}, "no row has gender=femal .* Did you mean female"),
        ({"X": "gender=female,talker=s0"}, "no row has gender=female, talker=s0 together"),
        ({"X": "female"}, "is not COLUMN=VALUE"),
        ({"X": ","}, "is not COLUMN=VALUE"),
        ({}, "Which rows of manifest.csv"),
    ],
)
def test_bad_filters(manifest, select, message):
    with pytest.raises(InputError, match=message):
        build([f"csv={manifest}"], name="t", select=select)


def test_bad_tables(tmp_path):
    with pytest.raises(InputError, match="is no file"):
        table.select(Request(tmp_path / "none.csv"))
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="has no rows"):
        table.select(Request(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column path or file"):
        table.select(Request(tmp_path / "t.csv", select={"X": "a=1"}))


# ---- Sources ----


def test_targets_and_attributes_of_different_corpora(libri, ravdess, crema):
    built = build([f"librispeech:gender={libri}", f"ravdess={ravdess}"], name="gender", count=8, seed=3)
    assert {len(members) for members in built.stimuli.sets.values()} == {8}
    assert built.stimuli.name == "gender"
    assert [s.row for s in built.stimuli.stimuli] == list(range(2, 34))
    assert len(built.notes) == 4
    both = build([f"crema-d:gender={crema}", f"crema-d={crema}"], name="g")
    assert both.stimuli.groups == {"X": "Female", "Y": "Male", "A": "Positive", "B": "Negative"}


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["librispech=x"], "Unknown corpus 'librispech'. Did you mean librispeech"),
        (
            ["zzz=x"],
            "Unknown corpus 'zzz'. There are: accent-archive, morgan, ravdess, crema-d, emodb, librispeech, csv",
        ),
        (["librispeech:gendr=x"], "has no category 'gendr'. Did you mean gender"),
        (["accent-archive=x"], "needs a category: accent-archive:gender, accent-archive:native, accent-archive:age"),
        (["librispeech"], r"'librispeech' is not CORPUS\[:CATEGORY\]=FOLDER"),
        (["librispeech="], "is not CORPUS"),
        (["librispeech=/nowhere"], "is no folder"),
    ],
)
def test_bad_sources(sources, message):
    with pytest.raises(InputError, match=message):
        build(sources, name="t")


def test_sets_that_are_missing_or_given_twice(libri, ravdess):
    with pytest.raises(InputError, match=r"No source gives A and B\. Add attributes, for example ravdess"):
        build([f"librispeech={libri}"], name="t")
    with pytest.raises(InputError, match=r"No source gives X and Y\. Add targets"):
        build([f"ravdess={ravdess}"], name="t")
    with pytest.raises(InputError) as caught:
        build([f"librispeech={libri}", f"ravdess:gender={ravdess}", f"ravdess={ravdess}"], name="t")
    assert len(caught.value.problems) == 2
    assert "Set X comes from librispeech=" in str(caught.value)


def test_filters_without_a_table_and_counts_too_small(libri, ravdess):
    with pytest.raises(InputError, match=r"choose rows of csv=FILE"):
        build([f"librispeech={libri}", f"ravdess={ravdess}"], name="t", select={"X": "a=b"})
    with pytest.raises(InputError, match="--count 1 is too few"):
        build([f"librispeech={libri}", f"ravdess={ravdess}"], name="t", count=1)


def test_home_folder(libri, ravdess, monkeypatch):
    monkeypatch.setenv("HOME", str(libri.parent))
    assert build(["librispeech=~/LibriSpeech", "ravdess=~/ravdess"], name="t").stimuli.X


def test_every_corpus_says_where_to_get_it():
    for name, each in CORPORA.items():
        assert name == each.name
        assert each.about
        assert each.source
        assert each.licence
        assert not each.default or each.default in each.categories


# ---- Several groups ----


def test_another_value_is_not_a_blank_one_and_each_value_is_drawn_alike(tmp_path, lay):
    accents = ["usa"] * 6 + ["greek"] * 3 + ["korean"] * 5 + [""] * 4
    lay(*(tmp_path / "clips" / f"{n}.wav" for n in range(18)))
    sides = ["A", "B"] * 2
    lines = ["client_id\tpath\taccent\tside"]
    lines += [f"s{n}\t{n}.wav\t{accent}\t" for n, accent in enumerate(accents)]
    lines += [f"t{n}\t{14 + n}.wav\t\t{side}" for n, side in enumerate(sides)]
    (tmp_path / "validated.tsv").write_text("\n".join(lines[:15] + lines[19:]) + "\n")
    select = {"X": "accent=usa", "Y": "accent!=usa", "A": "side=A", "B": "side=B"}
    built = build([f"csv={tmp_path / 'validated.tsv'}"], name="t", select=select).stimuli
    assert [len(members) for members in built.sets.values()] == [6, 8, 2, 2]
    assert built.groups["Y"] == "not usa"
    assert built.X[0].path == tmp_path / "clips" / "0.wav"
    assert built.speakers["X"] == tuple(f"s{n}" for n in range(6))
    few = build([f"csv={tmp_path / 'validated.tsv'}"], name="t", select=select, count=4)
    assert len(few.stimuli.Y) == 4
    with pytest.raises(InputError, match="no column `accnt`"):
        build([f"csv={tmp_path / 'validated.tsv'}"], name="t", select=select, count=4, each="accnt")
    with pytest.raises(InputError, match="Give a --count"):
        build([f"csv={tmp_path / 'validated.tsv'}"], name="t", select=select, each="accent")
    each = build([f"csv={tmp_path / 'validated.tsv'}"], name="t", select=select, count=2, each="accent").stimuli
    assert len(each.A) == len(each.B) == 2
    drawn = [s.columns["accent"] for s in each.X + each.Y]
    assert sorted(drawn) == ["greek"] * 2 + ["korean"] * 2 + ["usa"] * 2


def test_emodb(tmp_path, lay):
    names = [f"{s}a0{n}{letter}{take}" for s in ("03", "08") for n, letter in enumerate("WLEAFTN", 1) for take in "ab"]
    lay(*(tmp_path / "wav" / f"{name}.wav" for name in [*names, "99a01Fa", "03a01Xa", "readme"]))
    part = emodb.attributes(Request(tmp_path))
    assert {s.columns["emotion"] for s in of(part, "A")} == {"happiness"}
    assert {s.columns["emotion"] for s in of(part, "B")} <= {"anger", "disgust", "fear", "sadness"}
    assert len(of(part, "A")) == len(of(part, "B")) == 4
    assert {s.speaker for s in part.stimuli} == {"emodb_03", "emodb_08"}
    by_sex = emodb.targets(Request(tmp_path))
    assert {(s.group, s.speaker, s.columns["emotion"]) for s in by_sex.stimuli} == {
        ("Female", "emodb_08", "neutral"),
        ("Male", "emodb_03", "neutral"),
    }
    with pytest.raises(InputError, match=r"has no wav/03a01Fa\.wav"):
        emodb.attributes(Request(tmp_path / "nothing"))
