"""The paper's statements on compression (Sections 3.3 and 4), on models that are made up."""

from dataclasses import replace

import pytest

from planted_models import World
from speechbias.reproduce.findings import Says


def prune(world, method, family, whole, sizes, *, whole_sha256="b" * 64):
    """An unpruned model and its sizes, strengths each."""
    world.add(whole, family=family, model="base", model_sha256=whole_sha256)
    said = {"method": method, "criterion": "l1", "pruned_from": whole_sha256, "of": 10}
    run = {"name": "p", "recipe": "p", "seed": 0}
    for number, strength in enumerate(sizes, start=1):
        sizes_of = {"parameters_removed": number, "remaining": 10 - number, "step": number}
        world.add(strength, family=family, run=run, **said, **sizes_of)


def test_pruning_that_lowers_d(world):
    prune(world, "heads", "wav2vec2", 1.0, [0.4, 0.2])
    assert world.find("heads lowers d", "wav2vec 2.0, Age").says is Says.supported
    assert world.find("heads leaves d", "wav2vec 2.0, Gender").says is Says.contradicted
    assert world.find("heads lowers d", "MelHuBERT, Age").says is Says.absent
    found = world.find("every method of pruning", "Age")
    assert found.says is Says.unclear
    assert found.high < 0
    assert found.note.endswith("rows and weights not measured")
    prune(world, "rows", "wav2vec2", 1.0, [0.4, 0.2])
    prune(world, "weights", "wav2vec2", 1.0, [0.4, 0.2])
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


def test_d_that_rises_from_below_zero_is_a_bias_that_falls(world):
    assert world.find("|d| falls as more rows", "MelHuBERT, Age").says is Says.absent
    prune(world, "rows", "melhubert", 0.5, [-1.2, -0.6, 0.0])
    found = world.find("|d| falls as more rows", "MelHuBERT, Age")
    assert (found.says, found.over) == (Says.supported, "stimuli")
    assert found.effect < 0
    beyond = World(world.folder)
    prune(beyond, "rows", "melhubert", 0.5, [-0.2, 1.5])  # past zero, and further away from it
    assert beyond.find("rises again as more rows", "MelHuBERT, Age").says is Says.supported
    assert beyond.find("|d| falls as more rows", "MelHuBERT, Age").says is Says.contradicted
    once = World(world.folder)
    prune(once, "rows", "melhubert", 0.5, [-0.2])
    assert once.find("|d| falls as more rows", "MelHuBERT, Age").says is Says.absent


def test_what_is_said_in_general_takes_two_families(world):
    prune(world, "rows", "wav2vec2", 1.0, [0.4, 0.2])
    found = world.find("rows generally lowers d", "Gender")
    assert (found.says, found.note) == (Says.absent, "it takes two families")
    prune(world, "rows", "melhubert", 0.8, [0.2], whole_sha256="c" * 64)
    found = world.find("rows generally lowers d", "Gender")
    assert (found.says, found.over) == (Says.supported, "stimuli")
    one, other = (world.find("rows lowers d", f"{name}, Gender").effect for name in ("wav2vec 2.0", "MelHuBERT"))
    assert found.effect == pytest.approx((one + other) / 2)
    risen = World(world.folder)
    prune(risen, "rows", "wav2vec2", 0.2, [1.0])
    prune(risen, "rows", "melhubert", 0.2, [1.0], whole_sha256="c" * 64)
    assert risen.find("rows generally lowers d", "Age").says is Says.contradicted
    same = World(world.folder)
    prune(same, "rows", "wav2vec2", 0.4, [0.8])
    prune(same, "rows", "melhubert", 0.8, [0.5], whole_sha256="c" * 64)
    assert same.find("rows generally lowers d", "Native").says is Says.unclear  # one rose, one fell


def test_rows_that_mitigate_all_biases(world):
    statement = "rows lowers |d| in every category"
    assert world.find(statement, "all tests").says is Says.absent
    prune(world, "rows", "wav2vec2", 1.5, [0.2, 0.0])
    prune(world, "rows", "melhubert", 1.5, [-0.2, 0.2], whole_sha256="c" * 64)
    found = world.find(statement, "all tests")
    assert (found.says, found.section, found.over) == (Says.supported, "4", "stimuli")
    assert found.high < 0
    assert found.note.startswith("the highest of 6 changes of |d|")
    world.records = [record for record in world.records if record.test != "native"]
    found = world.find(statement, "all tests")
    assert found.says is Says.unclear  # all that was measured fell, which is not every category
    assert found.note.endswith("Native not measured")


def test_a_reversed_bias_is_one(world):
    prune(world, "rows", "wav2vec2", 1.0, [0.2])
    prune(world, "rows", "melhubert", {"Age": 0.3, "Native": 0.5, "Gender": 0.5}, [-1.5], whole_sha256="c" * 64)
    assert world.find("rows lowers d", "MelHuBERT, Gender").says is Says.supported
    found = world.find("rows lowers |d| in every category", "all tests")
    assert found.says is Says.contradicted
    assert found.low > 0


