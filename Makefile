# `make demo` shows what this is; `make test` says whether it works. Both set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BPF := src/pydamon/_observe/probes/ebpf/sampler.bpf

.PHONY: demo test test-live test-vm effects hostile lint bench bench-quick bpf format clean

demo: $(READY) $(BPF).o
	$(BIN)/pydamon demo

# What watches real processes has the machine for itself.
test: lint
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not live"
	$(BIN)/pytest -q -m "live and not long"

# The others that watch real processes: minutes more.
test-live: $(READY) $(BPF).o
	$(BIN)/pytest -q -m "live and long"

# The same tests with other kernels and page tables, in a virtual machine: see docs/testing.md.
#     make test-vm VARIANT=linux61,thp TESTS="tests/integration -k huge"
test-vm: $(READY) $(BPF).o
	@$(BIN)/python -m tests.vm.run --variant '$(VARIANT)' $(TESTS)

lint: $(READY) $(BPF).o
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the policies achieve on this machine (docs/schemes.md); two minutes each.
effects: $(READY) $(BPF).o
	$(BIN)/python -m tests.effects.reclaim
	$(BIN)/python -m tests.effects.thp

# 1,000 files that mean harm, each in a process with little memory and time.
hostile: $(READY) $(BPF).o
	$(BIN)/python -m tests.hostile 1000

# How fast the core is on this machine.
bench: $(READY) $(BPF).o
	$(BIN)/pytest -q --benchmark-enable --benchmark-only

# Whether it still sees right, in under 2 minutes: small, noisy, and for CI (docs/benchmarks.md).
bench-quick: $(READY) $(BPF).o
	@for bench in accuracy real overhead scale core; do \
		$(BIN)/python -m pydamon bench $$bench --quick || exit 1; echo; \
	done

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(dir $(BPF))*.bpf.o

# What builds the package is installed beside it, so that a changed BPF program can be built again.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pydamon needs Python 3.11 or later: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment; on Debian: apt install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check hatchling editables ziglang
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[dev]'
	@touch $@

$(BPF).o: $(BPF).c $(wildcard $(dir $(BPF))*.bpf.h) tools/bpf_build.py | $(READY)
	$(BIN)/python tools/bpf_build.py
