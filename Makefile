# make setup  install into .venv          make check  lint, types, tests
# make run    start everything            make test   the tests alone
# make run-one  the same with the services in one process
# make run FEED=binance:BTC/USDT,ETH/USDT  with a live market instead of a fake one
# make image  build the container image   docker compose up --build  runs it
# make wheel  build a wheel with the pages make lowest  try the lowest allowed packages
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
# Tests that run beside each other; those that measure time come after them, one by one.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
WIRE := $(wildcard proto/marketdata/wire/*.proto)
# The files that the gateway's pages load, built from our sources and npm's packages. The date of
# this file is the date of the last build.
STATIC := gateway/static/.built
# The modules that numba compiles: half a minute that no start should take.
KERNELS := ingest aggregator gateway
# Any of these may be compiled in. It takes two seconds to find that nothing has to be compiled.
KERNEL_SOURCES := $(shell find aggregator ingest marketdata -name '*.py')
ASSETS := $(shell find gateway/assets gateway/dashboard -name node_modules -prune -o -type f -print) \
  gateway/package.json gateway/package-lock.json scripts/assets.py scripts/node.py

.PHONY: setup assets wheel run run-one test test-acceptance test-browsers faults faults-found lowest check check-dashboard soak-dashboard screenshots format lint types imports proto proto-check fields bench bench-quick bench-plot image constraints clean help

help:
	@sed -n '1,6p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.setup: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m scripts.install '.[files]'
	@touch $@

# What a live source needs: make run FEED=binance:BTC/USDT,ETH/USDT
$(VENV)/.setup-connect: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m scripts.install '.[connect]'
	@touch $@ $(VENV)/.setup

$(VENV)/.setup-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m scripts.install '.[dev]'
	@touch $@ $(VENV)/.setup $(VENV)/.setup-connect

$(STATIC): $(ASSETS) | $(VENV)/.setup
	$(BIN)/python -m scripts.assets
	@touch $@

$(VENV)/.kernels: $(VENV)/.setup $(KERNEL_SOURCES)
	$(BIN)/python -m scripts.kernels $(KERNELS)
	@touch $@

# The packages first; then the loops are compiled beside the build of the pages.
setup: $(VENV)/.setup
	@$(MAKE) --no-print-directory -j2 $(VENV)/.kernels $(STATIC)

assets: $(STATIC)

# A wheel with the built pages in dist/: installing it needs no Node.js.
wheel: $(STATIC)
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls -l dist/*.whl

run: $(VENV)/.setup $(if $(FEED),$(VENV)/.setup-connect) $(VENV)/.kernels $(STATIC)
	@$(BIN)/python -m scripts.run

run-one: $(VENV)/.setup $(if $(FEED),$(VENV)/.setup-connect) $(VENV)/.kernels $(STATIC)
	@$(BIN)/python -m scripts.run --one

# Tests of some folders: side by side, then those that measure time, one by one.
define run_tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not alone" $(1) || \
	  { echo "again, alone: what failed beside other tests"; \
	    $(BIN)/python -m pytest --last-failed --last-failed-no-failures none -m "not alone" $(1); }
	$(BIN)/python -m pytest -m alone $(1)
endef

test: $(VENV)/.setup-dev $(VENV)/.kernels $(STATIC)
	$(call run_tests,tests/unit tests/integration tests/conformance tests/fuzz)

# The longer suites: real processes on a real trading day, with faults; and pages in Chromium.
test-acceptance: $(VENV)/.setup-dev $(VENV)/.kernels $(STATIC)
	$(call run_tests,tests/acceptance)

test-browsers: $(VENV)/.setup-dev $(VENV)/.kernels $(STATIC)
	$(call run_tests,tests/browser)

# Seeded schedules of kills, cut links, full disks and wrong clocks; FAULT_SECONDS bounds each mode.
FAULT_SEEDS ?= 200
FAULT_SECONDS ?= 3600
faults: $(VENV)/.setup-dev $(VENV)/.kernels
	$(BIN)/python -m tests.faults --mode sessions --seeds $(FAULT_SEEDS) --seconds $(FAULT_SECONDS)
	$(BIN)/python -m tests.faults --mode frames --seeds $(FAULT_SEEDS) --seconds $(FAULT_SECONDS)
	$(BIN)/python -m tests.faults --mode standalone --seeds $(FAULT_SEEDS) --seconds $(FAULT_SECONDS)

# Without a tick log, a kill costs ticks, and the comparison must say so.
faults-found: $(VENV)/.setup-dev $(VENV)/.kernels
	$(BIN)/python -m tests.faults --without-log --seed 6

# The lowest versions that pyproject.toml allows, in an environment of their own: they must work
# together. What they compile stays there too.
$(LOWEST)/.setup: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[dev]'
	@touch $@

lowest: export NUMBA_CACHE_DIR := $(CURDIR)/$(LOWEST)/kernels
lowest: $(LOWEST)/.setup
	$(LOWEST)/bin/python -m marketdata.warm $(KERNELS)
	$(LOWEST)/bin/python -m pytest -W default -p no:cacheprovider \
	  tests/acceptance/test_smoke.py tests/integration/gateway/webrtc/test_example.py

format: $(VENV)/.setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.setup-dev
	$(BIN)/mypy

imports: $(VENV)/.setup-dev
	$(BIN)/lint-imports

# proto writes into the tree; proto-check writes into another folder and compares.
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iproto \
  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
  --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(WIRE)

proto: $(VENV)/.setup-dev
	$(call PROTOC,.)

proto-check: $(VENV)/.setup-dev
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call PROTOC,"$$fresh") && \
	  diff -r -x __pycache__ -x __init__.py "$$fresh/marketdata/wire" marketdata/wire || \
	  { echo "generated code is not current: run make proto"; exit 1; }

# The TypeScript types of aggregates and bars; a test says when they are not current.
fields: $(VENV)/.setup
	$(BIN)/python -m scripts.fields

# Check the types of the dashboard's TypeScript, and run its tests that need no browser.
check-dashboard: $(VENV)/.setup-dev
	$(BIN)/python -m scripts.dashboard

# Five minutes of 2,000 symbols at 5,000 updates/s; the machine should have nothing else to do.
soak-dashboard: $(VENV)/.setup-dev $(STATIC)
	DASHBOARD_SOAK_S=300 $(BIN)/python -m pytest -s tests/browser/test_load.py

screenshots: $(VENV)/.setup-dev $(STATIC)
	$(BIN)/python -m tests.browser.screenshots docs/images

# All but the tests runs side by side, together with what the tests need.
check: $(VENV)/.setup-dev
	$(MAKE) -j$(JOBS) lint types imports proto-check check-dashboard assets $(VENV)/.kernels
	$(MAKE) test

bench: $(VENV)/.setup-dev $(VENV)/.kernels
	$(BIN)/python -m benchmarks --full

bench-quick: $(VENV)/.setup-dev $(VENV)/.kernels
	$(BIN)/python -m benchmarks

bench-plot: $(VENV)/.setup-dev
	$(BIN)/python -m benchmarks.publish

# BASE=... builds on another base image; `docker compose build` makes the same image, unversioned.
image:
	docker build --tag market-data-server $(if $(BASE),--build-arg BASE=$(BASE)) \
	  --build-arg VERSION=$$($(PYTHON) -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])') .

# Pin every package of the newest allowed versions.
constraints: | $(BIN)/python
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(PYTHON) -m venv "$$fresh" && \
	  "$$fresh/bin/pip" install --quiet --disable-pip-version-check -e '.[dev]' && \
	  "$$fresh/bin/pip" freeze --exclude-editable >constraints.txt

clean:
	rm -rf $(VENV) $(LOWEST) gateway/static gateway/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
