# Two commands matter: `make demo` and `make test`. Each sets up what it needs, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
PYTHON_LATEST ?= python3.12
VENV ?= .venv
# axolotl on Python 3.11 takes torch up to 2.13. For another build of torch, say so here:
#   make env TORCH="torch==2.13.0 --index-url URL"
TORCH ?= $(shell $(PYTHON) -c 'import sys; print("torch==2.13.0" if sys.version_info < (3, 12) else "torch")')
MODEL := models/smollm2
DEMO := recipes/genpi_demo.yml
DEMO_ROWS ?= 120
# Python code of the environment, with its programs (accelerate, torchrun) on the path.
RUN := . $(VENV)/bin/activate && AXOLOTL_DO_NOT_TRACK=1 HF_HUB_OFFLINE=1

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow test-axolotl-latest gpu-check lint format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 22

env: $(VENV)/.ready ## Set up the virtual environment

$(VENV)/.ready: pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet $(TORCH)
	$(VENV)/bin/python -m pip install --quiet --editable '.[train,dev]'
	touch $@

$(MODEL)/config.json: recipes/fetch_smollm2.py | $(VENV)/.ready
	$(RUN) python recipes/fetch_smollm2.py $(MODEL)

demo: env $(MODEL)/config.json ## From a prompt to an adapter and a report, on a CPU
	$(RUN) python -m synth run demo --model $(MODEL) -n $(DEMO_ROWS) -o data/demo
	$(RUN) sh -ec 'config=$$(python recipes/demo_config.py $(DEMO) outputs/genpi_demo_float32.yml); \
	  axolotl train $$config --launcher python; axolotl genpi-eval $$config --max-new-tokens 128'

test: env ## Run the tests (within ten minutes on two cores)
	$(RUN) OMP_NUM_THREADS=1 python -m pytest -m "not slow" -n 2

test-slow: env $(MODEL)/config.json ## Run the long proofs on a real model
	$(RUN) python -m pytest -m slow --timeout 3600

test-axolotl-latest: ## The same tests on Python 3.12 with the newest axolotl
	$(MAKE) test VENV=.venv-latest PYTHON=$(PYTHON_LATEST)

gpu-check: env ## Check losses, trainings, memory, speed on this machine's GPU (ten minutes; docs/gpu.md)
	$(RUN) python -m benchmarks.gpu_check

lint: env ## Check style and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: env ## Format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean: ## Remove data, outputs and models that the commands above made
	rm -rf data outputs models last_run_prepared
