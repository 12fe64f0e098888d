"""Speech Accent Archive: SpEAT's lists and the rules, in both layouts."""

import csv
from collections import Counter

import pytest

from laid_corpora import HEADER, SPEAT_FOLDERS, lay_archive
from speechbias.corpora import Request, accent_archive, build
from speechbias.errors import InputError
from speechbias.paper import TABLE_1
from speechbias.stimuli import check_audio, make_stimulus_set, read_stimuli, summarise, write_stimuli


def categories(category, folder, **options):
    return accent_archive.CORPUS.categories[category](Request(folder, **options))


@pytest.fixture
def archive(tmp_path):
    return lay_archive(tmp_path / "saa")


def remove(folder, *names):
    for name in names:
        (folder / "recordings" / f"{name}.mp3").unlink()


def names(part, key):
    return [s.path.stem for s in part.stimuli if s.set == key]


# ---- SpEAT's lists ----


@pytest.mark.parametrize(("category", "count"), [("gender", 60), ("native", 59), ("age", 58), ("age-uk", 12)])
def test_counts_of_a_full_archive(archive, category, count):
    part = categories(category, archive)
    assert len(names(part, "X")) == len(names(part, "Y")) == count
    assert len({s.speaker for s in part.stimuli}) == 2 * count
    in_paper = {row.name.lower(): (row.x, row.y) for row in TABLE_1}
    groups = {s.set: s.group for s in part.stimuli}
    assert (groups["X"], groups["Y"]) == in_paper[category.removesuffix("-uk")]
    assert f"of SpEAT's {count}" in part.notes[0]


@pytest.mark.parametrize("category", SPEAT_FOLDERS)
def test_lists_are_those_of_speat(shared, category):
    table = shared / "data" / "accent_archive" / SPEAT_FOLDERS[category] / "clip_info.csv"
    with table.open() as handle:
        rows = list(csv.DictReader(handle))
    listed = accent_archive.read_list(category)
    assert {(each.id, each.name, each.sex, each.pair) for each in listed} == {
        (row["id"], row["name"], row["sex"], row.get("pair_id", "")) for row in rows
    }
    by_id = {row["id"]: row for row in rows}
    for each in listed:
        row = by_id[each.id]
        expected = {
            "gender": row["sex"].capitalize(),
            "native": {"english": "US", "korean": "Korean"}[row["language"]] if category == "native" else "",
        }.get(category, {"low_age": "Young", "high_age": "Old"}.get(row["age_rank"]))
        assert each.group == expected


@pytest.mark.parametrize(("category", "count"), [("gender", 60), ("native", 59)])
def test_pairs_stand_once_in_x_and_once_in_y(archive, category, count):
    part = categories(category, archive)
    for key in "XY":
        assert Counter(s.pair for s in part.stimuli if s.set == key) == dict.fromkeys(map(str, range(count)), 1)


def test_native_tells_of_the_papers_55(archive):
    assert "Table 1 says 55" in " ".join(categories("native", archive).notes)


def test_missing_clip_drops_its_pair_partner(archive):
    listed = {each.name: each for each in accent_archive.read_list("gender")}
    remove(archive, "english102")
    part = categories("gender", archive)
    partner = next(n for n, each in listed.items() if each.pair == listed["english102"].pair and n != "english102")
    assert len(names(part, "X")) == len(names(part, "Y")) == 59
    assert partner not in names(part, "X") + names(part, "Y")
    assert part.notes[0].startswith("gender: 59 of SpEAT's 60 pairs; 1 left out")
    assert "english102" in part.notes[0]


def test_missing_clip_balances_sex_for_age(archive):
    young_women = [each for each in accent_archive.read_list("age") if (each.group, each.sex) == ("Young", "female")]
    remove(archive, young_women[0].name, young_women[1].name)
    part = categories("age", archive)
    cells = Counter((s.set, s.columns["gender"]) for s in part.stimuli)
    assert cells == dict.fromkeys([(key, sex) for key in "XY" for sex in ("female", "male")], 27)
    assert "54 of SpEAT's 58 per group, 27 women and 27 men" in part.notes[0]
    assert "2 recordings are not in this copy" in part.notes[0]
    assert "6 more left out to balance sex" in part.notes[0]
    kept = {s.speaker for s in part.stimuli}
    for group, sign in (("Young", 1), ("Old", -1)):  # the youngest stay among the young, the oldest among the old
        men = [each.id for each in accent_archive.read_list("age") if (each.group, each.sex) == (group, "male")]
        ages = {identity: sign * (20 + int(identity) % 50) for identity in men}  # as the fixture made them up
        assert max(ages[i] for i in men if i in kept) <= min(ages[i] for i in men if i not in kept)


