# Every target works from a fresh clone; .venv is made on first use. PYTHON picks the interpreter.
PYTHON ?= python3
# The newest Python that is tried, and Colab's: `make test-newest` and `make test-colab` make environments of their own.
PYTHON313 ?= python3.13
BIN := .venv/bin
STEPS ?= 1000
# tests/conftest.py has the order of the files
SUITE := -m pytest -n 2 --dist loadfile --no-loadscope-reorder
FAST := -m 'not slow and not exhaustive'
INSTALL := -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-all test-newest test-colab check bench notebooks address api clean

help:
	@echo "make demo       train a U-Net on handwritten digits, compare it with its closed-form twins (runs/demo/report.html)"
	@echo "make test       the test suite            make test-fast  the part that takes a few minutes"
	@echo "make test-all   with the sweeps that take hours"
	@echo "make test-newest, make test-colab         the fast part on Python 3.13 with the newest libraries, with Colab's"
	@echo "make check      lint, format, types, texts in step   make bench      benchmarks, each a ratio"
	@echo "make notebooks  run the tutorials         make address    write the public address into every text"
	@echo "make api        write the list of public names and the map of packages from the docstrings"

.venv/.programs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) -e '.[all]'
	@touch $@

.venv/.tests: .venv/.programs
	$(BIN)/python $(INSTALL) -e '.[all,test,dev]'
	@touch $@

demo: .venv/.programs
	$(BIN)/python -m training train --data digits --steps $(STEPS) --out runs/demo
	$(BIN)/python -m analysis report --run runs/demo --out runs/demo

test: .venv/.tests
	$(BIN)/python $(SUITE) -m 'not exhaustive'

test-fast: .venv/.tests
	$(BIN)/python $(SUITE) $(FAST)

test-all: .venv/.tests
	$(BIN)/python $(SUITE)

.venv-newest/bin/python .venv-colab/bin/python:
	@$(PYTHON313) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' || { \
	  echo "error: PYTHON313: expected a command that is Python 3.13, got '$(PYTHON313)'." >&2; \
	  echo "Install Python 3.13 (for example: uv python install 3.13), or say where it is:" >&2; \
	  echo "  make $(firstword $(MAKECMDGOALS)) PYTHON313=/path/to/python3.13" >&2; \
	  exit 1; }
	$(PYTHON313) -m venv $(patsubst %/bin/python,%,$@)

# Installed at every call: what is newest changes.
test-newest: .venv-newest/bin/python
	$< $(INSTALL) --upgrade --upgrade-strategy eager -e '.[all,test]'
	$< $(SUITE) $(FAST)

test-colab: .venv-colab/bin/python
	$< $(INSTALL) --constraint constraints/colab.txt -e '.[all,test]'
	$< $(SUITE) $(FAST)

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
	rm -rf .venv .venv-newest .venv-colab build dist runs
