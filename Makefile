# Everything here works on a machine that has only git, make and python3 with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: setup run dev test check requirements clean

setup: $(VENV)/runtime.stamp

run: setup
	@$(BIN)/steward up --demo

dev: setup
	@STEWARD_LOG_LEVEL=DEBUG $(BIN)/steward up --demo

test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest -q

check: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "A virtual environment could not be made (Debian: apt-get install python3-venv)."; exit 1; }

# --no-deps: the pins are complete (`make requirements`), so nothing needs to be resolved, which takes longer than
# installing. The project itself is installed without build isolation: its build tools are pinned with everything else.
$(VENV)/runtime.stamp: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing what requirements.txt pins into $(VENV) …"
	@$(PIP) install --no-deps --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/runtime.stamp
	@echo "Installing what requirements-dev.txt pins into $(VENV) …"
	@$(PIP) install --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

# Needs pip-tools. No registry addresses are written down: pip's own configuration says where packages come from.
requirements:
	pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--no-emit-options --extra build --output-file requirements.txt pyproject.toml
	pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--no-emit-options --extra build --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
