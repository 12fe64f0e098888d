"""The page: whole, self-contained, deterministic, and silent about people and about the user's machine."""

import re
from html.parser import HTMLParser

import pytest

from speechbias.report.files import write_report

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Collect elements, ids, links and text, and check that what is opened is closed."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text, self.hidden = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(many, record, tmp_path_factory):
    private = record(
        model="/home/jane/models/secret-model",
        warnings=["clips/jane_doe_3.wav stands twice", "see /home/jane/list"],
        skipped=[{"row": 17, "path": "clips/jane_doe_9.flac", "why": "clips/jane_doe_9.flac has no samples"}],
        recipe={"source": "/home/jane/models/config.json"},
        attribute_talkers=8,
        leave_one_talker_out=(0.41, 0.77),
    )
    return read(write_report([*many, private], tmp_path_factory.mktemp("page")).page)


def test_nothing_comes_from_elsewhere(page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            target = attributes.get(name)
            assert target is None or target.startswith("#") or target == "data:,", (tag, target)
        assert "url(" not in (attributes.get("style") or "").replace("url(#", "")
    assert not {"audio", "video", "iframe", "object", "embed", "img"} & {tag for tag, _ in page.elements}


def test_ids_are_unique_and_every_link_has_its_aim(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        target = attributes.get("href") or attributes.get("xlink:href") or ""
        assert not target.startswith("#") or target[1:] in ids
        clip = re.match(r"url\(#(.+)\)", attributes.get("clip-path") or "")
        assert clip is None or clip[1] in ids


def test_people_and_machines_are_not_named(page):
    everything = page.words + repr(page.elements)
    assert "jane" not in everything
    assert "/home" not in everything
    assert "secret-model" in page.words
    assert "row 17: the clip has no samples" in page.words
    assert "[file] stands twice" in page.words


def test_a_person_finds_the_answer_first(page):
    headings = [tag for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[:3] == ["h1", "h2", "h3"]
    assert headings.count("h1") == 1
    words = page.words
    assert (
        words.index("An association was found in") < words.index("Every clip became") < words.index("The numbers Mean")
    )
    assert "than clips of male (d\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.62, medium" in "".join(page.text)
    for wanted in ("10 speakers make 252 splits, so p cannot go below 0.008", "reverse association", "not Cohen's d"):
        assert wanted in words
    assert "Only 8 talkers" in words
    assert "2 min 11 s" in words


def test_the_page_is_accessible(page):
    by_tag = {tag for tag, _ in page.elements}
    assert {"main", "nav", "header", "caption", "figcaption", "details", "summary"} <= by_tag
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.elements if tag == "th")
    figures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(figures) == 2
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in figures)
    assert ("html", {"lang": "en"}) in page.elements
    assert any(attributes.get("class") == "skip" for tag, attributes in page.elements if tag == "a")


def test_odd_names_are_text_and_nothing_else(page, odd):
    assert page.words.count(" ".join(odd.split())) > 3
    plain = [attributes for tag, attributes in page.elements if tag == "b"]
    assert all(attributes == {} for attributes in plain)


def test_a_script_in_a_name_stays_text(record, tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    groups = {"X": evil, "Y": "y", "A": "a", "B": "b"}
    made = record(test=evil, model=evil, groups=groups, warnings=[evil], recipe={evil: evil}, versions={evil: evil})
    reader = read(write_report([made], tmp_path, title=evil).page)
    assert sum(tag == "script" for tag, _ in reader.elements) == 1
    assert "img" not in {tag for tag, _ in reader.elements}


def test_many_encoders_are_folded(record, tmp_path):
    records = [record(model=f"m{number}", d=0.1 * number) for number in range(1, 13)]
    reader = read(write_report(records, tmp_path).page)
    assert "12 of 12 encoders: associated. Nearer to positive lie clips of female in 12." in reader.words
    assert "A sentence for each of the 12 encoders" in reader.words


def test_a_recipe_that_encoders_share_stands_once(record, tmp_path):
    same = {"recipe": {"sample_rate": 16000}}
    records = [record(model="a", model_sha256="a" * 64, **same), record(model="b", model_sha256="b" * 64, **same)]
    other = record(model="c", model_sha256="c" * 64, recipe={"sample_rate": 8000})
    page = write_report([*records, other], tmp_path).page.read_text(encoding="utf-8")
    assert page.count("<dt>sample_rate</dt>") == 2
    assert "<h3>a, b</h3>" in page
    assert "<h3>c</h3>" in page
