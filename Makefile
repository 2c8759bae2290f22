# `make demo` shows pydamon at work, and `make test` runs the tests. Both set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VM_TIMEOUT ?= 1800
BPF := src/pydamon/_observe/probes/ebpf/sampler.bpf
CACHE_BPF := src/pydamon/_observe/cache/cache.bpf

.PHONY: demo test unit test-live test-vm effects hostile lint bench bench-quick package format clean

demo: $(READY) $(BPF).o
	$(BIN)/pydamon demo

# Lint beside unit tests and doctests, which fill two cores; then tests that monitor real processes,
# one at a time.
test: $(READY) $(BPF).o
	@$(MAKE) --no-print-directory -j2 lint unit
	$(BIN)/pytest -q -m "live and not long"

unit: $(READY) $(BPF).o
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not live and not long"

# The long tests, most of them of real processes, and property tests with all their examples:
# several minutes more.
test-live: $(READY) $(BPF).o
	$(BIN)/pytest -q -m long
	$(BIN)/pytest -q -n 2 -m "hypothesis and not live and not long" --hypothesis-profile thorough

# The same tests with other kernels and page tables, in a virtual machine (docs/how-to/run-the-tests.md).
#     make test-vm VARIANT=linux61,thp TESTS="tests/integration -k huge"
#     make test-vm VARIANT=arm64 VM_TIMEOUT=7200
test-vm: $(READY) $(BPF).o
	@$(BIN)/python -m tests.vm.run --variant '$(VARIANT)' --timeout $(VM_TIMEOUT) $(TESTS)

# The documentation, in build/site: pages that need no network. A broken link is an error.
.PHONY: docs
docs: $(VENV)/.docs
	PYTHONPATH=src:tools NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "build/site/index.html"

$(VENV)/.docs: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[docs]'
	@touch $@

lint: $(READY) $(BPF).o
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/module_lines.py
	$(BIN)/mypy
	$(BIN)/lint-imports

# The effects of the policies on this machine (docs/how-to/schemes.md); two minutes each.
effects: $(READY) $(BPF).o
	$(BIN)/python -m tests.effects.reclaim
	$(BIN)/python -m tests.effects.thp

# 1,000 hostile files, each read by a process with little memory and time.
hostile: $(READY) $(BPF).o
	$(BIN)/python -m tests.hostile 1000

# The speed of the core on this machine.
bench: $(READY) $(BPF).o
	$(BIN)/pytest -q --benchmark-enable --benchmark-only

# Small benchmarks of accuracy and cost, in under 3 minutes (docs/explanation/cost.md).
bench-quick: $(READY) $(BPF).o
	@for bench in accuracy real rates overhead scale core; do \
		$(BIN)/python -m pydamon bench $$bench --quick || exit 1; echo; \
	done

# The wheel and the sdist in dist/, checked and tried in an empty virtual environment. The wheel has
# the BPF objects of every processor, and pip must be able to install it on each.
.PHONY: wheels
wheels: package
package: $(READY)
	$(BIN)/python tools/package.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(dir $(BPF))*.bpf.o $(CACHE_BPF).o dist

# The build tools are installed as well, so that a changed BPF program can be built again.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pydamon needs Python 3.11 or later: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment; on Debian: apt install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check hatchling hatch-vcs editables ziglang
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[dev]'
	@touch $@

# One run builds all objects.
$(BPF).o: $(BPF).c $(CACHE_BPF).c $(wildcard $(dir $(BPF))*.bpf.h) tools/bpf_build.py | $(READY)
	$(BIN)/python tools/bpf_build.py
