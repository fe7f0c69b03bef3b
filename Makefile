# make demo: enhance a recording.   make page: the web page.   make test: the whole suite.   make check: linters and suite.
# make test-fast: the tests of a minute.   make test-wheel: the installed wheel, oldest dependencies.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The bundled model is made by: make train-data, make train, make model, make evaluate.
RUN ?= training/runs/default
MINUTES ?= 120
VOICE_MINUTES ?= 20

.PHONY: demo page test test-fast test-wheel lint check clean train-data train model evaluate bench cuda-pack cuda-check cuda-page

demo: .venv/runtime
	@mkdir -p demo
	$(BIN)/fsnp-enhance samples/hum_5db_noisy.flac -o demo/enhanced.flac --plot demo/spectrograms.png --force
	@echo "listen to demo/enhanced.flac, look at demo/spectrograms.png"

page:
	cd web && npm ci --ignore-scripts && npm run build
	@echo "web/dist is the page; serve it with any web server"

# Two processes, as most tests use one thread; a file's tests share the networks that it exports.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

test: .venv/develop
	$(PYTEST) -m "not realtime"
	$(BIN)/python -m pytest -m realtime

test-fast: .venv/develop
	$(PYTEST) -m "not slow and not cluster"

test-wheel:
	PYTHON=$(PYTHON) .ci/test-wheel

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
	$(PIP) -r evaluation/recogniser.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m evaluation default=default live=live
	OMP_NUM_THREADS=1 $(BIN)/python -m evaluation.recognition default=default live=live
	$(BIN)/python -m evaluation.samples

# This takes about an hour on two cores, most of it in memory and scaling. Each name also runs by itself.
bench: .venv/develop
	$(PIP) --no-deps -r evaluation/peers.txt
	for name in speed memory cold-start profile gemm scaling live peers; do \
	  $(BIN)/python -m benchmarks $$name || exit 1; \
	done

# The check on CUDA: pack here; copy the parts in build/ to a machine that has a GPU, and check there.
PYTHONS ?= 3.12
cuda-pack: .venv/develop
	$(BIN)/python -m benchmarks cuda-pack $(PYTHONS:%=--python %)

cuda-check:
	bash build/cuda-check/run.sh --out benchmarks/results/cuda.json

cuda-page: .venv/develop
	$(BIN)/python -m benchmarks cuda-page

clean:
	rm -rf .venv demo build dist web/dist web/node_modules

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip

.venv/runtime: pyproject.toml | .venv/bin/python
	$(PIP) -e '.[cpu,plot]'
	@touch $@

.venv/develop: pyproject.toml constraints-dev.txt examples/agents.txt | .venv/bin/python
	$(PIP) -c constraints-dev.txt -e '.[cpu,av,export,live,plot,urls,ray,serve,training,bench,test,lint]'
	$(PIP) --no-deps -r examples/agents.txt
	@touch $@ .venv/runtime
