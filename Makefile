# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: help env quickstart test check docs dist bench evaluation reliability clean

help:
	@echo "make quickstart   environment, default model, the banking example to a verdict and a report"
	@echo "make test         environment, linters, type and layer checks, the whole test suite"
	@echo "make check        linters, types and layers only"
	@echo "make docs         the documentation site below site/"
	@echo "make dist         the source archive and the wheel below dist/"
	@echo "make bench        side-by-side timings against peers (long)"
	@echo "make evaluation   full evaluations on eight real sets, figures and plots of docs/evaluation.md (long)"
	@echo "make reliability  long kill, corruption and fuzzing runs (long)"

env: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

quickstart: env
	$(BIN)/luthier models pull smollm2-135m-instruct
	cd examples/banking-intents && ../../$(BIN)/luthier run

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

test: check
	$(BIN)/luthier models pull smollm2-135m-instruct
	$(BIN)/luthier models pull minilm-l6
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

docs: env
	$(BIN)/mkdocs build --strict

dist: env
	$(BIN)/python -m hatchling build -d dist -t sdist -t wheel

bench: env
	$(BIN)/luthier models pull smollm2-135m-instruct
	$(BIN)/python benchmarks/gate.py
	$(BIN)/python benchmarks/training.py W1
	$(BIN)/python benchmarks/training.py W2
	$(BIN)/python benchmarks/training.py W2 --peer llamafactory
	$(BIN)/python benchmarks/training.py W3
	$(BIN)/python benchmarks/training.py W9
	$(BIN)/python benchmarks/scoring.py choices-0shot
	$(BIN)/python benchmarks/scoring.py choices-5shot
	$(BIN)/python benchmarks/scoring.py labels
	$(BIN)/python benchmarks/scoring.py labels-instructed --search-rows 1
	$(BIN)/python benchmarks/generation.py --prompts 64
	$(BIN)/python benchmarks/generation.py --prompts 256
	$(BIN)/python benchmarks/dedupe.py quality
	$(BIN)/python benchmarks/dedupe.py 10000
	$(BIN)/python benchmarks/dedupe.py 100000 --repeats 1
	$(BIN)/python benchmarks/dedupe.py 1000000 --no-peer

evaluation: env
	$(BIN)/luthier models pull smollm2-135m-instruct
	$(BIN)/luthier models pull minilm-l6
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/evaluation.py --write-docs

reliability: env
	$(BIN)/python reliability/run.py

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .import_linter_cache
