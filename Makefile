# Set-up on a fresh machine (Debian, root): each target installs all that it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# make test SUITE=trixie: the booted tests on Debian 13; any suite of Debian's that is newer than this machine's will do.
SUITE ?=
# make test MARK=core: only the tests with this pytest mark.
MARK ?=
MARKED = $(if $(MARK),-m "$(MARK)")
# Three processes on two cores, each with a machine of its own: a test waits most of its time.
PARALLEL = --numprocesses=3 --dist=loadfile --durations=40 --durations-min=10 $(LIMIT)
# Seconds after which a test that hangs fails and says where, instead of having the whole run killed without a word.
LIMIT = --timeout=1200

.PHONY: demo demo-pg test unit unit-lowest unit-debian unit-pythons unit-312 beside bench soak fuzz
.PHONY: install deb rpm arch package-tests packages servers emperors clean

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

# Without a booted systemd.
unit: packages $(VENV)/ready
	$(RUN) -m pytest tests/unit

# The same with the lowest versions that pyproject.toml allows; and with Debian's own libraries and Python.
UNIT = -m pytest tests/unit --ignore=tests/unit/test_gate.py $(PARALLEL)
unit-lowest: packages $(VENV)-lowest/ready
	$(VENV)-lowest/bin/python $(UNIT)

unit-debian: packages $(VENV)-debian/ready
	$(VENV)-debian/bin/python $(UNIT)

# And with each newer Python: those of Debian 13 and testing in trees of them; 3.12, of which Debian has none, if it is here.
PYTHON_312 ?= $(firstword $(wildcard /usr/bin/python3.12 /usr/local/bin/python3.12 $(HOME)/.pyenv/versions/3.12.*/bin/python3.12))
unit-pythons: packages servers $(VENV)/ready
	@sh packaging/install-packages suite-packages.txt
	SUITE=trixie $(RUN) -m pytest tests/booted/test_unit.py
	SUITE=testing $(RUN) -m pytest tests/booted/test_unit.py
	$(if $(PYTHON_312),$(MAKE) unit-312,@echo "There is no python3.12 here: not tested with it.")

unit-312: packages $(VENV)-312/ready
	$(VENV)-312/bin/python $(UNIT)

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
	@PYTHON='$(PYTHON)' packaging/completions/generate

# What every distribution's package has; nothing is compiled, enabled or started. For a machine without a package, the
# README has the venv.
install:
	@PYTHON='$(PYTHON)' sh packaging/install

# The Debian packages, into .deb/SUITE; without SUITE, for this machine's own. They are built in a tree of that suite.
BUILT_FOR = $(or $(SUITE),$(shell . /etc/os-release && echo $$VERSION_CODENAME))
deb: packages $(VENV)/ready
	@sh packaging/install-packages suite-packages.txt
	SUITE=$(BUILT_FOR) $(RUN) -m tests.packages.build

# The packages of Fedora and Arch, into .rpm and .arch, with the tools that Debian has of these.
rpm arch: packages $(VENV)/ready
	@sh packaging/install-packages suite-packages.txt
	SUITE=$(BUILT_FOR) $(RUN) -m tests.packages.build $@

# Builds them twice, has Debian's tools look at them, and tries them in a booted machine.
package-tests: deb
	SUITE=$(BUILT_FOR) PACKAGES=.deb/$(BUILT_FOR) $(RUN) -m pytest tests/packages $(LIMIT) $(MARKED)

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

$(VENV)-lowest/ready: pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(PYTHON) -m tests.requirements lowest >$(@D)/requirements.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(@D)/requirements.txt
	touch $@

$(VENV)-312/ready: pyproject.toml
	$(PYTHON_312) -m venv --clear $(@D)
	$(PYTHON) -m tests.requirements newest >$(@D)/requirements.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(@D)/requirements.txt
	touch $@

# What pip would bring of Debian's libraries would stand before them.
$(VENV)-debian/ready: pyproject.toml packaging/runtime-packages.txt
	@sh packaging/install-packages runtime-packages.txt
	/usr/bin/python3 -m venv --clear --system-site-packages $(@D)
	$(PYTHON) -m tests.requirements debian >$(@D)/requirements.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(@D)/requirements.txt
	! $(@D)/bin/python -m pip freeze --local | grep -iE '^(click|defusedxml|jeepney|jinja2|pyyaml|rich)='
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-* .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis .bench .deb .rpm .arch
