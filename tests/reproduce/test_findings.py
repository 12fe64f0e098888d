"""The paper's statements on models that are made up: what was planted is found, what was not is not claimed."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from speechbias.measure import measure_bias
from speechbias.reproduce.findings import Evidence, Says, find_all
from speechbias.reproduce.findings.evidence import means, share
from speechbias.reproduce.findings.finding import Finding, none_verdict, sign_verdict
from speechbias.reproduce.findings.write import findings_in_words, summary, write_findings
from speechbias.results import write_vectors
from speechbias.vectors import read_vectors, to_arrays

CLIPS, DIM = 24, 16
PARAMETERS = {"slim": 20_400_000, "small": 21_300_000, "base": 95_000_000}


class World:
    """Models on the same clips of three tests, each with a strength by which X goes with A."""

    def __init__(self, folder):
        self.folder, self.records, self.places, self.count = folder, [], {}, 0

    def add(self, strength, *, tests=("Age", "Native", "Gender"), keep=True, **changes):
        """A model; ``strength``: a number, or one per test. ``keep``: its vectors lie beside the results."""
        self.count += 1
        for k, test in enumerate(tests):
            much = strength[test] if isinstance(strength, dict) else strength
            shared = np.random.default_rng(k).normal(size=(4, CLIPS, DIM))  # the same clips for all models
            own = np.random.default_rng([k, self.count]).normal(size=(4, CLIPS, DIM))
            x, y, a, b = shared + 0.3 * own
            a[:, 0] += 4
            b[:, 0] -= 4
            x[:, 0] += much
            y[:, 0] -= much
            path = self.folder / f"{test}-{self.count}.npz"
            np.savez(path, X=x, Y=y, A=a, B=b)
            embeddings = read_vectors(path)
            made = measure_bias(embeddings, permutations=99, resamples=100)
            values = {
                "test": test.lower(),
                "model": f"m{self.count}",
                "model_sha256": f"{self.count:064d}",
                "stimuli_sha256": test,
                "family": "wav2vec2",
                **changes,
            }
            stored = write_vectors(self.folder / "results.jsonl", to_arrays(embeddings)) if keep else None
            record = replace(made, vectors=stored, **values)
            self.records.append(record)
            self.places[record.identity] = self.folder

    def trained(self, family, size, strength):
        self.add(strength, family=family, parameters=PARAMETERS[size])

    def find(self, statement, on):
        (found,) = [
            f for f in find_all(Evidence(self.records, self.places)) if statement in f.statement and f.on == on
        ]
        return found


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


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


def test_contrasts_and_shares():
    d = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 1.0]])
    assert means(2, 1)(d).tolist() == [-4.5, -1.0]
    assert means(1, 2)(d).tolist() == [-3.0, -0.5]
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
    world.trained("wav2vec2", "slim", 0.0)
    world.trained("wav2vec2", "base", 1.0)
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


def run_of(world, family, name, curve, seed=0):
    for step, strength in curve.items():
        world.add(strength, tests=("Gender",), family=family, step=step, model=f"step-{step:08d}",
                  run={"name": name, "recipe": name, "seed": seed})  # fmt: skip


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


def test_positive_from_sixty_thousand_steps_on(world):
    run_of(world, "hubert", "h", {0: -1.0, 1000: -0.5, 2000: 1.0})
    found = world.find("positive from", "Gender")
    assert found.says is Says.absent
    assert "ends at 2,000" in found.note
    run_of(world, "hubert", "long", {0: -1.0, 60_000: 1.0, 80_000: 1.2})
    assert world.find("positive from", "Gender").says is Says.supported
    run_of(world, "wav2vec2", "other", {0: -1.0, 60_000: 1.0, 80_000: -1.2})
    assert world.find("positive from", "Gender").says is Says.contradicted


# ---- 3.3 ----


def prune(world, method, family, whole, sizes):
    """An unpruned model and its sizes, strengths each."""
    world.add(whole, family=family, model="base", model_sha256="b" * 64)
    said = {"method": method, "criterion": "l1", "pruned_from": "b" * 64, "of": 10}
    run = {"name": "p", "recipe": "p", "seed": 0}
    for number, strength in enumerate(sizes, start=1):
        sizes_of = {"parameters_removed": number, "remaining": 10 - number, "step": number}
        world.add(strength, family=family, run=run, **said, **sizes_of)


def test_pruning_that_lowers_d(world):
    prune(world, "heads", "wav2vec2", 1.0, [0.4, 0.2])
    assert world.find("heads lowers d", "wav2vec 2.0, Age").says is Says.supported
    assert world.find("heads leaves d", "wav2vec 2.0, Gender").says is Says.contradicted
    assert world.find("heads lowers d", "MelHuBERT, Age").says is Says.absent
    assert world.find("every method of pruning", "Age").says is Says.supported


def test_pruning_that_changes_nothing(world):
    prune(world, "heads", "wav2vec2", 0.5, [0.5, 0.5])
    found = world.find("heads lowers d", "wav2vec 2.0, Age")
    assert found.says is Says.unclear
    assert abs(found.effect) < 0.3


def test_one_method_that_raises_age_contradicts_that_all_lower_it(world):
    prune(world, "heads", "wav2vec2", 0.2, [1.0, 1.2])
    assert world.find("every method of pruning", "Age").says is Says.contradicted


def test_rows_of_melhubert_turn_negative_and_rise_again(world):
    prune(world, "rows", "melhubert", 0.5, [-1.0, 0.0, 0.5])
    assert world.find("first cuts of rows", "MelHuBERT, Age").says is Says.supported
    assert world.find("rises again as more rows", "MelHuBERT, Native").says is Says.supported


def test_weights_of_melhubert_fall_and_rise_again(world):
    prune(world, "weights", "melhubert", 1.0, [0.5, 0.0, 0.5])
    assert world.find("falls as weights", "MelHuBERT, Gender").says is Says.supported
    assert world.find("rises again towards the sparsest", "MelHuBERT, Gender").says is Says.supported
    assert world.find("pruning of weights lowers d", "MelHuBERT, Age").says is Says.supported


def test_control_at_random_is_not_the_papers_pruning(world):
    prune(world, "rows", "wav2vec2", 1.0, [0.1])
    world.records = [replace(r, criterion="random") if r.method else r for r in world.records]
    assert world.find("rows lowers d", "wav2vec 2.0, Age").says is Says.absent


def test_students(world):
    world.add({"Age": 1.0, "Native": 0.5, "Gender": 0.2}, family="hubert", model="base", model_sha256="b" * 64)
    for layers in (4, 2):
        world.add({"Age": 0.2, "Native": 0.5, "Gender": 1.0}, family="hubert", distilled_from="b" * 64,
                  student_layers=layers, teacher_layers=12)  # fmt: skip
    assert world.find("distillation raises d", "HuBERT, Gender").says is Says.supported
    assert world.find("distillation lowers d", "HuBERT, Age").says is Says.supported
    assert world.find("distillation lowers d", "HuBERT, Native").says is Says.unclear
    assert world.find("distillation lowers d", "MelHuBERT, Age").says is Says.absent
    size = world.find("size of a student", "Gender")
    assert size.says in {Says.supported, Says.unclear}
    assert abs(size.effect) < 0.3


# ---- what is written ----


def test_nothing_measured_claims_nothing():
    found = find_all(Evidence([], {}))
    assert {each.says for each in found} == {Says.absent}
    assert len(found) > 40
    assert summary(found) == f"{len(found)} statements: {len(found)} not measured."


def test_files_hold_every_statement(tmp_path):
    found = [
        Finding("3.1", "a", "Age", "stimuli", Says.supported, 0.5, 0.1, 0.9, paper="8 of 10", note="how"),
        Finding("3.2", "b", "Age", "training runs", Says.unclear, 0.5, 0.3, 0.8, unit="share"),
        Finding("3.3.1", "c", "Age", "stimuli", Says.absent),
        Finding("3.3.1", "c", "Native", "stimuli", Says.absent),
    ]
    markdown, table = write_findings(found, tmp_path / "new")
    text = markdown.read_text()
    assert "| 3.1 | a | Age | +0.50 [+0.10, +0.90] | stimuli | supported | 8 of 10 | how |" in text
    assert "0.50 [0.30, 0.80] | training runs | cannot tell" in text
    assert "- c (2 times)" in text
    with table.open() as file:
        assert [row["says"] for row in csv.DictReader(file)] == [each.says for each in found]
    assert findings_in_words(found)


def test_only_what_was_measured_as_in_the_paper_is_evidence(world):
    world.add(0.5, tests=("Age",))
    (whole,) = world.records
    others = [{"crop_seconds": 3.0}, {"pooling": "max"}, {"removal": {"concept": "gender"}}]
    cut = [replace(whole, recipe=said, model_sha256=str(k)) for k, said in enumerate(others)]
    features = [replace(whole, family="features", model=name) for name in ("mfcc", "mfcc:cmvn")]
    evidence = Evidence([whole, *cut, *features], {})
    assert evidence.trained("Age") == [whole]
    assert [each.model for each in evidence.features("Age")] == ["mfcc"]
