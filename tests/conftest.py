"""Small models run on one thread: threads that wait for each other cost more than the work."""

import os
from collections.abc import Iterator

import pytest
import torch

# Read by vLLM when it is imported: quiet, and in this process.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
