# Every command a person needs. `make help` prints the lines marked with two hashes.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-lock
TEST_PROCESSES ?= auto

.PHONY: help run demo test bench chaos-metering chaos-audit lint format venv lock browser pooler xmlsec peers

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36mmake %-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: venv ## Start everything on this machine: PostgreSQL, Valkey, web, jobs (Ctrl-C stops it; PORT=8010 chooses)
	@exec $(BIN)/python manage.py dev $(if $(PORT),--port $(PORT))

demo: venv ## Walk through the product over HTTP: sign-up, key, conversations, recall, usage, audit
	@exec $(BIN)/python manage.py demo

test: venv browser pooler xmlsec peers ## Run every test on real servers and a real browser (ARGS="-k recall" narrows)
	@exec $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) $(ARGS)

bench: venv ## Measure speed and recall quality beside the engine's own server; writes docs/performance.md
	@exec $(BIN)/python -m tests.bench $(ARGS)

chaos-metering: venv ## Kill web, shippers, broker and PostgreSQL 200 times under load: is everything counted once? (KILLS=)
	@exec $(BIN)/python -m tests.chaos --kills $(or $(KILLS),200)

chaos-audit: venv ## Kill sealer, exporter, web, jobs and PostgreSQL 200 times: is every event sealed once, proved, exported? (KILLS=)
	@exec $(BIN)/python -m tests.chaos --room audit --kills $(or $(KILLS),200)

lint: venv ## Check style, formatting, types and the arrows between rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv ## Put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Browser tests drive Debian's Chromium. Where it cannot be installed they are skipped, with a loud count.
browser:
	@command -v chromium > /dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "test: installing chromium" \
			&& { apt-get install --yes --quiet=2 --no-install-recommends chromium fonts-dejavu-core > /dev/null 2>&1 \
				|| { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends chromium fonts-dejavu-core > /dev/null; }; }; } \
		|| echo "test: NO CHROMIUM HERE: browser tests will be skipped (Debian: apt-get install chromium)"

# PgBouncer proves that no tenant's scope outlives its transaction in a pool. Where it cannot be installed, that is skipped.
pooler:
	@PATH="$$PATH:/usr/sbin"; command -v pgbouncer > /dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "test: installing pgbouncer" \
			&& { apt-get install --yes --quiet=2 --no-install-recommends pgbouncer > /dev/null 2>&1 \
				|| { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends pgbouncer > /dev/null; }; }; } \
		|| echo "test: NO PGBOUNCER HERE: the pooler's tests will be skipped (Debian: apt-get install pgbouncer)"

# Debian's xmlsec1 signs for the tests of SAML, and gives a second verdict on all that ours says. Nothing else needs it.
xmlsec:
	@command -v xmlsec1 > /dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "test: installing xmlsec1" \
			&& { apt-get install --yes --quiet=2 --no-install-recommends xmlsec1 > /dev/null 2>&1 \
				|| { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends xmlsec1 > /dev/null; }; }; } \
		|| echo "test: NO XMLSEC1 HERE: the tests of SAML will be skipped (Debian: apt-get install xmlsec1)"

# Identity providers by others, for tests to sign in with. Where Node.js cannot be installed those tests are skipped.
peers:
	@command -v npm > /dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && echo "test: installing nodejs" \
			&& { apt-get install --yes --quiet=2 --no-install-recommends nodejs npm > /dev/null 2>&1 \
				|| { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends nodejs npm > /dev/null; }; }; } || true
	@cd tests/peers && { cmp --silent package-lock.json node_modules/.installed \
		|| { echo "test: installing identity providers" && npm ci --silent && cp package-lock.json node_modules/.installed; }; } \
		|| echo "test: NO IDENTITY PROVIDERS BY OTHERS HERE: sign-in with them is not tested (Debian: apt-get install nodejs npm)"

venv: $(STAMP) ## Make .venv and install the lock (does nothing when the lock is installed)

# uv itself comes from the lock, hash-checked by the pip that every Python brings.
$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
	@test -x $(BIN)/python || { echo "venv: making $(VENV)"; $(PYTHON) -m venv $(VENV); } \
		|| { echo "Python's venv module is missing (Debian: apt-get install python3-venv)"; exit 1; }
	@test -x $(BIN)/uv || { echo "venv: installing uv"; \
		awk '/^[a-z]/ {uv = /^uv==/} uv' requirements.lock > $(VENV)/uv.lock \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock; }
	@echo "venv: installing requirements.lock"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@sha256sum < requirements.lock > $@

# One lock for everything, without addresses: it is accepted by `uv pip sync` and by `pip install --require-hashes -r`.
lock: ## Resolve pyproject.toml again into requirements.lock, keeping the versions that still fit
	@test -x $(BIN)/uv || $(MAKE) venv
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-header --quiet --output-file requirements.lock
	@$(MAKE) venv
