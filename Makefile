# What a developer types. `make help` lists it. Everything is installed into .venv, and nothing anywhere else.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DEMO := demo-run
# Processes that run tests side by side, a file each.
WORKERS ?= 2
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3.14 python3; do \
	command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$name; break; }; done)

# Threads that wait sleep instead of spinning: on a shared machine they would take the cores that they wait for.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow fuzz check bench bench-gpu docs clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
ifeq ($(strip $(PYTHON)),)
	@echo "No Python 3.11 or later was found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1
else
	@echo "Setting up $(VENV) with $(PYTHON); the first time this fetches PyTorch, which takes some minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,check,docs]'
	@touch $@
endif

demo: $(READY) ## set up, then run the main job on the built-in corpus
	@if [ -f $(DEMO)/report.json ]; then \
		echo "$(DEMO)/ holds a finished run. Remove it to run the demo again."; \
		$(BIN)/medistill report $(DEMO); exit $$?; fi; \
	set --; if [ -f $(DEMO)/recipe.toml ]; then \
		echo "$(DEMO)/ holds an interrupted run: going on with it. Remove it to start again."; set -- --resume; fi; \
	started=$$(date +%s); \
	$(BIN)/medistill distill --recipe demo --out $(DEMO) "$$@" || exit $$?; \
	echo; echo "The demo took $$(( $$(date +%s) - started )) s. Open $(CURDIR)/$(DEMO)/report.html in a browser."

# Bytecode is kept also where the environment says otherwise, as in containers: tests start many processes.
test test-slow: export PYTHONDONTWRITEBYTECODE :=

test: $(READY) ## set up, then run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(READY) ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

fuzz: $(READY) ## search for bytes that a bundle should not open, ten minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt atheris
	$(BIN)/python -m tests.fuzz.bundle archive -max_total_time=300
	$(BIN)/python -m tests.fuzz.bundle files -max_total_time=300

check: $(READY) ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## the engine against naive autograd, the statistics against scikit-learn in a loop
	$(BIN)/python -m tests.bench.engine
	$(BIN)/python -m tests.bench.statistics

bench-gpu: $(READY) ## the same on CUDA, in eight minutes, with a section for the ledger
	$(BIN)/python -m tests.bench.gpu build/bench-gpu --ledger docs/benchmarks

docs: $(READY) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean: ## remove what was built here: environment, caches, site, the demo's run
	rm -rf $(VENV) $(DEMO) site dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
