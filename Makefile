# Everything runs in .venv, made from requirements.lock (hashes, no index addresses).
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: audit clients example-litellm test check types clean

example-litellm: $(READY)  ## audit the LiteLLM proxy in front of the reference server
	$(BIN)/python examples/litellm/run.py

clients: $(READY)  ## the official clients of OpenAI and Anthropic judge the reference server
	$(BIN)/python tests/clients/run.py $(CLIENTS)

audit: $(READY)  ## start the reference server, audit it, write a report folder
	$(BIN)/gateproof audit

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -n 3 --dist worksteal

check: $(READY) types  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)  ## mypy, on a tree of links in which the rooms stand inside the package
	rm -rf .venv/types && mkdir -p .venv/types/gateproof
	ln -s $(CURDIR)/gateproof/* .venv/types/gateproof/
	for room in specs suites loadtests reference_server reports; do ln -s $(CURDIR)/$$room .venv/types/gateproof/$$room; done
	MYPYPATH=.venv/types $(BIN)/mypy --no-incremental -p gateproof

$(READY): requirements.lock pyproject.toml setup.py loadtests/speedups.pyx
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	rm -f loadtests/*.so  # without a compiler, none of an earlier state may stay
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

clean:
	rm -rf .venv build dist *.egg-info loadtests/speedups.c loadtests/*.so