def test_methods_of_limited_effect(world):
    statement = "heads does not lower |d| in every category"
    assert world.find(statement, "all tests").says is Says.absent
    prune(world, "heads", "wav2vec2", {"Age": 1.0, "Native": 0.2, "Gender": 0.5}, [0.5])
    found = world.find(statement, "all tests")  # Native rose
    assert (found.says, found.section) == (Says.supported, "4")
    assert found.low > 0
    assert world.find("weights does not lower |d|", "all tests").says is Says.absent
    falls = World(world.folder)
    prune(falls, "heads", "wav2vec2", 1.0, [0.2])
    assert falls.find(statement, "all tests").says is Says.contradicted
    falls.records = [record for record in falls.records if record.test != "age"]
    assert falls.find(statement, "all tests").says is Says.unclear


def test_weights_that_move_d_otherwise_in_other_categories(world):
    statement = "weights moves d otherwise"
    whole = {"Age": 0.5, "Native": 0.2, "Gender": 1.0}
    prune(world, "weights", "wav2vec2", whole, [0.6])
    found = world.find(statement, "Native and Gender")  # one rose, one fell
    assert (found.says, found.over, found.section) == (Says.supported, "stimuli", "3.3.3")
    assert 0 < found.low < found.effect < found.high
    world.places.clear()  # no vectors
    found = world.find(statement, "Native and Gender")
    assert (found.says, found.low) == (Says.unclear, None)
    world.records = [record for record in world.records if record.test != "native"]
    assert world.find(statement, "Native and Gender").says is Says.absent


def test_weights_that_move_d_alike(world):
    prune(world, "weights", "wav2vec2", 0.5, [0.5])
    assert world.find("weights moves d otherwise", "Native and Gender").says is Says.unclear
    alike = World(world.folder)
    alike.add(0.5, model="base", model_sha256="b" * 64)
    said = {"method": "weights", "criterion": "l1", "pruned_from": "b" * 64, "of": 10, "remaining": 9}
    copies = [
        replace(record, model="cut", model_sha256="d" * 64, parameters_removed=1, step=1, run={"name": "p"}, **said)
        for record in alike.records
    ]
    alike.records += copies
    alike.places |= {record.identity: alike.folder for record in copies}
    found = alike.find("weights moves d otherwise", "Native and Gender")
    assert (found.says, found.effect) == (Says.contradicted, 0)


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
    assert world.find("distillation does not lower |d|", "all tests").says is Says.supported  # Gender rose
    assert world.find("distillation generally raises d", "Gender").says is Says.absent
    world.add({"Age": 1.0, "Native": 0.5, "Gender": 0.2}, family="wav2vec2", model="other", model_sha256="c" * 64)
    world.add({"Age": 0.2, "Native": 0.5, "Gender": 1.0}, family="wav2vec2", distilled_from="c" * 64,
              student_layers=2, teacher_layers=12)  # fmt: skip
    assert world.find("distillation generally raises d", "Gender").says is Says.supported
    assert world.find("distillation generally lowers d", "Age").says is Says.supported
    size = world.find("size of a student", "Gender")
    assert size.says in {Says.supported, Says.unclear}
    assert abs(size.effect) < 0.3


# ---- phone error rates ----


def rate(per, low, high, **changes):
    return {"kind": "per", "schema": 1, "model": "m", "per": per, "ci_low": low, "ci_high": high} | changes


STUDENT = {"model": "student", "family": "hubert", "distilled_from": "t"}
HEADS = {"model": "cut", "family": "hubert", "method": "heads", "criterion": "l1", "parameters_removed": 5}
MEL = {"model": "mel", "family": "features"}


def test_compressed_models_that_recognise_phones(world):
    statement, on = "still recognise phones", "phone error rates"
    assert world.find(statement, on).says is Says.absent
    world.rates = [rate(0.2, 0.15, 0.25, **STUDENT), rate(0.3, 0.25, 0.35, **HEADS)]
    assert world.find(statement, on).says is Says.absent  # beside what?
    world.rates.append(rate(0.6, 0.5, 0.7, **MEL))
    found = world.find(statement, on)
    assert (found.says, found.effect, found.low, found.high) == (Says.supported, 0.3, 0.25, 0.35)
    assert (found.unit, found.over, found.section) == ("share", "stimuli", "3.3")
    assert found.note == "the highest of 2 rates, beside mel's 0.60"
    assert found.paper == "6.6 to 27.2 %, of 5.41 to 8.2 % before; no feature's"
    world.rates.append(rate(0.5, 0.45, 0.55, **STUDENT))
    assert world.find(statement, on).says is Says.unclear
    world.rates.append(rate(0.9, 0.8, 1.0, **STUDENT))
    assert world.find(statement, on).says is Says.contradicted


def test_rates_that_do_not_count(world):
    world.rates = [
        rate(0.6, 0.5, 0.7, **MEL),
        rate(0.2, 0.15, 0.25, **HEADS),
        rate(0.9, 0.8, 1.0, **HEADS | {"criterion": "random"}),
        rate(0.9, 0.8, 1.0, **HEADS | {"parameters_removed": 0}),
        rate(0.9, 0.8, 1.0, **STUDENT, split="another"),
        rate(0.9, 0.8, 1.0, model="base", family="hubert"),
        STUDENT | {"kind": "control", "per": 0.9},
    ]
    assert world.find("still recognise phones", "phone error rates").says is Says.supported
    world.rates[0] = rate(0.6, None, None, **MEL)
    assert world.find("still recognise phones", "phone error rates").says is Says.unclear
