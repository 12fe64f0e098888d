"""What a student's checkpoint says of its teacher, in the words of records."""

import pytest

from speechbias.checkpoint.content import Meta
from speechbias.models.config import sized
from speechbias.models.distilled import Distilled
from speechbias.results import BiasResult

SAID = {"teacher_sha256": "a" * 64, "teacher_layers": 12, "layers": 2, "targets": [4, 12], "copied": []}


def test_what_a_checkpoint_says_is_read():
    assert Meta(provenance={"distillation": SAID}).distilled == Distilled("a" * 64, 12)
    assert Distilled.read({"teacher": "hubert_base"}) == Distilled("hubert_base")
    assert Meta().distilled is None


@pytest.mark.parametrize(
    "wrong", [None, "a", {}, {"teacher_layers": 2}, {"teacher_sha256": 3}, {"teacher_sha256": ""}, {"teacher": None}]
)
def test_who_names_no_teacher_says_nothing(wrong):
    assert Distilled.read(wrong) is None


@pytest.mark.parametrize("layers", [0, -1, True, "12", 2.0, None])
def test_a_teacher_of_no_number_of_layers_is_still_a_teacher(layers):
    assert Distilled.read(SAID | {"teacher_layers": layers}) == Distilled("a" * 64, None)


def test_the_records_fields_are_those_of_a_result_and_layers_are_the_configs():
    said = Distilled.read(SAID | {"layers": 6}).in_record(sized("melhubert", "small"))
    assert said == {"distilled_from": "a" * 64, "student_layers": 3, "teacher_layers": 12}
    assert said.keys() <= BiasResult.__annotations__.keys()
