# The same targets on a laptop and in CI. Needs python3 >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.kdcurate-demo-installed
STAMP  := $(VENV)/.kdcurate-installed
DOCS   := $(VENV)/.kdcurate-docs-installed

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench docs picture clean

help:
	@echo "make demo    the whole story, offline, on data that it makes itself"
	@echo "make test    all tests (PYTEST_ARGS=\"-m 'not slow'\" for the quick ones)"
	@echo "make lint    ruff and mypy, changing nothing"
	@echo "make format  what ruff can mend by itself"
	@echo "make bench   every script in benchmarks/"
	@echo "make docs    the documentation as a site, in build/site; a link that leads nowhere is an error"
	@echo "make picture draws docs/demo.png from what make demo left"
	@echo "make clean   removes caches and demo output, never .venv"

# An environment that is already there is used as it is; only what is missing or too old is installed.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kdcurate needs Python 3.11 or newer, %s is %s: make PYTHON=python3.11" % (sys.executable, sys.version.split()[0]))'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing kdcurate and PyTorch into $(VENV): several GB, some minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

# What tests, linters and benchmarks need beside.
$(STAMP): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	@touch $@

demo: $(READY)
	$(BIN)/kdcurate demo $(DEMO_ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	@set -e; for script in $(wildcard benchmarks/*.py); do echo "== $$script"; $(BIN)/python $$script; done

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

# Links of every page, README and CONTRIBUTING too, as a repository shows them; then the site, which asks no other server.
docs: $(DOCS)
	@$(BIN)/python scripts/check_links.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@! grep -rlE --include=*.html '<(script|link|img)[^>]+(src|href)="?https?:' build/site
	@echo "the site is build/site/index.html"

picture: demo
	$(BIN)/python scripts/picture.py kdcurate-demo

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis kdcurate-demo
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
