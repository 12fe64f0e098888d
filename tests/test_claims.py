"""Claims: one holder at a time, the dead ones' work taken over, another machine's holder believed while it lives."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from speechbias.claims import claimed, is_claimed

HOLD = """
import sys, time, pathlib
from speechbias.claims import claimed
with claimed(pathlib.Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def elsewhere(path, *, age):
    path.write_text(json.dumps({"host": "another", "pid": 1, "token": "x"}))
    os.utime(path, (time.time() - age,) * 2)


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "work" / "claim"
    assert not is_claimed(path)
    with claimed(path) as mine:
        assert mine
        assert is_claimed(path)
        with claimed(path) as again:
            assert not again
    assert not is_claimed(path)
    with claimed(path) as mine:
        assert mine


def test_of_many_that_come_at_once_one_works(tmp_path):
    """Thirty pieces of work, eight workers that try each."""
    done = []

    def work(number):
        with claimed(tmp_path / f"{number % 30}") as mine:
            if mine and not (tmp_path / f"done-{number % 30}").exists():
                time.sleep(0.001)
                done.append(number % 30)
                (tmp_path / f"done-{number % 30}").touch()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(240)))
    assert sorted(done) == list(range(30))


def test_a_dead_holder_is_followed_at_once(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "c")], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "True\n"
        assert is_claimed(tmp_path / "c")
        with claimed(tmp_path / "c") as mine:
            assert not mine
        process.send_signal(signal.SIGKILL)
    assert not is_claimed(tmp_path / "c")
    with claimed(tmp_path / "c") as mine:
        assert mine


def test_a_holder_on_another_machine_lives_as_long_as_it_beats(tmp_path):
    path = tmp_path / "c"
    elsewhere(path, age=10)
    assert is_claimed(path)
    with claimed(path) as mine:
        assert not mine
    elsewhere(path, age=100)
    assert not is_claimed(path)
    with claimed(path, settle=0.01) as mine:
        assert mine
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_who_is_overtaken_while_taking_over_lets_go(tmp_path):
    path = tmp_path / "c"
    elsewhere(path, age=100)
    with ThreadPoolExecutor(1) as threads:

        def overtake():
            while json.loads(path.read_text() or "{}").get("host") in {None, "another"}:
                time.sleep(0.01)
            elsewhere(path, age=0)  # a third machine, which saw no lock, was later

        other = threads.submit(overtake)
        with claimed(path, settle=0.5) as mine:
            assert not mine
        other.result()
    assert json.loads(path.read_text())["host"] == "another"


def test_a_holder_gives_signs_of_life(tmp_path):
    with claimed(tmp_path / "c", beat=0.02) as mine:
        assert mine
        os.utime(tmp_path / "c", (1, 1))
        until = time.monotonic() + 5
        while (tmp_path / "c").stat().st_mtime == 1:
            assert time.monotonic() < until
            time.sleep(0.01)
