"""The answer in words: right direction, right reason, and no word that the numbers do not bear."""

from dataclasses import replace

import pytest

from speechbias.report import sentences
from speechbias.report.names import as_plain


def said(record):
    return as_plain(sentences.answer(record))


def test_an_association(record):
    assert said(record()) == (
        "clips of female lie nearer to positive than clips of male (d = 0.62, medium, 95 % interval 0.20 to 1.01), "
        "and the difference is aligned with the attribute: associated."
    )


def test_a_reverse_association_names_the_other_group(record):
    text = said(record(d=-0.62, ci_low=-1.01, ci_high=-0.21))
    assert text.startswith("clips of male lie nearer to positive than clips of female (d = -0.62, medium,")
    assert text.endswith("a reverse association, as d is negative.")
    assert "less" not in text
    assert sentences.verdict(record(d=-0.62)) == "reverse association"


@pytest.mark.parametrize(
    ("p", "attribute", "fragments"),
    [
        (0.21, 0.01, ["are not shown to differ", "can well arise by chance (p = 0.210)."]),
        (0.01, 0.30, ["differ (d =", "not shown to be aligned with positive against negative (attribute p = 0.300)."]),
        (
            0.21,
            0.30,
            ["are not shown to differ", "(p = 0.210), nor is it shown to be aligned", "(attribute p = 0.300)."],
        ),
        (0.0499, 0.0504, ["differ (d =", "(attribute p = 0.0504)."]),
    ],
)
def test_not_associated_says_why(record, p, attribute, fragments):
    text = said(record(p_value=p, p_attribute=attribute))
    assert text.startswith("not associated: clips of female and male")
    assert all(fragment in text for fragment in fragments)
    assert "medium" not in text
    assert sentences.verdict(record(p_value=p, p_attribute=attribute)) == "not associated"


def test_negligible_may_be_said_of_what_is_not_associated(record):
    assert "negligible" in said(record(d=0.02, ci_low=-0.1, ci_high=0.12, p_value=0.7))


def test_a_test_that_could_not_find_anything_says_so(record):
    n_speakers = {"X": 3, "Y": 3, "A": 24, "B": 24}
    text = said(record(n_speakers=n_speakers, p_min=0.1, p_value=0.1))
    assert "6 speakers make 20 splits, so p cannot go below 0.100, so this test could not find a difference" in text


def test_few_speakers_are_plain(record):
    assert sentences.describe_floors(record()) == [
        "Few speakers limit this test: 10 speakers make 252 splits, so p cannot go below 0.008."
    ]
    clips = record(design="independent", n={"X": 5, "Y": 5, "A": 9, "B": 9}, n_speakers={})
    assert sentences.describe_floors(clips)[0].startswith("Few clips limit this test: 10 clips make 252 splits")
    one_sided = record(p_min=1 / 252, alternative="greater")
    assert "252 splits, so p cannot go below 0.004" in sentences.describe_floors(one_sided)[0]
    within = record(design="within-speaker", p_min=0.03)
    assert "with the relabellings that there are, p cannot go below 0.030" in sentences.describe_floors(within)[0]
    drawn = record(p_method="monte-carlo", permutations=199, p_min=0.005)
    assert sentences.describe_floors(drawn) == ["Only 199 relabellings were drawn, so p cannot go below 0.005."]
    assert sentences.describe_floors(record(p_method="monte-carlo", p_min=1e-5)) == []
    assert "no attribute p below 0.004" in sentences.describe_floors(record(p_min=1e-5, p_attribute_min=0.0039))[0]


def test_few_talkers_are_flagged(record):
    few = record(attribute_talkers=8, leave_one_talker_out=(0.41, 0.77))
    assert "Only 8 talkers" in sentences.flag_talkers(few)
    text = sentences.describe_talkers(few)
    assert "-0.11 to 1.20" in text
    assert "from 0.41 to 0.77" in text
    assert sentences.flag_talkers(record(attribute_talkers=10)) == ""


def test_one_sided_tests_say_so(record):
    assert as_plain(sentences.describe_direction(record(alternative="greater"))).startswith("One-sided: only female")
    assert as_plain(sentences.describe_direction(record(alternative="less"))).startswith("One-sided: only male")
    assert sentences.describe_direction(record()) == ""


def test_many_measurements_are_counted(record):
    found = record()
    reverse = record(d=-0.5)
    missed = record(p_value=0.5)
    assert as_plain(sentences.tally([found, reverse, found, missed])) == (
        "3 of 4 encoders: associated. Nearer to positive lie clips of female in 2 and clips of male in 1."
    )
    assert as_plain(sentences.tally([found, missed])).endswith("clips of female in 1.")
    assert as_plain(sentences.tally([missed])) == "None of 1 encoders: associated."


def test_groups_without_a_name_are_their_letters(record):
    assert "clips of X lie nearer to A than clips of Y" in said(replace(record(), groups={}))
