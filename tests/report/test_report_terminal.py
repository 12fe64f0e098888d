"""The terminal's table: every number visible in 80 columns, nothing said twice."""

import io

from rich.console import Console

from speechbias.report import terminal_table

from .conftest import make_record as make


def shown(results, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(results))
    return console.file.getvalue()


def test_every_number_fits_into_eighty_columns():
    adjusted = {"mean": None, 0: 0.25, 12: 0.25}
    results = [make(layer=layer, num_states=13, p_adjusted=p) for layer, p in adjusted.items()]
    text = shown(results)
    assert "…" not in text
    for result in results:
        assert text.count(f"{result.ci_low:+.2f} to {result.ci_high:+.2f}") == len(results)
    assert "p attr." in text
    assert text.count("0.250") == 2


def test_a_star_marks_what_is_associated():
    assert f"{make().d:+.2f}*" in shown([make(p_value=0.01, p_attribute=0.01)])
    assert f"{make().d:+.2f}*" not in shown([make(p_value=0.01, p_attribute=0.5)])


def test_the_single_state_of_a_feature_is_not_repeated():
    results = [make(layer=layer, num_states=1) for layer in ("mean", 0)]
    assert "layer" not in shown(results)
    assert shown(results) == shown(results[:1])
