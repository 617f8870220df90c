# `make demo` and `make test` make what they need: an environment in .venv, with the torch that is there if there is one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# an environment that is active and has torch is used as it is
ifneq ($(shell test -n "$$VIRTUAL_ENV" && "$$VIRTUAL_ENV/bin/python" -c "import torch" 2>/dev/null && echo yes),)
VENV := $(VIRTUAL_ENV)
endif
STAMP := $(VENV)/.initdsl-$(shell cksum pyproject.toml | cut -d' ' -f1)

.PHONY: demo test test-all coverage mutants lint types generated docs site bench clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)-test
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(STAMP)-test
	$(BIN)/python -m pytest -n 2

coverage: $(STAMP)-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 -m "not slow"
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

# torch 2.13.0 is what the tests are measured with; any from 2.4 on that is there already is kept
$(STAMP):
	test -x $(BIN)/python || $(PYTHON) -m venv $(if $(shell $(PYTHON) -c "import torch" 2>/dev/null && echo yes),--system-site-packages) $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(STAMP)-test: $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[test]"
# torchvision wants this very torch; with another the tests on real models are skipped
	if $(BIN)/python -c "import sys, torch; sys.exit(not torch.__version__.startswith('2.13.0'))"; then \
	  $(BIN)/python -m pip install --quiet -e ".[models,integrations]"; fi
	touch $@

$(STAMP)-docs: $(STAMP)-test
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@

$(STAMP)-dev: $(STAMP)-test
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@
