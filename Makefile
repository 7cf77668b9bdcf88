# Every target works from a fresh clone; .venv is made on first use. PYTHON picks the interpreter.
PYTHON ?= python3
BIN := .venv/bin
STEPS ?= 1000

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check bench notebooks address api clean

help:
	@echo "make demo       train a U-Net on handwritten digits, compare it with its closed-form twins (runs/demo/report.html)"
	@echo "make test       the whole test suite      make test-fast  the part that takes a few minutes"
	@echo "make check      lint, format, types, texts in step   make bench      benchmarks, each a ratio"
	@echo "make notebooks  run the tutorials         make address    write the public address into every text"
	@echo "make api        write the list of public names and the map of packages from the docstrings"

.venv/.programs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

.venv/.tests: .venv/.programs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,test,dev]'
	@touch $@

demo: .venv/.programs
	$(BIN)/python -m training train --data digits --steps $(STEPS) --out runs/demo
	$(BIN)/python -m analysis report --run runs/demo --out runs/demo

test: .venv/.tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: .venv/.tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow'

check: .venv/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python tools/address.py --check
	$(BIN)/python tools/notebooks.py --check
	$(BIN)/python tools/api.py --check

bench: .venv/.tests
	$(BIN)/python -m benchmarks

notebooks: .venv/.tests
	$(BIN)/python tools/notebooks.py

address:
	$(PYTHON) tools/address.py

api:
	$(PYTHON) tools/api.py

clean:
	rm -rf .venv build dist runs
