# Every command a person needs. `make help` prints the lines marked with two hashes.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-lock

.PHONY: help venv lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36mmake %-8s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
