# Two commands do all the set-up on a machine that has Python 3.11 and make: `make demo` and `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= demo-out
TIMES ?= 1

.PHONY: demo test test-fast fuzz mutants lint types format bench results results-check calibrate site clean

demo: $(VENV)/.user  ## measure bias on synthetic voices, offline: report and page in demo-out/
	$(BIN)/speechbias demo -o $(DEMO)

# A core for each of two workers: threads of both would wait for each other.
test test-fast calibrate: export OMP_NUM_THREADS ?= 1

test: $(VENV)/.developer  ## every test
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(VENV)/.developer  ## all tests but the slow ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

fuzz: $(VENV)/.developer  ## every reader on many damaged files (an hour)
	SPEECHBIAS_FUZZ=5000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/test_fuzz.py

mutants: $(VENV)/.developer  ## does a test notice each small fault in the statistics? (hours; SAMPLE=300: so many of them)
	$(BIN)/python -m mutation $(if $(SAMPLE),--sample $(SAMPLE))

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developer
	$(BIN)/mypy

format: $(VENV)/.developer
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.developer  ## speed, side by side with what it is compared to
	$(BIN)/python -m benchmarks

results: $(VENV)/.developer  ## write docs/results.md anew (its real part where the recordings are)
	$(BIN)/python docs/make_results.py

results-check: $(VENV)/.developer  ## fail if the synthetic part of docs/results.md is not what the code gives
	$(BIN)/python docs/make_results.py --check

site: $(VENV)/.developer  ## the documents as a site in site/, for a server or to be opened as files
	$(BIN)/mkdocs build --strict --quiet

calibrate: $(VENV)/.developer  ## simulate every inference (minutes, on two cores) and write docs/validity.md
	$(BIN)/python -m calibration --times $(TIMES)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[hf,train,probe,audit]'
	@touch $@

$(VENV)/.developer: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.user

clean:
	rm -rf $(VENV) $(DEMO) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
