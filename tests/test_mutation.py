"""The tool that mutates the statistics: which faults it makes, names that last, what it counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mutation.mutants", reason="mutation/ is not on the path")

from mutation import counts, plan
from mutation.__main__ import draw
from mutation.mutants import mutants_of

ROOT = Path(__file__).parents[1]


def changes(source):
    return [mutant.name.split(": ", 1)[1] for mutant in mutants_of("a.py", source)]


@pytest.mark.parametrize(
    ("line", "others"),
    [
        ("a = b < c", ["a = b <= c"]),
        ("a = b - c", ["a = (b + c)"]),
        ("a = -b", ["a = b"]),
        ("a = b and c", ["a = (b or c)"]),
        ("a = b[c:d]", ["a = b[:d]", "a = b[c:]"]),
        ("a = b[..., None]", []),
        ("a = b.min(axis=0)", ["a = b.max(axis=0)", "a = b.min()", "a = b.min(axis=1)", "a = b.min(axis=(-1))"]),
        ("a = 2", ["a = 3", "a = 1"]),
        ("a = 0.5", ["a = 1.5"]),
        ("a = True", ["a = False"]),
        ("a = 'x'", ["a = 'XXxXX'"]),
        ("a = 'some words'", []),
        ("a = f'{b + 1}'", []),
        ("a = abs(b)", ["a = (b)"]),
        ("a += b", ["a -= b", "a = b"]),
        ("check(a)", ["pass"]),
        ("a = b if c else d", ["a = b if (not c) else d"]),
        ("a = [b for b in c if b]", ["a = [b for b in c if (not b)]"]),
        ("a = zip(b, c, strict=True)", []),
        ("Array = NDArray['x']", []),
    ],
)
def test_faults_of_a_line(line, others):
    assert changes(line) == [f"{line} -> {other}" for other in others]


def test_functions_defaults_and_loops():
    source = 'def f(a: "int" = 1) -> "int":\n    """Text."""\n'
    source += "    for b in a:\n        continue\n    return (\n        a\n    )\n"
    assert changes(source) == [
        'def f(a: "int" = 1) -> "int": -> def f(a: "int" = 2) -> "int":',
        'def f(a: "int" = 1) -> "int": -> def f(a: "int" = 0) -> "int":',
        "continue -> break",
        "return ( a ) -> return None",
    ]
    for mutant in mutants_of("a.py", source):
        assert mutant.source.count("\n") == source.count("\n")  # a fault moves no line


def test_names_are_told_apart_and_outlive_moved_lines():
    source = "def f(a):\n    a = a + 1\n    a = a + 1\n"
    names = [mutant.name for mutant in mutants_of("a.py", source)]
    assert len(set(names)) == len(names) == 6
    assert names[0] == "a.py f: a = a + 1 -> a = (a - 1)"
    assert names[3] == "a.py f: a = a + 1 -> a = (a - 1) #2"
    assert [mutant.name for mutant in mutants_of("a.py", "\n\n" + source)] == names


def test_machine_code_is_made_anew_where_the_fault_would_be_hidden():
    source = "LIMIT = 2\n@compiled\ndef f(a):\n    return a\ndef g(a):\n    return a\n"
    hidden = {mutant.name.split()[1]: mutant.compiled for mutant in mutants_of("a.py", source)}
    assert hidden == {"module:": True, "f:": True, "g:": False}
    assert not any(mutant.compiled for mutant in mutants_of("a.py", "LIMIT = 2\n"))


@pytest.fixture(scope="module")
def mutants():
    return {file: mutants_of(file, (plan.PACKAGE / file).read_text(encoding="utf-8")) for file in plan.PLAN}


def test_every_module_of_the_plan_has_tests_and_is_all_there_is(mutants):
    assert all(mutants.values())
    assert all((ROOT / path).is_file() for tests in plan.PLAN.values() for path in tests)
    modules = {path.name for path in (plan.PACKAGE / "inference").glob("[!_]*.py")}
    assert modules == {Path(file).name for file in plan.PLAN if file.startswith("inference/")}


def test_mutants_are_python(mutants):
    for of_file in mutants.values():
        for mutant in of_file[::20]:
            compile(mutant.source, mutant.name, "exec")


def test_every_mutant_on_the_list_of_equivalents_is_one(mutants):
    names = {mutant.name for of_file in mutants.values() for mutant in of_file}
    gone = counts.read_equivalent(plan.EQUIVALENT).keys() - names
    assert not gone, "take them from mutation/equivalent.toml"


def test_the_interval_of_a_share_is_exact():
    assert counts.binomial_interval(20, 20) == pytest.approx((0.025 ** (1 / 20), 1))
    low, high = counts.binomial_interval(9, 10)
    assert (round(low, 4), round(high, 4)) == (0.555, 0.9975)
    whole, part = counts.Count(12, 2, 10, 9), counts.Count(100, 0, 10, 9)
    assert whole.line("a").endswith(" 90.0 %")
    assert part.line("a").endswith(" 90.0 %  (55.5 to 99.7)")
    assert counts.total([whole, part]) == counts.Count(112, 2, 20, 18)


def test_samples_of_one_seed_nest_and_leave_equivalents_out(mutants):
    of_file = mutants["speat.py"]
    small, large = (draw(of_file, count, 5, {}) for count in (10, 30))
    assert small == large[:10]
    assert small != draw(of_file, 10, 6, {})
    listed = {small[0].name: "why"}
    assert draw(of_file, 10, 5, listed) == large[1:11]
    assert len(draw(of_file, None, 5, listed)) == len(of_file) - 1


def run(log, *words):
    command = [sys.executable, "-m", "mutation", "inference/multiplicity.py", "--log", str(log), *words]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_a_sample_is_tried_and_logged(tmp_path):
    log = tmp_path / "mutants.jsonl"
    tried = run(log, "--sample", "2", "--seed", "1")
    outcomes = {record["mutant"]: record["outcome"] for record in map(json.loads, log.read_text().splitlines())}
    assert len(outcomes) == 2
    assert set(outcomes.values()) == {"caught"}
    assert run(log, "--list", "--sample", "2", "--seed", "1") == tried
    assert tried.splitlines()[-1].split()[:6] == ["in", "all", "16", "1", "2", "2"]
    assert " 2     2 " in run(log, "--list", "--sample", "3", "--seed", "1")  # the same two, and one that waits
