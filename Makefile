# make help lists the verbs. Everything happens in .venv; nothing outside this folder is touched.
PYTHON ?= python3
COHORT ?= simulated
SEEDS ?= 1
PRESET ?= demo
export COHORT SEEDS PRESET
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NOTEBOOKS := $(sort $(wildcard notebooks/[0-9]*.ipynb))

.PHONY: help figures test lint lab bench clean
.DEFAULT_GOAL := help

help:  ## list these verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[lab,dev]"
	touch $@

figures: $(STAMP)  ## train the demo models (over an hour on 2 cores, less on a GPU) and draw figures/; COHORT=cao2021, SEEDS=3, GRID=full
	$(BIN)/python -m spikelfp_lab.study
	@mkdir -p build/notebooks
	@for notebook in $(NOTEBOOKS); do echo "running $$notebook"; \
		$(BIN)/jupyter nbconvert --to notebook --execute --log-level WARN \
			--ExecutePreprocessor.timeout=3600 --output-dir build/notebooks $$notebook || exit 1; done
	@echo "figures/ is drawn; the executed notebooks are in build/notebooks/"

test: $(STAMP) lint  ## lint, types, unit tests, every notebook in the smoke preset, three of them in a browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --durations 10
	PRESET=smoke COHORT=simulated SEEDS=1 OMP_NUM_THREADS=1 SPIKELFP_RUNS=build/smoke/runs FIGURES=build/smoke/figures \
		$(BIN)/python -m pytest --nbmake --nbmake-timeout=600 --override-ini addopts= notebooks
	PRESET=smoke OMP_NUM_THREADS=1 $(BIN)/python -m pytest --override-ini addopts= --durations 5 tests/ui

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/nbstripout --verify $(NOTEBOOKS)

lab: $(STAMP)  ## JupyterLab on notebooks/
	$(BIN)/jupyter lab --notebook-dir=notebooks

bench: $(STAMP)  ## run all benchmarks; tables and the machine in benchmarks/results/
	$(BIN)/python -m benchmarks

clean:  ## remove what was trained and built (not figures/, not .venv)
	rm -rf build runs
