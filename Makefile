# Two commands for a fresh clone: `make run` opens the dashboard, `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin
# eslint, tsc and axe-core, where npm is; without it their checks are skipped, and say so
NPM_TOOLS := $(if $(shell command -v npm 2>/dev/null),node_modules/.package-lock.json)

.PHONY: run test check check-js browser docs bench fresh clean

run: .venv/run.stamp
	$(BIN)/streamlit run streamlit_app.py

test: .venv/dev.stamp
	$(BIN)/python -m pytest

check: check-js .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check-js: $(NPM_TOOLS)
	@$(if $(NPM_TOOLS),npm run --silent check,echo "skipped eslint and tsc: npm is not installed")

browser: .venv/dev.stamp $(NPM_TOOLS)
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

node_modules/.package-lock.json: package.json
	npm install --no-package-lock --no-audit --no-fund --ignore-scripts
	touch $@

fresh:
	dir=$$(mktemp -d) && git clone --quiet . $$dir/gatescope && $(MAKE) -C $$dir/gatescope test && rm -rf $$dir
