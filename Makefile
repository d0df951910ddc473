# Two commands for a fresh clone: `make run` opens the dashboard, `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin
# eslint, tsc and axe-core, where npm is; without it their checks are skipped, and say so
NPM_TOOLS := $(if $(shell command -v npm 2>/dev/null),node_modules/.package-lock.json)

# without bytecode each worker, and each process a test starts, compiles every file anew
unexport PYTHONDONTWRITEBYTECODE

WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: run test test-slow test-all check check-js package audit browser docs bench fresh clean

run: .venv/run.stamp
	$(BIN)/streamlit run streamlit_app.py

# everything that guards a change
test: .venv/dev.stamp
	$(PYTEST)

# the second tier: compilers, clusters, processes that are killed, the families that are no archetype
test-slow: .venv/dev.stamp
	$(PYTEST) -m "slow and not browser"

test-all: .venv/dev.stamp
	$(PYTEST) -m "not browser"

check: check-js .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m tests.installed_tree
	cd .typing && ../$(BIN)/lint-imports ../.importlinter
	$(BIN)/mypy

# both wheels, built and installed into an empty environment beside a project that has its own models/ and app/
package: .venv/run.stamp
	$(BIN)/python -m tests.package

# known vulnerabilities of what is pinned; asks the package index, and fails where that cannot answer
audit: .venv/dev.stamp
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r requirements.txt

check-js: $(NPM_TOOLS)
	@$(if $(NPM_TOOLS),npm run --silent check,echo "skipped eslint and tsc: npm is not installed")

browser: .venv/dev.stamp $(NPM_TOOLS)
	$(PYTEST) -m browser

docs: .venv/run.stamp
	$(BIN)/python -m gatescope.app.reference

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
