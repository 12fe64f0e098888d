"""Names and numbers: escaped for each format, nothing of the user's machine, p never across alpha."""

import html
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechbias.report import names, numerals


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("/home/jane/models/whisper-tiny.en", "whisper-tiny.en"),
        ("../shared/hubert/", "hubert"),
        ("~/x/y.pt", "y.pt"),
        (r"C:\models\w2v", "w2v"),
        ("facebook/wav2vec2-base", "facebook/wav2vec2-base"),
        ("mfcc:cmvn", "mfcc:cmvn"),
        ("random:hubert-tiny:3", "random:hubert-tiny:3"),
    ],
)
def test_a_model_is_called_without_its_folders(model, shown):
    assert names.model_name(model) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see /home/jane/clips/x and go on", "see [path] and go on"),
        ("row 3: clips/jane_doe.WAV is clipped", "row 3: [file] is clipped"),
        ("/data/jane/a.flac, twice", "[file], twice"),
        (r"C:\data\jane\list of", "[path] of"),
        ("4 clips at 8 kHz/16 kHz, and 1/2 of them", "4 clips at 8 kHz/16 kHz, and 1/2 of them"),
        ("s / d and A/B", "s / d and A/B"),
    ],
)
def test_paths_and_audio_files_are_left_out_of_free_text(text, shown):
    assert names.redact(text) == shown


@given(st.text(max_size=40))
def test_a_cleaned_name_is_one_line_and_survives_html(text):
    cleaned = names.clean(text)
    assert "\n" not in cleaned
    assert names.clean(cleaned) == cleaned
    shown = str(names.as_html(names.named(text)))
    assert shown.startswith("<b>")
    assert html.unescape(shown[3:-4]).replace("\N{NO-BREAK SPACE}", " ").split() == cleaned.split()
    assert names.as_plain(names.named(text)) == cleaned


@given(st.text(max_size=40))
def test_latex_names_have_balanced_braces_and_no_active_characters(text):
    escaped = names.escape_latex(text)
    bare = escaped.replace("\\{", "").replace("\\}", "")
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    for command in (
        "\\textbackslash",
        "\\textasciicircum",
        "\\textasciitilde",
        "\\textless",
        "\\textgreater",
        "\\textbar",
    ):
        bare = bare.replace(command, "")
    for active in "$&#%_":
        bare = bare.replace(f"\\{active}", "")
        assert active not in bare
    assert "\\" not in bare.replace("\\char34", "")
    assert not set('^~<>|"') & set(bare)


def test_a_row_of_a_markdown_table_keeps_its_cells(odd):
    escaped = names.escape_markdown(odd)
    assert "|" not in escaped.replace("\\|", "")
    assert "<" not in escaped.replace("\\<", "")
    assert names.escape_markdown("see http://x.org").count("://") == 0


def test_a_long_name_loses_its_middle():
    assert names.shorten("a" * 30 + "-base", limit=20) == "aaaaaaaaa…aaaaa-base"
    assert len(names.shorten("x" * 99, limit=40)) == 40
    assert names.shorten("short", limit=40) == "short"


@pytest.mark.parametrize(
    ("d", "text"), [(0.625, "0.62"), (-0.004, "0.00"), (-0.07, "-0.07"), (1.999, "2.00"), (math.nan, "n/a")]
)
def test_d_has_two_decimals_and_no_negative_zero(d, text):
    assert numerals.format_d(d) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (2 / 252, "0.008"),
        (1.0, "1.000"),
        (9e-4, "< 0.001"),
        (2e-9, "< 0.001"),
        (0.0499, "0.0499"),
        (0.04996, "0.04996"),
        (0.0503, "0.0503"),
        (0.05, "0.050"),
        (math.nan, "n/a"),
    ],
)
def test_p_is_never_rounded_to_alpha_nor_across(p, text):
    assert numerals.format_p(p) == text


@given(st.floats(1e-9, 1), st.sampled_from([0.1, 0.05, 1 - 0.95, 0.01]))
def test_the_printed_p_is_on_the_same_side_of_alpha(p, alpha):
    text = numerals.format_p(p, alpha=alpha)
    printed = 0.0 if text.startswith("<") else float(text)
    assert (printed < alpha, printed == alpha) == (p < alpha, p == alpha)


def test_small_numbers_and_durations():
    assert numerals.format_small(2.13e-9) == "2.1e-9"
    assert numerals.format_small(0.31) == "0.31"
    assert [numerals.format_seconds(s) for s in (48.4, 200, 3599.6, 7500)] == [
        "48 s",
        "3 min 20 s",
        "1 h 0 min",
        "2 h 5 min",
    ]
    assert numerals.format_p_equation(1e-5) == "p < 0.001"
    assert [numerals.count(1, "clip"), numerals.count(12_000, "clip")] == ["1 clip", "12,000 clips"]
