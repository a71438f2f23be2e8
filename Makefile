# Two commands: `make run` shows the monitor at work, `make test` checks all of it. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-virtualenv

.PHONY: run test check lock clean help

run: $(VENV)/.runtime ## start the monitor on the bundled demo call and print the page's address
	@$(BIN)/deepfake-monitor demo

test: check ## every check and every test; what needs a missing system program is skipped with its reason
	@$(BIN)/pytest

check: $(VENV)/.development ## formatting, lint, types, layers
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/core/test_layers.py

lock: $(VENV)/.development ## choose the newest versions that pyproject.toml allows and write them down
	@$(BIN)/python tools/lock.py > requirements.lock.new && mv requirements.lock.new requirements.lock
	@$(BIN)/python tools/lock.py dev,export > requirements-dev.lock.new && mv requirements-dev.lock.new requirements-dev.lock

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

$(BIN)/python:
	@sh tools/make_venv $(PYTHON) $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) (a minute or two, once)"
	@$(PIP) -r requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.development: requirements-dev.lock $(VENV)/.runtime
	@echo "installing what the tests need (a few minutes, once)"
	@$(PIP) -r requirements-dev.lock
	@touch $@
