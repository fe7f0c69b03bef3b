# make demo: nothing -> an enhanced recording.   make test: the whole suite.   make check: test + linters.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# the recipe of the bundled model: make train-data, make train, make model, make evaluate
RUN ?= training/runs/default
MODEL ?= fsnp_onnx/models/default.onnx
MINUTES ?= 120
VOICE_MINUTES ?= 20

.PHONY: demo test lint check clean train-data train model evaluate bench

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

train-data: .venv/develop
	$(BIN)/python -m training.fetch
	$(BIN)/python -m training.voices --minutes $(VOICE_MINUTES)
	$(BIN)/python -m training.prepare

train: .venv/develop
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m training.train --run-dir $(RUN) --minutes $(MINUTES) $(if $(wildcard $(RUN)/state.pt),--resume)

model: .venv/develop
	$(BIN)/fsnp-export $(RUN)/checkpoint.tar --mulca original -o $(RUN)/model.onnx --force

evaluate: .venv/develop
	$(PIP) --no-deps -r evaluation/peers.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m evaluation default=$(MODEL)

# about an hour on two cores, most of it memory and scaling; each name is a command of its own
bench: .venv/develop
	$(PIP) --no-deps -r evaluation/peers.txt
	for name in speed memory cold-start profile gemm scaling peers; do \
	  $(BIN)/python -m benchmarks $$name || exit 1; \
	done

clean:
	rm -rf .venv demo build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip

.venv/runtime: pyproject.toml | .venv/bin/python
	$(PIP) -e '.[cpu,plot]'
	@touch $@

.venv/develop: pyproject.toml constraints-dev.txt | .venv/bin/python
	$(PIP) -c constraints-dev.txt -e '.[cpu,export,plot,training,bench,test,lint]'
	@touch $@ .venv/runtime
