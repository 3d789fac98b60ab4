"""A small prepared data set and a tiny language model for the tests of stages."""

from pathlib import Path

import pytest

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.types import no_progress
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.workspace import Data, open_data
from tiny_models import tiny_llama


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Atomic files of 12 users with 6 events each; the last item of user 0 occurs nowhere else."""
    folder = tmp_path_factory.mktemp("raw")
    events = [f"u{user}\ti{(user * 5 + step * 3) % 40}\t{step}" for user in range(12) for step in range(6)]
    events.append("u0\tsecret\t99")
    (folder / "x.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(events))
    titles = [f"i{number}\tFilm number {number}" for number in range(40)]
    (folder / "x.item").write_text("item_id:token\ttitle:token_seq\n" + "\n".join([*titles, "secret\tThe Secret Film"]))
    return folder


@pytest.fixture
def data(tmp_path: Path, raw: Path) -> Data:
    """The data set, prepared with lists of ten."""
    prepare(tmp_path, "small", PrepareConfig(dataset="small", n_candidates=10), Origin(raw), no_progress)
    return open_data(tmp_path, "small")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of random weights in a folder."""
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama", context=512)
