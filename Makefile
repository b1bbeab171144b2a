# Every target sets up what it needs by itself: Python 3.11 to 3.13 and make are enough.
PYTHON ?= python3
VENV   ?= .venv
CORES  ?= all
BIN    := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
# Let uv use the certificates of the system, as pip does, where a proxy has its own.
export UV_SYSTEM_CERTS ?= true

.PHONY: help setup bench site browser engines test test-slow test-real lint format audit gpu-check benchmark constraints clean
.DEFAULT_GOAL := help

help:
	@echo "make bench      run the default experiment and print where the report is"
	@echo "make site       the pages of all published records, in site/"
	@echo "make test       the default tests          make test-slow   the long ones"
	@echo "make lint       ruff, snakefmt, mypy       make format      rewrite the code in style"
	@echo "make gpu-check  GPU tests                  make benchmark   kernel timings"
	@echo "make test-real  containers and Slurm for real   make audit   known holes in the packages"
	@echo "make setup      only the environment ($(VENV))"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(f"splatbench needs Python 3.11 to 3.13, but $(PYTHON) is {v[0]}.{v[1]}; try make PYTHON=python3.12" if not (3, 11) <= v <= (3, 13) else 0)'
	@$(PYTHON) -m venv $(VENV) || { echo "could not make $(VENV): Python's venv module is incomplete (Debian: install python3-venv)"; rm -rf $(VENV); exit 1; }

$(VENV)/.setup: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(VENV)/.setup

bench: $(VENV)/.setup
	snakemake --cores $(CORES)
	@echo "The report: $(abspath reports/sample/index.html)"

site: $(VENV)/.setup
	splatbench leaderboard build --out site

# The pages are tested in a real Chromium: the system's, else one that the package manager has, else Playwright's own.
browser: $(VENV)/.setup-dev
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null && command -v chromium; \
	else $(BIN)/playwright install chromium; fi || echo "no Chromium could be installed; tests of the pages will be skipped"

# What `make test-real` drives: a container engine and Slurm. Their services are started by the tests, privately.
engines: $(VENV)/.setup-dev
	@if command -v dockerd && command -v slurmctld && command -v munged; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends docker.io slurm-wlm slurmctld slurmd slurm-client munge >/dev/null; \
	else echo "no dockerd or no Slurm, and no way to install them; their tests will be skipped"; fi

test: $(VENV)/.setup-dev browser
	$(BIN)/python -m pytest -m "not slow and not gpu and not real" -n logical --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.setup-dev browser
	$(BIN)/python -m pytest -m "slow and not gpu and not real" --timeout 3600

test-real: engines
	$(BIN)/python -m pytest -m "real and not slow" tests/real --timeout 1800

lint: $(VENV)/.setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile datasets methods reports
	$(BIN)/mypy

format: $(VENV)/.setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile datasets methods reports

# Against the public list of known holes; needs the network.
audit: $(VENV)/.setup-dev
	$(BIN)/uv tool run pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

gpu-check: $(VENV)/.setup-dev
	@$(BIN)/python -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)'; code=$$?; \
	if [ $$code -eq 0 ]; then $(BIN)/python -m pytest -m gpu tests; \
	elif [ $$code -eq 3 ]; then echo "gpu-check: no CUDA device on this machine; the GPU tests were not run"; \
	else exit $$code; fi

benchmark: $(VENV)/.setup-dev
	$(BIN)/python -m benchmarks

constraints: $(VENV)/.setup-dev
	@{ echo "# Exact versions of every package, tested together. Written by 'make constraints'."; \
	$(BIN)/uv pip freeze --python $(BIN)/python | grep -v -i -E '^(-e|uv==|pip==|#)'; } > constraints.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .snakemake