@pytest.mark.parametrize(("category", "count"), [("gender", 48), ("native", 32), ("age", 44), ("age-uk", 8)])
def test_the_public_copy(shared, tmp_path, lay, category, count):
    """Its real table, with audio where it says that there is some."""
    source = shared / "data" / "accent_archive" / "speakers_all.csv"
    with source.open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["file_missing?"] == "FALSE"]
    wanted = {each.name for each in accent_archive.read_list(category)}
    lay(*(tmp_path / "recordings" / f"{row['filename']}.mp3" for row in rows if row["filename"] in wanted))
    (tmp_path / "speakers_all.csv").write_bytes(source.read_bytes())
    part = categories(category, tmp_path)
    assert len(names(part, "X")) == len(names(part, "Y")) == count
    if category == "gender":
        x = {s.pair: s.columns["age"] for s in part.stimuli if s.set == "X"}
        assert x == {s.pair: s.columns["age"] for s in part.stimuli if s.set == "Y"}  # matched on age


# ---- SpEAT's layout ----


@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
@pytest.mark.parametrize("nested", [True, False])
def test_speats_layout(shared, tmp_path, lay, suffix, nested):
    folder = tmp_path / "us_korean" if nested else tmp_path
    source = shared / "data" / "accent_archive" / "us_korean"
    for each in accent_archive.read_list("native"):
        lay(folder / f"{each.id}{suffix}")
    (folder / "clip_info.csv").write_bytes((source / "clip_info.csv").read_bytes())
    part = categories("native", tmp_path)
    assert len(names(part, "X")) == len(names(part, "Y")) == 59
    assert {s.columns["native_language"] for s in part.stimuli if s.set == "Y"} == {"korean"}
    assert {s.columns["country"] for s in part.stimuli if s.set == "X"} == {"usa"}
    drawn = categories("native", tmp_path, count=20)
    assert len(names(drawn, "X")) == len(names(drawn, "Y")) == 20


def test_recordings_in_recordings(archive):
    (archive / "recordings").rename(archive / "inner")
    (archive / "recordings").mkdir()
    (archive / "inner").rename(archive / "recordings" / "recordings")
    assert len(names(categories("gender", archive), "X")) == 60


# ---- By rule ----


@pytest.fixture
def real(shared, tmp_path, lay):
    """Everybody from the USA or speaking Korean in the public copy's real table."""
    source = shared / "data" / "accent_archive" / "speakers_all.csv"
    with source.open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["file_missing?"] == "FALSE"]
    chosen = [row for row in rows if row["country"] == "usa" or row["native_language"] == "korean"]
    lay(*(tmp_path / "recordings" / f"{row['filename']}.mp3" for row in chosen))
    (tmp_path / "speakers_all.csv").write_bytes(source.read_bytes())
    return tmp_path


def test_gender_by_rule(real):
    part = categories("gender", real, count=40, seed=1)
    x, y = ({s.pair: s for s in part.stimuli if s.set == key} for key in "XY")
    assert len(x) == len(y) == 40
    assert all(x[pair].columns["age"] == y[pair].columns["age"] for pair in x)
    assert {s.columns["gender"] for s in x.values()} == {"female"}
    assert {s.columns["gender"] for s in y.values()} == {"male"}
    assert {(s.columns["native_language"], s.columns["country"]) for s in part.stimuli} == {("english", "usa")}


def differences(part):
    """Of age within pairs, least first."""
    x, y = ({s.pair: float(s.columns["age"]) for s in part.stimuli if s.set == key} for key in "XY")
    return sorted(abs(x[pair] - y[pair]) for pair in x)


def test_native_by_rule(real):
    part = categories("native", real, count=40)
    x, y = ({s.pair: s.columns for s in part.stimuli if s.set == key} for key in "XY")
    assert len(x) == len(y) == 40
    assert all(x[pair]["gender"] == y[pair]["gender"] for pair in x)
    assert max(abs(float(x[pair]["age"]) - float(y[pair]["age"])) for pair in x) <= 3
    assert {row["native_language"] for row in y.values()} == {"korean"}
    many = categories("native", real, count=500)
    assert len(names(many, "X")) == 52
    assert "500 per group were asked for; this copy gives 52" in many.notes
    assert sum(differences(part)) < sum(differences(many))
    assert differences(part) == differences(many)[:40]  # the closest pairs stay


