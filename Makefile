# Set-up on a fresh machine (Debian, root): each target installs all that it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# make test SUITE=trixie: the booted tests on Debian 13; any suite of Debian's that is newer than this machine's will do.
SUITE ?=
# make test MARK=core: only the tests with this pytest mark.
MARK ?=
MARKED = $(if $(MARK),-m $(MARK))
# Two processes, each with a machine of its own: most of the time a test waits.
PARALLEL = --numprocesses=2 --dist=loadfile

.PHONY: demo demo-pg test unit beside bench soak fuzz packages servers emperors clean

demo: packages $(VENV)/ready
	$(RUN) -m tests.demo

# The same with rows of a real PostgreSQL in place of files.
demo-pg: packages servers $(VENV)/ready
	$(RUN) -m tests.demo_pg

# tests/README.md says what is run where.
ifeq ($(SUITE),)
test: packages servers emperors $(VENV)/ready
	$(RUN) -m pytest tests $(PARALLEL) $(MARKED)
else
test: packages servers $(VENV)/ready
	@sh packaging/install-packages suite-packages.txt
	SUITE=$(SUITE) $(RUN) -m tests.booted.suite
	SUITE=$(SUITE) $(RUN) -m pytest tests/booted $(PARALLEL) $(MARKED)
endif

# What counts in tens and hundreds, ten times as often: hours. Less: make soak SOAK=2. Again: EMPEROR_BRIDGE_SEED=...
SOAK ?= 10
soak: packages servers $(VENV)/ready
	$(if $(SUITE),@sh packaging/install-packages suite-packages.txt)
	SUITE=$(SUITE) SOAK=$(SOAK) $(RUN) -m pytest tests/booted tests/feeder -m soak

# The hostile inputs of the tests, for longer, and a run guided by coverage: make fuzz FUZZ_SECONDS=3600
FUZZ_SECONDS ?= 600
fuzz: packages $(VENV)/ready-fuzz
	$(RUN) -m tests.fuzz --seconds $(FUZZ_SECONDS)

# Without a booted systemd: seconds.
unit: $(VENV)/ready
	$(RUN) -m pytest tests/unit

# The part of "test" that has the real Emperor beside the bridge: minutes.
beside: packages servers emperors $(VENV)/ready
	$(RUN) -m pytest tests/booted/test_beside.py tests/booted/test_beside_monitors.py

# The bridge beside the Emperor and beside bare systemd; it writes tests/bench/README.md, and one line of README.md.
# Less: make bench SIZES="1 100" (ROUNDS=1, MEASURES=up,one), which leaves both alone. BASE=COMMIT: beside that commit.
bench: packages servers $(VENV)/ready-bench
	@sh packaging/install-packages bench-packages.txt $(if $(SUITE),suite-packages.txt)
	$(if $(SUITE),SUITE=$(SUITE) $(RUN) -m tests.booted.suite)
	SUITE=$(SUITE) $(RUN) -m tests.bench --sizes "$(SIZES)" --measures "$(MEASURES)" $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(BASE),--base $(BASE))

# For distribution packages: packaging/completions/bash, zsh and fish. It needs the runtime dependencies and bash.
.PHONY: completions
completions:
	@PYTHON=$(PYTHON) packaging/completions/generate

packages:
	@sh packaging/install-packages

servers:
	@sh packaging/install-packages server-packages.txt

emperors:
	@sh packaging/install-packages emperor-packages.txt

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/ready-bench: $(VENV)/ready
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	touch $@

$(VENV)/ready-fuzz: $(VENV)/ready
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[test,fuzz]'
	touch $@

clean:
	rm -rf $(VENV) .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis .bench
