"""The paper's statements on models that are made up: what was planted is found, what was not is not claimed."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from planted_models import World
from speechbias.reproduce.findings import Evidence, Says, find_all
from speechbias.reproduce.findings.evidence import changes, means, share, sizes_of
from speechbias.reproduce.findings.finding import (
    Effect,
    Finding,
    all_verdict,
    none_verdict,
    opposite,
    sign_verdict,
)
from speechbias.reproduce.findings.write import findings_in_words, summary, write_findings
from speechbias.reproduce.rows import MODELS

# ---- verdicts and numbers ----


def test_verdicts():
    assert sign_verdict(0.1, 0.5, sign=1) is Says.supported
    assert sign_verdict(0.1, 0.5, sign=-1) is Says.contradicted
    assert sign_verdict(-0.5, -0.1, sign=-1) is Says.supported
    assert sign_verdict(-0.1, 0.5, sign=1) is Says.unclear
    assert sign_verdict(None, None, sign=1) is Says.unclear
    assert none_verdict(-0.1, 0.19) is Says.supported
    assert none_verdict(-0.1, 0.2) is Says.unclear
    assert none_verdict(0.05, 0.5) is Says.unclear
    assert none_verdict(0.21, 0.5) is Says.contradicted
    assert none_verdict(-0.5, -0.21) is Says.contradicted


def test_all_of_several_effects():
    small, large, across, below = (Effect(0.3, 0.1, 0.5), Effect(1.0, 0.8, 1.2), Effect(0.2, -0.1, 0.5),
                                   Effect(-0.5, -0.9, -0.1))  # fmt: skip
    assert all_verdict([large, small], sign=1) == (small, Says.supported)
    assert all_verdict([large, small], sign=1, whole=False) == (small, Says.unclear)  # not all that is spoken of
    assert all_verdict([large, across, small], sign=1) == (across, Says.unclear)
    assert all_verdict([below, large], sign=1, whole=False) == (below, Says.contradicted)
    assert all_verdict([below], sign=-1) == (below, Says.supported)
    assert all_verdict([below, small, large], sign=-1) == (large, Says.contradicted)
    unknown = Effect(-2.0)
    assert all_verdict([large, unknown], sign=1) == (unknown, Says.unclear)
    assert all_verdict([below, unknown], sign=1) == (below, Says.contradicted)  # shown is what proves it
    assert [opposite(says) for says in (Says.supported, Says.contradicted, Says.unclear)] == [
        Says.contradicted, Says.supported, Says.unclear,
    ]  # fmt: skip


def test_contrasts_and_shares():
    d = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 1.0]])
    assert means(2, 1)(d).tolist() == [-4.5, -1.0]
    assert means(1, 2)(d).tolist() == [-3.0, -0.5]
    assert changes(2, 1)(np.array([1.0, 3.0, 4.0, 5.0, 1.0])).tolist() == 1.0  # of -2 and 4
    assert sizes_of(changes(2))(np.array([-1.0, 1.0, -0.5])).tolist() == 0.5
    assert share(10, 10) == (1.0, pytest.approx(0.025 ** (1 / 10)), 1.0)


def test_an_effect_is_the_difference_of_the_records_d_with_an_interval_around_it(world):
    world.add(0.0, tests=("Age",))
    world.add(1.0, tests=("Age",))
    evidence = Evidence(world.records, world.places)
    low, high = world.records
    found = evidence.effect([high, low], means(1, 1))
    assert found.value == pytest.approx(high.d - low.d, abs=1e-12)
    assert 0 < found.low < found.value < found.high
    wider = evidence.effect([high, low], means(1, 1), confidence=0.999)
    assert wider.low < found.low
    assert found.high < wider.high
    same = evidence.effect([high, high], means(1, 1))
    assert same.value == 0
    assert same.low == pytest.approx(0, abs=1e-9)


def test_without_vectors_there_is_an_effect_and_no_interval(world):
    world.add(0.0, tests=("Age",), keep=False)
    world.add(1.0, tests=("Age",), keep=False)
    found = Evidence(world.records, world.places).effect(world.records, means(1, 1))
    assert found.value < 0
    assert (found.low, found.high) == (None, None)
    world.trained("wav2vec2", "slim", 1.0)
    world.add(0.0, tests=("Age",), keep=False, family="features", model="mfcc")
    said = summary(find_all(Evidence(world.records, world.places)))
    assert re.search(r" not measured\. [1-9] without an interval: no vectors lie beside the results, ", said)


# ---- 3.1 ----


def test_models_above_features(world):
    for name in ("mfcc", "mel"):
        world.add(0.0, family="features", model=name)
    assert world.find("than classical features", "Age").says is Says.absent
    world.trained("hubert", "base", {"Age": 1.0, "Native": 0.0, "Gender": -1.0})
    assert world.find("than classical features", "Age").says is Says.supported
    assert world.find("than classical features", "Native").says is Says.unclear
    found = world.find("than classical features", "Gender")
    assert found.says is Says.contradicted
    assert found.over == "stimuli"
    assert found.effect < 0
    assert found.paper == "9 of 10 models above every feature"


def test_melhubert_beside_the_mel_spectrogram(world):
    world.add(0.0, family="features", model="mel")
    world.add(-2.0, family="features", model="mfcc")  # which it does not hear
    world.trained("hubert", "base", 2.0)
    assert world.find("mel spectrogram that it hears", "Age").says is Says.absent
    world.trained("melhubert", "base", {"Age": 1.0, "Native": 0.0, "Gender": -1.0})
    found = world.find("mel spectrogram that it hears", "Age")
    assert (found.says, found.paper, found.over) == (Says.supported, "3 of 3 models", "stimuli")
    assert found.note == "mean of 1 model less mean of 1 feature"
    assert world.find("mel spectrogram that it hears", "Native").says is Says.unclear
    assert world.find("mel spectrogram that it hears", "Gender").says is Says.contradicted


def of_size(world, size, strength, **changes):
    """A wav2vec 2.0 model that is found in a row of Table 3."""
    num_states, dim = {"small": (4, 640), "slim": (13, 384), "base": (13, 768), "large": (25, 1024)}[size]
    world.add(strength, num_states=num_states, dim=dim, states="s3prl", **changes)


def test_the_largest_d_of_wav2vec2_models(world):
    of_size(world, "base", {"Age": 1.5, "Native": 0.2, "Gender": 0.5})
    assert world.find("base has the largest d", "Age").says is Says.absent
    of_size(world, "small", {"Age": 0.2, "Native": 0.2, "Gender": 1.5})
    found = world.find("base has the largest d", "Age")
    assert found.says is Says.unclear
    assert found.effect > 0
    assert found.low > 0
    assert found.note.endswith("not all four sizes are here")
    assert world.find("base has the largest d", "Gender").says is Says.contradicted  # small's is larger
    of_size(world, "slim", {"Age": 0.2, "Native": 0.2, "Gender": 0.2})
    of_size(world, "large", {"Age": 0.2, "Native": 0.2, "Gender": 0.2})
    found = world.find("base has the largest d", "Age")
    assert (found.says, found.paper) == (Says.supported, "base 0.51, next slim 0.49")
    found = world.find("large has the largest d", "Native")
    assert (found.says, found.paper) == (Says.unclear, "large 0.69, next slim 0.52")


def test_untrained_pruned_and_distilled_models_are_no_pretrained_ones(world):
    world.add(0.0, family="features", model="mfcc")
    world.add(1.0, model="random:wav2vec2-small")
    world.add(1.0, step=0, run={"name": "r", "recipe": "x", "seed": 0})
    world.add(1.0, method="rows", parameters_removed=5)
    world.add(1.0, distilled_from="t", student_layers=2)
    assert world.find("than classical features", "Age").says is Says.absent


def test_gender_is_largest_for_most_models(world):
    for _ in range(9):
        world.add({"Age": 0.0, "Native": 0.1, "Gender": 1.0}, keep=False)
    found = world.find("largest d on Gender", "all tests")
    assert found.says is Says.supported
    assert (found.over, found.effect, found.unit) == ("training runs", 1.0, "share")
    assert found.paper == "8 of 10 models"


def test_a_larger_model_with_a_smaller_d_shows_that_size_is_not_monotone(world):
    world.trained("wav2vec2", "slim", 1.0)
    world.trained("wav2vec2", "base", 0.1)
    found = world.find("does not always have a larger d", "Age")
    assert found.says is Says.supported
    assert found.high < 0


def test_models_that_all_grow_with_size_contradict_it(world):
    *most, last = MODELS
    sizes = {"slim": (0.0, 20_400_000), "small": (0.0, 21_300_000), "base": (1.0, 95_000_000), "large": (2.0, 3e8)}

    def add(row):
        family, num_states, dim = row.shape
        strength, parameters = sizes[row.size]
        shape = {"family": family, "states": "s3prl", "num_states": num_states, "dim": dim}
        world.add(strength, tests=("Age",), parameters=parameters, **shape)

    for row in most:
        add(row)
    found = world.find("does not always have a larger d", "Age")
    assert found.says is Says.unclear  # another one might fall
    assert found.note.endswith("not all of the paper's models are here")
    add(last)
    assert world.find("does not always have a larger d", "Age").says is Says.contradicted


def test_sizes_of_different_families_are_not_compared(world):
    world.trained("wav2vec2", "slim", 0.0)
    world.trained("hubert", "base", 1.0)
    assert world.find("does not always have a larger d", "Age").says is Says.absent


def test_wide_below_deep(world):
    world.add(0.1, num_states=4, dim=640, parameters=21_300_000)
    world.add(1.0, num_states=13, dim=384, parameters=20_400_000)
    deep = [r for r in world.records if r.num_states == 13]
    assert len(deep) == 3
    found = world.find("the wide, shallow one", "Age")
    assert found.paper == "3 of 3 families"
    assert world.find("the wide, shallow one", "Native").paper == "2 of 3 families"  # the paper's own exception
    assert found.effect < 0


# ---- 3.2 ----


def run_of(world, family, name, curve, *, tests=("Gender",)):
    for step, strength in curve.items():
        world.add(strength, tests=tests, family=family, step=step, model=f"step-{step:08d}",
                  run={"name": name, "recipe": name, "seed": 0})  # fmt: skip


def test_later_is_more(world):
    run_of(world, "hubert", "h", {0: 2.0, 10: 0.0, 20: 0.5, 30: 1.0})
    found = world.find("larger later", "Gender")
    assert found.says is Says.supported
    assert world.find("larger later", "Age").says is Says.absent
    assert "1 run" in found.note


def test_one_trend_per_family(world):
    up, down = {10: 0.0, 20: 0.3, 30: 0.6, 40: 1.0}, {10: 1.0, 20: 0.6, 30: 0.3, 40: 0.0}
    assert world.find("one trend", "Gender").says is Says.absent
    for number in range(4):
        run_of(world, "hubert", f"h{number}", up)
        run_of(world, "melhubert", f"m{number}", down)
    found = world.find("one trend", "Gender")
    assert found.over == "training runs"
    assert found.effect > 1
    assert found.says is Says.supported


def test_untrained_melhuberts_beside_the_others(world):
    for seed in range(4):
        world.add(1.0 + 0.01 * seed, tests=("Gender",), family="melhubert", model=f"random:melhubert-small:{seed}")
        world.add(0.0 + 0.01 * seed, tests=("Gender",), family="hubert", model=f"random:hubert-small:{seed}")
    found = world.find("untrained, MelHuBERT", "Gender")
    assert found.says is Says.supported
    assert found.over == "training runs"
    one = World(world.folder)
    one.add(1.0, tests=("Gender",), family="melhubert", model="random:melhubert-small")
    one.add(0.0, tests=("Gender",), family="hubert", model="random:hubert-small")
    assert one.find("untrained, MelHuBERT", "Gender").says is Says.unclear


def test_step_0_of_a_run_that_begins_at_a_checkpoint_is_not_untrained(world):
    run = {"name": "pruned", "recipe": "x", "seed": 0}
    world.add(1.0, tests=("Gender",), family="melhubert", model="random:melhubert-small")
    world.add(1.0, tests=("Gender",), family="hubert", step=900, model_sha256="c" * 64)
    world.add(1.0, tests=("Gender",), family="hubert", step=0, run=run, model_sha256="c" * 64)
    assert world.find("untrained, MelHuBERT", "Gender").says is Says.absent


def test_gender_along_the_curves(world):
    statement, whole = "over pre-training d is highest on Gender", ("Age", "Native", "Gender")
    run_of(world, "hubert", "alone", {10: 1.0, 20: 1.0})
    assert world.find(statement, "all tests").says is Says.absent  # of Gender alone nothing can be said
    world.records.clear()
    high = {"Age": 0.1, "Native": 0.3, "Gender": 1.2}
    low = {"Age": 0.1, "Native": 1.2, "Gender": 0.1}
    run_of(world, "hubert", "h", {0: low, 10: high, 20: high}, tests=whole)
    found = world.find(statement, "all tests")
    assert (found.says, found.over, found.low) == (Says.unclear, "training runs", None)
    assert found.note.startswith("Gender less Native, the lower of two")
    assert found.paper == "5 of 6 models at their last step (Table 3)"
    for number in range(4):
        run_of(world, "melhubert", f"m{number}", {0: low, 10: high, 20: high}, tests=whole)
    found = world.find(statement, "all tests")
    assert found.says is Says.supported  # step 0 does not count
    assert 0 < found.low < found.effect < found.high
    assert "5 runs" in found.note


def test_another_category_above_gender_along_the_curves(world):
    tests = {"Age": 0.1, "Native": 1.2, "Gender": 0.3}
    for number in range(4):
        run_of(world, "hubert", f"h{number}", {10: tests, 20: tests}, tests=tuple(tests))
    run_of(world, "wav2vec2", "w", {10: 2.0, 20: 2.0}, tests=("Gender",))  # not on all three
    found = world.find("over pre-training d is highest", "all tests")
    assert found.says is Says.contradicted
    assert "4 runs" in found.note


def test_positive_from_sixty_thousand_steps_on(world):
    run_of(world, "hubert", "h", {0: -1.0, 1000: -0.5, 2000: 1.0})
    found = world.find("positive from", "Gender")
    assert found.says is Says.absent
    assert "ends at 2,000" in found.note
    run_of(world, "hubert", "long", {0: -1.0, 60_000: 1.0, 80_000: 1.2})
    assert world.find("positive from", "Gender").says is Says.supported
    run_of(world, "wav2vec2", "other", {0: -1.0, 60_000: 1.0, 80_000: -1.2})
    assert world.find("positive from", "Gender").says is Says.contradicted


# ---- what is written ----


def test_nothing_measured_claims_nothing():
    found = find_all(Evidence([], {}))
    assert {each.says for each in found} == {Says.absent}
    assert len(found) == 77
    assert [each.section for each in found] == sorted(each.section for each in found)
    assert summary(found) == f"{len(found)} statements: {len(found)} not measured."


def test_files_hold_every_statement(tmp_path):
    found = [
        Finding("3.1", "a", "Age", "stimuli", Says.supported, 0.5, 0.1, 0.9, paper="8 of 10", note="how"),
        Finding("3.2", "b", "Age", "training runs", Says.unclear, 0.5, 0.3, 0.8, unit="share"),
        Finding("3.3.1", "c", "Age", "stimuli", Says.absent),
        Finding("3.3.1", "c", "Native", "stimuli", Says.absent),
        Finding("4", "|d| falls", "MelHuBERT, Age", "stimuli", Says.supported, -0.5, -0.9, -0.1, note="|d| less |d|"),
    ]
    markdown, table = write_findings(found, tmp_path / "new")
    text = markdown.read_text()
    assert "| 3.1 | a | Age | +0.50 [+0.10, +0.90] | stimuli | supported | 8 of 10 | how |" in text
    assert "0.50 [0.30, 0.80] | training runs | cannot tell" in text
    assert "- c (2 times)" in text
    assert text.startswith("| section |")
    (sizes,) = [line for line in text.splitlines() if "falls" in line]
    assert sizes.replace(r"\|", "").count("|") == 9  # the bars of |d| part no cells
    with table.open() as file:
        assert [row["says"] for row in csv.DictReader(file)] == [each.says for each in found]
    assert findings_in_words(found)
    (markdown, _) = write_findings([Finding("3.2", "c", "Age", "stimuli", Says.absent)], tmp_path / "none")
    assert markdown.read_text().startswith("1 statement: 1 not measured.")  # and no table of nothing


def test_only_what_was_measured_as_in_the_paper_is_evidence(world):
    world.add(0.5, tests=("Age",))
    (whole,) = world.records
    others = [{"crop_seconds": 3.0}, {"pooling": "max"}, {"removal": {"concept": "gender"}}]
    cut = [replace(whole, recipe=said, model_sha256=str(k)) for k, said in enumerate(others)]
    features = [replace(whole, family="features", model=name) for name in ("mfcc", "mfcc:cmvn")]
    evidence = Evidence([whole, *cut, *features], {})
    assert evidence.trained("Age") == [whole]
    assert [each.model for each in evidence.features("Age")] == ["mfcc"]
