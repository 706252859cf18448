# make demo   trains a small model on this machine's CPU and shows what it learnt (some minutes)
# make real   the same on a real model, SmolLM2-135M from PyPI: tens of minutes on two cores; a killed one goes on
# make test   runs the tests
# make test-real    every stage on the real model in a few steps
# make lint   style and types
# make bench  identity with stock TRL; 10,000 answers judged against float64 and sympy; speed and safety of the rewards
#             beside TRL's
# make fuzz   200,000 hostile completions through every reward that needs no model (an hour or so; prints its seed)
#
# Each target sets up everything it needs in $(VENV) and can be run first, alone, and again. Only the reward `code` wants
# more: a system package, bubblewrap (apt-get install bubblewrap), or the right to make namespaces.
#
#   TORCH="torch==2.13.0"   what is installed as torch, before anything else
#   TORCH=                  keep the torch that this Python already has
#   SEED=1 SCALE=tiny       for demo and real: another seed; a run of under two minutes that learns little
#   PYTEST="-k kl -x"       for test: options of pytest
#   COUNT=2000              for fuzz: fewer completions

PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.13.0
SEED   ?= 0
SCALE  ?= demo
PYTEST ?=
COUNT  ?= 200000

BIN := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help demo real test test-real lint bench fuzz clean
help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^$$/q'

# A torch that already sees a GPU is never replaced: the environment then looks through to it.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "trl-r1 needs Python 3.10 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Use: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@if [ -z "$(TORCH)" ] || $(PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then \
	  echo "Keeping the installed torch."; $(PYTHON) -m venv --system-site-packages $(VENV); \
	else $(PYTHON) -m venv $(VENV); fi

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@$(BIN)/python -c 'import torch' 2>/dev/null || { \
	  [ -n "$(TORCH)" ] || { echo "TORCH is empty, but $(PYTHON) has no torch to keep. Give one: make TORCH=torch==2.13.0 ..."; exit 1; }; \
	  echo "Installing $(TORCH) ..."; $(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH); }
	@echo "Installing trl-r1 and what it needs ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[real]' || \
	  echo "reasoning-gym could not be installed (it compiles pycosat: apt-get install build-essential python3-dev); tests of it are left out, or fail where CI=true."
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/trl-r1 demo --seed $(SEED) --scale $(SCALE)

real: $(VENV)/.installed
	@$(BIN)/trl-r1 demo --model smollm2 --seed $(SEED) --scale $(SCALE)

test: $(VENV)/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST)

test-real: $(VENV)/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python tests/scripts/real_stages.py

lint: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.installed
	@$(BIN)/python benchmarks/identity.py
	@$(BIN)/python benchmarks/judge_pairs.py
	@$(BIN)/python benchmarks/rewards.py

fuzz: $(VENV)/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz_rewards.py --count $(COUNT)

clean:
	rm -rf $(VENV) runs build dist
