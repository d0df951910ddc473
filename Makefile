# Two commands for a fresh clone: `make run` opens the dashboard, `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin

WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: run test test-slow test-all check audit browser docs bench fresh clean

run: .venv/run.stamp
	$(BIN)/streamlit run streamlit_app.py

# everything that guards a change
test: .venv/dev.stamp
	$(PYTEST)

# the second tier: calibrations, compilers, the families that are no archetype
test-slow: .venv/dev.stamp
	$(PYTEST) -m "slow and not browser"

test-all: .venv/dev.stamp
	$(PYTEST) -m "not browser"

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# known vulnerabilities of what is pinned; asks the package index, and fails where that cannot answer
audit: .venv/dev.stamp
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r requirements.txt

# axe-core looks for barriers to readers; without npm those checks are skipped, and say so
browser: .venv/dev.stamp
	if command -v npm >/dev/null; then npm install --prefix tests --no-package-lock --no-audit --no-fund --ignore-scripts; fi
	$(BIN)/python -m pytest -m browser

docs: .venv/run.stamp
	$(BIN)/python -m app.reference

bench: .venv/run.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.capture_overhead
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.bundled

clean:
	rm -rf .venv

.venv/run.stamp: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

fresh:
	dir=$$(mktemp -d) && git clone --quiet . $$dir/gatescope && $(MAKE) -C $$dir/gatescope test && rm -rf $$dir
