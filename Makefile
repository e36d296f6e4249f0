# Everything a fresh machine needs is made here: Python 3.11, pip and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.installed

# Screens for the tests of the live figure. Only CI installs them; elsewhere these tests say what is missing.
SYSTEM := xvfb python3-tk libegl1 libxkbcommon0 libfontconfig1

.PHONY: demo test lint bench system clean

demo: $(STAMP)
	$(BIN)/xas-live demo

test: lint system
	$(BIN)/python -m pytest -n 3 --dist worksteal tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy -p xas_live

system:
	@if [ "$$CI" = true ] && [ "$$(id -u)" = 0 ] && ! dpkg -s $(SYSTEM) >/dev/null 2>&1; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM); fi

bench: $(STAMP)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo_output