def test_age_by_rule(real):
    part = categories("age", real, count=30)
    assert Counter((s.set, s.columns["gender"]) for s in part.stimuli) == dict.fromkeys(
        [(key, sex) for key in "XY" for sex in ("female", "male")], 15
    )
    assert len({s.speaker for s in part.stimuli}) == 60
    everybody = [s for s in accent_archive.read_archive(Request(real)).values() if s.country == "usa"]
    for sex in ("female", "male"):
        ages = sorted(s.age for s in everybody if s.sex == sex and s.native_language == "english")
        for key, expected in (("X", ages[:15]), ("Y", ages[-15:])):
            found = [float(s.columns["age"]) for s in part.stimuli if (s.set, s.columns["gender"]) == (key, sex)]
            assert sorted(found) == expected


@pytest.mark.parametrize("category", ["gender", "native", "age"])
def test_rules_are_deterministic_given_the_seed(real, category):
    first, again, other = (categories(category, real, count=30, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first != other


def test_counts_that_no_rule_can_give(archive):
    with pytest.raises(InputError, match="odd"):
        categories("age", archive, count=31)
    with pytest.raises(InputError, match="no rule"):
        categories("age-uk", archive, count=4)


# ---- Folders that are not the archive ----


def test_folder_without_its_table(tmp_path, lay):
    lay(tmp_path / "recordings" / "english1.mp3")
    with pytest.raises(InputError) as caught:
        categories("gender", tmp_path)
    for part in ("has no speakers_all.csv", "clip_info.csv", "kaggle.com", "CC BY-NC-SA"):
        assert part in str(caught.value)
    with pytest.raises(InputError, match="is no folder"):
        categories("gender", tmp_path / "none")


def test_table_without_audio_or_columns(tmp_path):
    (tmp_path / "speakers_all.csv").write_text(HEADER + '\n20,0,"x, usa",english1,english,male,1,usa,FALSE,,,\n')
    with pytest.raises(InputError, match="has no recording beside its table"):
        categories("gender", tmp_path)
    (tmp_path / "speakers_all.csv").write_text("age,sex\n20,male\n")
    with pytest.raises(InputError, match="no column filename"):
        categories("gender", tmp_path)


def test_none_of_the_list_is_there(tmp_path, lay):
    (tmp_path / "speakers_all.csv").write_text(HEADER + '\n20,0,"x, usa",other1,english,famale,1,usa,FALSE,,,\n')
    lay(tmp_path / "recordings" / "other1.mp3")
    for category in SPEAT_FOLDERS:
        with pytest.raises(InputError, match=f"no recording of the category {category}"):
            categories(category, tmp_path)
    assert accent_archive.read_archive(Request(tmp_path))["1"].sex == "female"


# ---- The whole way ----


def test_with_attributes_of_another_corpus_to_a_csv_and_back(archive, ravdess, tmp_path):
    built = build([f"accent-archive:gender={archive}", f"ravdess={ravdess}"], name="gender")
    assert {key: len(members) for key, members in built.stimuli.sets.items()} == {"X": 60, "Y": 60, "A": 32, "B": 32}
    assert built.stimuli.warnings == ()
    write_stimuli(built.stimuli, tmp_path / "gender.csv")
    again = read_stimuli(tmp_path / "gender.csv")
    assert make_stimulus_set("gender", again.stimuli) == again
    facts = check_audio([again], sample_rate=16_000, min_samples=400).facts
    x = summarise(again, facts).sets[0]
    assert (x.clips, x.speakers, x.sex, x.group) == (60, 60, {"female": 60}, "Female")


# ---- Languages ----


@pytest.fixture
def tongues(tmp_path, lay):
    """Speakers of several native languages: 5 English of the USA, 3 of elsewhere, 4 Arabic, 2 Dutch."""
    people = (
        [("english", "usa")] * 5 + [("english", "uk")] * 3 + [("arabic", "egypt")] * 4 + [("dutch", "netherlands")] * 2
    )
    rows = []
    for n, (language, country) in enumerate(people):
        lay(tmp_path / "recordings" / f"{language}{n}.mp3")
        sex = "female" if n % 2 else "male"
        rows.append(f"30,0,somewhere,{language}{n},{language},{sex},{n},{country},FALSE,,,")
    (tmp_path / "speakers_all.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path


def test_languages_are_drawn_alike(tongues):
    part = categories("languages", tongues, count=4)
    assert Counter((s.set, s.columns["native_language"]) for s in part.stimuli) == {
        ("X", "english"): 4,
        ("Y", "arabic"): 4,
    }
    assert {s.columns["country"] for s in part.stimuli if s.set == "X"} == {"usa"}
    assert Counter(s.columns["gender"] for s in part.stimuli if s.set == "Y") == {"female": 2, "male": 2}
    assert len(categories("languages", tongues, count=2).stimuli) == 6
    with pytest.raises(InputError, match="another language with 10 speakers each"):
        categories("languages", tongues)
