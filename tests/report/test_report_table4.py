"""Table 4 from records: which models are a row, which of their sizes stand in it, and the paper's numbers beside."""

import csv
import json

import pytest
from typer.testing import CliRunner

from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.paper import TABLE_4
from speechbias.report.table4 import write_table4
from speechbias.report.table4_rows import find_rows

BASE = "b" * 64


def per(model, rate, **changes):
    values = {
        "schema": 1, "kind": "per", "model": model, "model_sha256": model.ljust(64, "0"), "family": "melhubert",
        "split": "test-clean", "per": rate, "num_states": 13,
    }  # fmt: skip
    return values | changes


def cut(method, left, of, rate, **changes):
    values = {"method": method, "criterion": "l1", "remaining": left, "of": of, "parameters_removed": of - left}
    return per(f"{method}{left}", rate, pruned_from=BASE) | values | changes


def base(rate=0.08, **changes):
    return per("base", rate, model_sha256=BASE) | changes


def shown(rows):
    return [(row.method_text, [size.left for size in row.sizes], [size.text for size in row.sizes]) for row in rows]


def test_pruned_models_stand_with_the_middle_size_and_the_smallest():
    heads = [cut("heads", left, 144, rate) for left, rate in ((132, 0.07), (72, 0.075), (60, 0.08), (12, 0.116))]
    weights = [cut("weights", 100 - zeros, 100, zeros / 500) for zeros in (20, 40, 50, 80)]
    rows = [cut("rows", left, 3072, 0.1 + (3072 - left) / 1e5) for left in (2944, 1664, 1280, 512)]
    found, split = find_rows([*weights, *heads, base(), *rows])
    assert split == "test-clean"
    assert shown(found) == [
        ("heads", ["72 of 144", "12 of 144"], ["7.5", "11.6"]),
        ("rows", ["1664 of 3072", "512 of 3072"], ["11.4", "12.6"]),
        ("weights", ["60 %", "20 %"], ["8.0", "16.0"]),
    ]
    assert [row.base for row in found] == [0.08] * 3
    assert {row.name for row in found} == {"MelHuBERT"}


def test_students_stand_with_the_smallest_of_one_teacher():
    students = [
        per(f"s{layers}", 0.3 - layers / 100, num_states=layers + 1, distilled_from=BASE) for layers in (6, 2, 4)
    ]
    (row,), _ = find_rows([base(), *students])
    assert shown([row]) == [("distilled", ["2 layers"], ["28.0"])]
    assert (row.paper.base, row.paper.compressed) == (8.2, (27.2,))


def test_the_papers_rows_come_in_its_order():
    records = [base(family=family) for family in ("hubert", "melhubert", "wav2vec2")]
    for each in reversed(TABLE_4):
        made = per("x", 0.2, distilled_from=BASE) if each.method == "distillation" else cut(each.method, 1, 2, 0.2)
        records.append(made | {"family": each.family, "model_sha256": f"{each.family}{each.method}"})
    found, _ = find_rows(records)
    families = list(dict.fromkeys(row.family for row in found))
    assert sorted(families) == sorted({each.family for each in TABLE_4})
    for family in families:
        assert [row.paper for row in found if row.family == family] == [e for e in TABLE_4 if e.family == family]


def test_random_cuts_are_rows_of_their_own_with_the_range_of_their_seeds():
    random = [
        cut("heads", 12, 144, rate, criterion="random", model_sha256=f"r{rate}", run={"name": "r", "seed": seed})
        for seed, rate in enumerate((0.3, 0.2))
    ]
    found, _ = find_rows([*random, base(), cut("heads", 12, 144, 0.1)])
    assert shown(found) == [("heads", ["12 of 144"], ["10.0"]), ("heads, random", ["12 of 144"], ["20.0 to 30.0"])]


def test_of_one_size_the_model_that_was_trained_longest_counts():
    run = {"name": "heads", "seed": 0}
    early = cut("heads", 12, 144, 0.5, run=run, step=10, model_sha256="early")
    late = cut("heads", 12, 144, 0.1, run=run, step=20, model_sha256="late")
    for order in ([early, late], [late, early]):
        assert shown(find_rows([base(), *order])[0]) == [("heads", ["12 of 144"], ["10.0"])]


def test_a_rate_of_another_split_or_no_rate_at_all_does_not_count():
    (row,), split = find_rows(
        [
            cut("heads", 12, 144, 0.1),
            cut("heads", 6, 144, 0.1, split="dev-clean"),
            cut("heads", 3, 144, float("nan")),
            base(split="dev-clean"),
        ]
    )
    assert (split, [size.left for size in row.sizes], row.base) == ("test-clean", ["12 of 144"], None)


def test_two_models_of_one_family_are_told_apart():
    other = base(0.2, model="other", model_sha256="c" * 64)
    found, _ = find_rows([base(), other, cut("heads", 6, 12, 0.1), cut("heads", 3, 12, 0.3, pruned_from="c" * 64)])
    assert [(row.name, row.base) for row in found] == [("MelHuBERT base", 0.08), ("MelHuBERT other", 0.2)]


