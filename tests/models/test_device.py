"""What ``auto`` picks, and that the command line says so."""

import pytest
import torch
from typer.testing import CliRunner

from recordings import write_test
from speechbias.cli import app
from speechbias.models.device import choose_device, picked_in_words


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 1000")


@pytest.fixture
def no_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_without_a_card(no_card):
    assert choose_device("auto") == "cpu"
    assert picked_in_words() == "device: cpu (no CUDA device here)"


def test_auto_with_a_card(card):
    assert choose_device("auto") == "cuda"
    assert picked_in_words() == "device: cuda (Card 1000)"


@pytest.mark.parametrize(("options", "lines"), [(["--device", "auto"], 1), ([], 0), (["--device", "cpu"], 0)])
def test_measure_says_what_auto_picked_once_on_standard_error(tmp_path, no_card, options, lines):
    stimuli = write_test(tmp_path, clips=2)
    out = tmp_path / "results.jsonl"
    quick = ["--resamples", "100", "--no-audit"]
    arguments = ["measure", "mel", "--stimuli", str(stimuli), "-o", str(out), *quick, *options]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert answer.stderr.splitlines().count("device: cpu (no CUDA device here)") == lines
    assert "device:" not in answer.stdout


def test_a_number_does_not_make_another_cpu():
    assert choose_device("cpu:0") == choose_device("cpu") == "cpu"
