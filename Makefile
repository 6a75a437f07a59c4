# Everything here works on a machine that has only git, make and python3 with venv.
PYTHON ?= python3
# Processes that share the tests: twice the two processors, because tests wait as long as they compute.
WORKERS ?= 4
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python .make/install.py

# Without a cache of compiled modules each of the programs that tests start would compile them again.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Other Pythons that we support: the first that there is.
SECOND ?= python3.12 python3.13 $(wildcard $(HOME)/.pyenv/versions/3.1[23].*/bin/python3)
CHAOS_FAULTS ?= 300

.PHONY: setup run dev test test-quick test-postgres test-all test-second test-clients check messages requirements clean

setup: $(VENV)/runtime.stamp

run: setup
	@$(BIN)/steward up --demo

dev: setup
	@STEWARD_DEBUG=true STEWARD_LOG_LEVEL=DEBUG $(BIN)/steward up --demo

# Everything, on SQLite and one Python.
test: $(VENV)/dev.stamp
	@$(PYTEST)

# What needs no broker and no product.
test-quick: $(VENV)/dev.stamp
	@$(PYTEST) tests/unit tests/integration/test_docs.py

# What touches the database, on a PostgreSQL that the run starts (Debian: apt-get install postgresql).
test-postgres: $(VENV)/dev.stamp
	@TEST_DATABASE=postgres $(PYTEST) -m django_db tests/integration

# Before a release, and after changes that reach far.
test-all: test test-postgres test-second test-clients
	@$(BIN)/steward chaos --faults $(CHAOS_FAULTS)

# Validators and generators of others on the OpenAPI document, and clients that they generate: from PyPI and npm.
test-clients: $(VENV)/dev.stamp
	@FOREIGN_TOOLS=1 $(PYTEST) tests/clients

test-second:
	@second=$$(for python in $(SECOND); do $$python -c 'import sys; print(sys.executable)' 2>/dev/null && break; done); \
	if [ -z "$$second" ]; then \
		echo "There is no second Python (3.12 or 3.13) on this machine: nothing was tried on one."; \
	else \
		"$$second" --version && $(MAKE) test VENV=.venv-second PYTHON="$$second"; \
	fi

check: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@if command -v npm >/dev/null && $(MAKE) -s $(NODE); then npx --no-install biome ci --error-on-warnings static; \
	elif [ "$$CI" = true ]; then echo "static/ was not linted: npm is missing, or cannot install Biome." >&2; exit 1; \
	else echo "static/ was not linted: npm is missing, or cannot install Biome."; fi

# The linter of scripts and stylesheets, pinned in package-lock.json; installed on demand, into node_modules.
NODE := node_modules/.package-lock.json

$(NODE): package.json package-lock.json
	@npm ci --no-audit --no-fund --silent
	@touch $@

# Texts that are new or gone: into the languages' files, and these compiled. What is to be translated is listed.
messages: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.support.messages

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it with PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "A virtual environment could not be made (Debian: apt-get install python3-venv)."; exit 1; }

# --no-deps: the pins are complete (`make requirements`), so nothing needs to be resolved, which takes longer than
# installing. The project itself is installed without build isolation: its build tools are pinned with everything else.
$(VENV)/runtime.stamp: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing the product into $(VENV) (about a minute, once):"
	@$(INSTALL) --no-deps --require-hashes -r requirements.txt
	@$(INSTALL) --no-deps --no-build-isolation -e '.[server]'
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/runtime.stamp
	@echo "Installing the tools for tests and checks into $(VENV) (once):"
	@$(INSTALL) --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

# Compiled with the oldest Python that we support, whose pins include what newer ones leave out. Without pip's local
# configuration: only hashes of the public registry's files are of use to others, and no addresses are written down.
COMPILE := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make requirements" \
	$(VENV)/pins/bin/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links --no-emit-options

requirements: | $(BIN)/python
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Pins are made with Python 3.11: make clean requirements PYTHON=python3.11")'
	@test -x $(VENV)/pins/bin/pip-compile || { $(BIN)/python -m venv $(VENV)/pins && $(VENV)/pins/bin/python -m pip --quiet install pip-tools; }
	@$(COMPILE) --extra server --extra build --output-file requirements.txt pyproject.toml
	@$(COMPILE) --extra server --extra build --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) .venv-second node_modules build dist .pytest_cache .mypy_cache .ruff_cache