def test_the_files(tmp_path):
    records = [base(), cut("heads", 72, 144, 0.07), cut("heads", 12, 144, 0.116), {"kind": "bias"}]
    paths = write_table4(records, tmp_path)
    assert [path.name for path in paths] == ["table4.md", "table4.tex", "table4.csv"]
    lines = (tmp_path / "table4.md").read_text().splitlines()
    assert lines[2] == "| MelHuBERT | heads | 72 of 144 / 12 of 144 | 8.0 | 7.0 / 11.6 | 8.2 | 7 / 11.6 |"
    assert r"MelHuBERT & heads & 72 of 144 / 12 of 144 & 8.0 & 7.0 / 11.6" in (tmp_path / "table4.tex").read_text()
    listed = list(csv.DictReader((tmp_path / "table4.csv").read_text().splitlines()))
    assert [(r["left"], r["per"], r["paper_compressed"]) for r in listed] == [
        ("72 of 144", "0.07", "7.0"),
        ("12 of 144", "0.116", "11.6"),
    ]


def test_without_a_compressed_model_there_is_no_table(tmp_path):
    with pytest.raises(InputError, match="no record of a compressed model's phone error rate"):
        write_table4([base()], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path):
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (base(), cut("rows", 1, 2, 0.3))))
    done = CliRunner().invoke(app, ["reproduce", "table4", str(tmp_path / "results.jsonl"), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "| MelHuBERT | rows | 1 of 2 | 8.0 | 30.0 | 8.2 | 8.8 / 14.1 |" in (tmp_path / "table4.md").read_text()


def test_rates_of_another_corpus_phone_set_or_recipe_do_not_compare(tmp_path):
    ours = {"phones": "39", "eos": False, "corpus_sha256": "c", "probe_sha256": "p"}
    others = [{"phones": "71"}, {"eos": True}, {"corpus_sha256": "d"}, {"probe_sha256": "q"}]
    records = [base(**ours), cut("heads", 12, 144, 0.1, **ours)]
    records += [cut("heads", 6 - n, 144, 0.9, **ours | other) for n, other in enumerate(others)]
    assert shown(find_rows(records)[0]) == [("heads", ["12 of 144"], ["10.0"])]
    write_table4(records, tmp_path)
    for name in ("table4.md", "table4.tex"):
        assert "another test set, phone set or recipe: 4 of the records" in (tmp_path / name).read_text()
    write_table4(records[:2], tmp_path)
    assert "another" not in (tmp_path / "table4.md").read_text()


def test_what_was_quantised_is_a_row_of_its_own():
    of = {"run": {"name": "heads", "seed": 0}, "step": 20, "num_states": 13}
    plain = cut("heads", 12, 144, 0.1, dtype="float32", model_sha256="plain", **of)
    shipped = cut("heads", 12, 144, 0.4, dtype="int8", model_sha256="int8", **of)
    for order in ([plain, shipped], [shipped, plain]):
        assert [cells[::2] for cells in shown(find_rows([base(), *order])[0])] == [
            ("heads", ["10.0"]), ("heads, int8", ["40.0"])
        ]  # fmt: skip


def test_heads_that_count_as_states_are_no_layers():
    of = {"distilled_from": BASE, "student_layers": 2, "model_sha256": "s", "run": {"name": "s"}}
    with_heads = per("s", 0.2, num_states=5, states="s3prl-heads", **of)
    found, _ = find_rows([base(), with_heads, per("s", 0.3, num_states=3, states="s3prl", **of)])
    assert shown(found) == [
        ("distilled", ["2 layers"], ["30.0"]), ("distilled, with heads", ["2 layers"], ["20.0"])
    ]  # fmt: skip


def test_students_of_runs_that_are_called_alike_are_told_apart_by_their_layers():
    run = {"name": "run", "seed": 0}
    students = [per(f"s{n}", n / 100, num_states=n + 1, distilled_from=BASE, run=run, step=9) for n in (2, 6)]
    assert shown(find_rows([base(), *students])[0]) == [("distilled", ["2 layers"], ["2.0"])]


def test_checkpoints_of_two_runs_are_called_by_their_runs_and_a_name_of_two_models_is_nobodys():
    bases = [
        base(0.1, model="step-9", run={"name": "one"}, step=9),
        base(0.2, model="step-9", model_sha256="c" * 64, run={"name": "two"}, step=9),
    ]
    cuts = [cut("heads", 6, 12, 0.3), cut("heads", 6, 12, 0.4, pruned_from="c" * 64, model_sha256="x")]
    found, _ = find_rows([*bases, *cuts])
    assert [(row.name, row.base) for row in found] == [("MelHuBERT one step 9", 0.1), ("MelHuBERT two step 9", 0.2)]
    alike, _ = find_rows([each | {"run": {"name": "one"}} for each in bases] + cuts)
    assert [row.name for row in alike] == ["MelHuBERT one step 9 [bbbbbbbb]", "MelHuBERT one step 9 [cccccccc]"]
    (row,), _ = find_rows([*bases, per("student", 0.5, distilled_from="step-9")])
    assert row.base is None
