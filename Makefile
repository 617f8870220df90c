# `make demo` and `make test` make what they need: .ci/environment says where, and installs it.
export PYTHON ?= python3
VENV := $(shell .ci/environment where)
BIN := $(VENV)/bin
STAMP := $(VENV)/.initdsl-$(shell cksum pyproject.toml | cut -d' ' -f1)

# what Python has compiled once, the many processes that the tests start don't compile again
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-long test-all versions coverage mutants lint types generated docs site bench clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)-test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not long"

test-long: $(STAMP)-test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "long and not slow"
	INITDSL_LAWS=1 $(BIN)/python -m pytest -n 2 tests/language/test_laws.py

test-all: $(STAMP)-test
	$(BIN)/python -m pytest -n 2 --dist worksteal

# the tests on the lowest torch and the newest, and on some between, each in an environment of its own
versions:
	$(PYTHON) .ci/versions

coverage: $(STAMP)-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutants: $(STAMP)-dev
	$(BIN)/python -m tests.support.mutants language.expressions network.selectors planning filling streams

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check initdsl tests benchmarks examples
	$(BIN)/lint-imports --no-cache
	$(BIN)/initdsl lint examples initdsl/recipes
	$(BIN)/initdsl fmt --check examples initdsl/recipes

types: $(STAMP)-dev
	$(BIN)/mypy

# everything that is written from the code: pages, the schema, colours for editors, the parser's tables
generated: $(STAMP)-test
	PYTHONHASHSEED=0 $(BIN)/python docs/generate.py

# what the pages say, then the site
docs: $(STAMP)-test site
	$(BIN)/python -m pytest tests/project/test_docs.py tests/project/test_architecture.py

site: $(STAMP)-docs
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html
	INITDSL_SITE=docs/_build/html $(BIN)/python -m pytest tests/project/test_site.py

bench: $(STAMP)-test
	$(BIN)/python benchmarks/run.py $(if $(wildcard .venv-jax/bin/python),--jax .venv-jax/bin/python)

clean:
	rm -rf .venv build dist docs/_build docs/repository .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(STAMP):
	@.ci/environment install
	touch $@

$(STAMP)-test: $(STAMP)
	@.ci/environment install test
	touch $@

$(STAMP)-docs: $(STAMP)-test
	@.ci/environment install docs
	touch $@

$(STAMP)-dev: $(STAMP)-test
	@.ci/environment install dev
	touch $@
