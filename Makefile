# Everything a developer or a curious visitor runs. Only Python 3.11+ and make are needed beforehand.

PYTHON ?= python3
PORT ?= 3000
ROWS ?= 10000000
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin
# Celery and Kubernetes, in an environment upon the other one: where they are installed, each process imports them.
ENGINES := $(VENV)/engines
# Hundreds of processes would each compile what they import.
export PYTHONDONTWRITEBYTECODE :=
PURELIB := python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
READY := $(VENV)/.ready

.PHONY: help setup demo dev screenshots check test storms faults mutants mutants-sampled image bench bench-quick \
	bench-million bench-backlog bench-at-rest format clean
.DEFAULT_GOAL := help

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

setup: $(READY) ## Install veza-ops and all its tools into .venv

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[web,production,s3,browser,dev]'
	@touch $@

$(ENGINES)/.ready: $(READY)
	$(BIN)/python -m venv $(ENGINES)
	echo "import site; site.addsitedir('$$($(BIN)/$(PURELIB))')" >"$$($(ENGINES)/bin/$(PURELIB))/all-of-the-other.pth"
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[engines]'
	@touch $@

demo: $(READY) ## Watch a cleanup at work: real uploads, some killed, in a real PostgreSQL and a real object store
	$(BIN)/python -m demo

dev: $(READY) ## Look at the demo's cleanups in the web UI (PORT=3000)
	$(BIN)/python -m demo.dev $(PORT)

screenshots: $(READY) ## Take the pictures of the documentation (needs chromium and chromedriver)
	$(BIN)/python -m demo.screenshots

check: $(READY) ## Lint, check formatting, types and who imports whom, validate the definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/dagster definitions validate
	$(BIN)/dg check defs

test: $(READY) $(ENGINES)/.ready ## Run the whole test suite against a real PostgreSQL
	$(BIN)/pytest -n 6 --dist loadgroup

storms: $(READY) ## Run the storm suite alone (VEZA_OPS_UPLOADS=20000 for a long proof under load)
	$(BIN)/pytest -n 4 --dist loadgroup veza_ops_tests/storms

faults: $(READY) ## Let each kind of fault strike at each place of each job (an hour), and write down what held
	$(BIN)/python -m veza_ops_tests.faults

mutants: $(READY) ## Take out each guard in turn, and fail if no test notices
	$(BIN)/python -m veza_ops_tests.mutants

mutants-sampled: $(READY) ## Try mutants that nobody chose, and fail if one survives (SAMPLE="--seed 2 --number 300")
	$(BIN)/python -m veza_ops_tests.mutants.sampler $(SAMPLE)

image: $(READY) ## Build the container image, run compose.yaml from it (root, Debian; IMAGE="-- OPTION..." for buildah)
	$(BIN)/python -m veza_ops_tests.containers $(IMAGE)

bench: $(READY) ## Measure what docs/performance.md says (about half an hour), and write it there
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -W ignore::RuntimeWarning -m benchmarks

bench-quick: $(READY) ## Measure where things stand, in about two minutes
	$(BIN)/python -W ignore::RuntimeWarning -m benchmarks --quick

bench-million: $(READY) ## Measure an object store with a million keys (as long again), and write it there
	$(BIN)/python -m benchmarks.buckets

bench-backlog: $(READY) ## Measure a backlog beside its tenth (ROWS=10000000, half of them files), and write docs/scale.md
	$(BIN)/python -W ignore::RuntimeWarning -m benchmarks --backlog $(ROWS)

bench-at-rest: $(READY) ## Measure daemon and code server with nothing to do (MINUTES=10), and write it there as well
	$(BIN)/python -W ignore::RuntimeWarning -m benchmarks.at_rest --minutes $(MINUTES)

format: $(READY) ## Put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what the other targets made
	rm -rf $(VENV) .demo .bench .dagster_home .hypothesis .mutants .mypy_cache .pytest_cache .ruff_cache
