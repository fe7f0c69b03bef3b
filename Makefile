# make demo: nothing -> an enhanced recording.   make test: the whole suite.   make check: test + linters.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint check clean

demo: .venv/runtime
	@mkdir -p demo
	$(BIN)/fsnp-enhance samples/hum_5db_noisy.flac -o demo/enhanced.flac --plot demo/spectrograms.png --force
	@echo "listen to demo/enhanced.flac, look at demo/spectrograms.png"

test: .venv/develop
	$(BIN)/python -m pytest

lint: .venv/develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

clean:
	rm -rf .venv demo build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip

.venv/runtime: pyproject.toml | .venv/bin/python
	$(PIP) -e '.[cpu,plot]'
	@touch $@

.venv/develop: pyproject.toml constraints-dev.txt | .venv/bin/python
	$(PIP) -c constraints-dev.txt -e '.[cpu,export,plot,training,test,lint]'
	@touch $@ .venv/runtime
