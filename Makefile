# `make help` lists the targets. PYTHON is the interpreter that .venv is made with.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo parity faults test lint type bench embed clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## .venv with everything that development needs

$(STAMP): pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[dev]'
	touch $@

demo: setup ## export the embedded student, run every backend of ONNX bundles, write out/gallery.html and .png
	$(BIN)/python -m adain_parity.demo --out out

parity: setup ## every backend against PyTorch: out/parity
	$(BIN)/adain-parity run -j 2 -o out/parity

faults: setup ## which sabotaged backends are caught, the table of docs/parity.md
	$(BIN)/python tests/faults_table.py

test: setup ## all tests, on up to four cores
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: setup ## ruff: style and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup ## mypy --strict over all rooms and benchmarks
	$(BIN)/mypy

bench: setup ## every backend on the CPU (VGG19=FILE.safetensors too), start-up, folders, large photos: benchmarks/results
	$(BIN)/adain-bench --output benchmarks/results/cpu $(if $(VGG19),--checkpoint $(VGG19))
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/own_time.py
	$(BIN)/python benchmarks/folder.py
	$(BIN)/python benchmarks/large_images.py
	$(BIN)/python benchmarks/rewrites.py $(if $(VGG19),--vgg19 $(VGG19))
ifdef VGG19
	$(BIN)/adain-export onnx $(VGG19) --name vgg19 --output out/bench
	$(BIN)/python benchmarks/large_images.py --model out/bench/vgg19-onnx-fp32 --side 4096
endif

embed: setup ## renew the embedded ONNX bundle from model/adain_model/weights/lite.safetensors
	$(BIN)/adain-export onnx --output runtime/adain_runtime/bundles

clean: ## remove what was made here
	rm -rf $(VENV) out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
