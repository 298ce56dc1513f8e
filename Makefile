# Every target sets up what it needs: Python 3.11 or later, make and git are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# acpbot alone; and with the tools of its tests and checks, which are ten times as large
INSTALLED := $(VENV)/.installed
READY     := $(VENV)/.ready

.PHONY: demo test mutants test-service test-runtimes coverage test-agents campaigns day attacks soak load fuzz lint types contracts check completions dashboard docs man pictures version pins dist dist-check bench clean
.DEFAULT_GOAL := demo

$(INSTALLED): pyproject.toml
	@echo 'setting up $(VENV) ...'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'cannot set up: acpbot needs Python 3.11 or later; run: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(READY): $(INSTALLED)
	@echo 'installing what the tests need ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## talk to an agent now; without a terminal: a short guided tour
	@$(BIN)/acpbot demo $(ARGS)

test: $(READY)  ## the whole suite, on two cores
	@$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

coverage: $(READY)  ## the whole suite with branch coverage, subprocesses too; a report, no threshold
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 -o asyncio_debug=true $(ARGS) || echo 'some tests failed, as tests that measure time may: the report follows' >&2
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

contracts: $(READY)
	@$(BIN)/lint-imports

check: lint types contracts test  ## what CI runs

version: $(READY)  ## copy the number in acpbot/__init__.py to all files that have it, the man pages too
	@$(BIN)/python packaging/set_version.py
	@$(BIN)/python packaging/man/generate.py

pins: $(READY)  ## bring all packages up to date, and write packaging/constraints.txt and packaging/sbom.cdx.json
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager --editable '.[dev,docs,kubernetes]'
	@$(BIN)/python packaging/pins.py

completions: $(READY)  ## generate packaging/completions
	@$(BIN)/python packaging/completions/generate.py

docs: $(READY)  ## the site of docs/, README.md and the others, in site/; its links are checked
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --strict --config-file packaging/site/mkdocs.yml
	@$(BIN)/python -m pytest --quiet tests/packaging/check_site.py $(ARGS)

man: $(READY)  ## generate packaging/man and docs/commands.md
	@$(BIN)/python packaging/man/generate.py

pictures: $(READY)  ## take the pictures of the README, docs/pictures, with a daemon of their own
	@$(BIN)/python -m tests.support.pictures

dashboard: $(READY)  ## generate packaging/grafana
	@$(BIN)/python packaging/grafana/make_dashboard.py

# The time in the archives: that of the last commit, else that of the source archive which this folder was unpacked from.
EPOCH := { test -e .git && git log -1 --format=%ct; } 2>/dev/null || stat -c %Y PKG-INFO 2>/dev/null || echo 1767225600

dist: $(READY)  ## the source archive, and the wheel made from it, in dist/; the same commit gives the same bytes
	@rm -rf dist
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$($(EPOCH))} PIP_CONSTRAINT=packaging/constraints.txt \
		$(BIN)/python -m build --quiet

dist-check: dist  ## check both, and install the wheel in an environment of its own
	@$(BIN)/python -m pytest tests/packaging/check_dist.py $(ARGS)

bench: $(READY)  ## all figures with their goals, compared with the committed ones; ARGS='--quick' or names of some
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check supervisor
	@$(BIN)/python -m tests.benchmarks.run $(ARGS)

fuzz: $(READY)  ## search with new random inputs and orders of events for one that breaks something
	@$(BIN)/python -m pytest -n 2 -m hypothesis --hypothesis-profile=search --timeout=900 $(ARGS)
	@ACPBOT_SEEDS=3000 $(BIN)/python -m pytest -n 2 tests/sessions/test_pool_random.py tests/chat/discord/outbound/test_outbox_random.py

mutants: $(READY)  ## change the code at random in a copy: which changes do the tests not notice? (ARGS='--sample 10 --seed 1')
	@nice $(BIN)/python -m tests.support.mutants $(ARGS)

soak: $(READY)  ## 1,000 ends of an agent, 10,000 turns: nothing is left or grows; 200 ends of the daemon: nothing is lost (ARGS='COUNT SEED')
	@$(BIN)/python -m tests.soak.soak_cycles
	@$(BIN)/python -m tests.soak.soak_turns
	@$(BIN)/python -m tests.soak.soak_restarts $(ARGS)

load: $(READY)  ## 500 sessions streaming through the local chat and Discord, 10,000 turns, a week of set-forward clocks: nothing is lost or grows
	@$(BIN)/python -m tests.soak.load_week
	@$(BIN)/python -m tests.soak.soak_turns
	@$(BIN)/python -m tests.soak.load_streams $(ARGS)

test-service: $(READY)  ## the daemon as a whole: started, restarted, packaged; some of it needs root
	@$(BIN)/python -m pytest -n 3 --dist worksteal -m service tests/daemon tests/packaging tests/demo $(ARGS)

test-runtimes: $(READY)  ## the places where agents run, with the real bubblewrap, Podman and Docker, and pods of a loopback cluster
	@$(BIN)/python -m pytest -n 3 --dist worksteal -m runtimes tests/runtimes tests/attacks tests/daemon $(ARGS)

campaigns: $(READY)  ## every fault of Discord in every call, and crashes of the daemon at any moment
	@$(BIN)/python -m pytest -n 2 -o asyncio_debug=true -m campaign tests/chat/discord tests/soak $(ARGS)

day: $(READY)  ## a day of five people and five agents in Discord, printed as a person sees it (ARGS='SEED --real')
	@$(BIN)/python -m tests.soak.day $(ARGS)

attacks: $(READY)  ## attack a real daemon, as a hostile agent, user or neighbour would
	@$(BIN)/python -m pytest -m attack tests/attacks $(ARGS)

test-agents: $(READY)  ## the whole daemon with real agents, offline; npm is needed
	@$(BIN)/python tests/agents/install.py
	@$(BIN)/python -m pytest -m real_agents tests/agents $(ARGS)

clean:
	rm -rf $(VENV) dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
