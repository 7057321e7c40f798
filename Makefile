# `make demo` and `make test` set everything up on a fresh machine and run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS := 1

.PHONY: demo test lint bench fuzz clean setup

demo: setup
	$(BIN)/airmeta demo

test: setup
	$(BIN)/pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks

fuzz: setup
	$(BIN)/python -m benchmarks.fuzz_messages
	$(BIN)/python -m benchmarks.fuzz_remote
	$(BIN)/python -m benchmarks.fuzz_iiod
	$(BIN)/python -m benchmarks.fuzz_usrp

setup: $(VENV)/.stamp

$(VENV)/.stamp: pyproject.toml scripts/setup.sh
	PYTHON=$(PYTHON) scripts/setup.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .hypothesis .import_linter_cache
