"""What all tests share: small raw data, the command line on it, and one thread."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
import typer.testing
from hypothesis import settings
from typer.main import get_command

from command_line import Bench, write_small
from real_model import convert_once, find_gguf

# Read by vLLM when it is imported: quiet, and in this process.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

# The command line is put together once, not for each of some thousand calls.
vars(typer.testing)["_get_command"] = cache(get_command)

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The files that take longest: begun first, none of them keeps one process busy when the other is done.
LONGEST = (
    "test_docs.py", "test_tune.py", "test_click_networks.py", "test_cli_compare.py", "test_real_model.py",
    "test_cli_mistakes.py", "test_logs.py", "test_openai_http.py", "test_openai_engine.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; `--no-loadscope-reorder` lets the processes take files in this order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Run small models on one thread: threads that wait for each other cost more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def atomic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("atomic"))


@pytest.fixture
def bench(tmp_path: Path, atomic: Path) -> Bench:
    return Bench(tmp_path / "home", atomic)


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """A real language model as a GGUF file."""
    return find_gguf()


@pytest.fixture(scope="session")
def smollm2_folder(smollm2_gguf: Path, request: pytest.FixtureRequest) -> Path:
    """The same model as an ordinary folder in float32, converted once on a machine."""
    return convert_once(smollm2_gguf, request.config.cache.mkdir("smollm2"))
