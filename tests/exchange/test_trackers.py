"""Boards in experiment trackers; MLflow with a server of its own, the others with their local files."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

import llmrs_bench
from command_line import Bench
from llmrs_bench import api
from llmrs_bench.core.errors import BenchError, OptionError
from llmrs_bench.exchange import trackers
from llmrs_bench.exchange.trackers import TrackedRow, check_tracker

_START = 120  # seconds that a server may take


def installed(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not installed(name), reason=f"{name} is not installed")


def write(bench: Bench) -> Path:
    page, saved = bench.home.parent / "page.html", bench.home.parent / "board.parquet"
    recipe = bench.home.parent / "study.toml"
    recipe.write_text(
        f'[data]\ndataset = "small"\nsource = "{bench.source}"\nn_candidates = 5\n'
        '[[rows]]\nmodel = "mock"\nhistory = [1, 3]\n[[rows]]\nmodel = "gru4rec"\noptions = { epochs = 2 }\n'
        f'[board]\nover = "history"\nhtml = "{page}"\nsave = "{saved}"\n'
    )
    return recipe


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[TrackedRow]:
    found: list[TrackedRow] = []

    def record(group: str, rows: Sequence[TrackedRow]) -> str:
        found.extend(rows)
        return f"{group}, {len(rows)} runs"

    monkeypatch.setitem(trackers._TRACKERS, "mlflow", record)
    monkeypatch.setattr(trackers, "version", lambda name: "3")
    return found


@pytest.mark.slow
def test_a_board_is_tracked_with_its_rows_curves_and_files(bench: Bench, recorded: list[TrackedRow]) -> None:
    done = bench.run("run", str(write(bench)), "--track", "mlflow")
    assert "tracked: mlflow, small@" in done.stderr
    whole, *rows = recorded
    assert {row.name.partition(" ")[0] for row in rows} == {"chance", "popularity", "mock", "gru4rec"}
    assert [file.name for file in whole.files] == ["page.html", "board.parquet"]
    assert 'dataset = "small"' in whole.config["recipe"]
    assert [[step for step, _ in points] for points in whole.series.values()].count([1, 3]) > 0
    [mock] = [row for row in rows if "history 1" in row.name]
    assert mock.config["model"] == "mock"
    assert mock.metrics["ndcg@10/low"] < mock.metrics["ndcg@10"] < mock.metrics["ndcg@10/high"]
    assert mock.metrics["tokens"] > 0
    assert len({row.key for row in recorded}) == len(recorded)
    before = [row.key for row in recorded]
    recorded.clear()
    bench.run("run", str(write(bench)), "--track", "mlflow")
    assert [row.key for row in recorded] == before  # so that a tracker can put them in their place


@pytest.mark.slow
def test_compare_tracks_the_board_that_it_prints(bench: Bench, recorded: list[TrackedRow]) -> None:
    bench.run("run", str(write(bench)))
    page = bench.home.parent / "other.html"
    asked = ("compare", "-d", "small", "--over", "history", "--html", str(page), "--track", "mlflow")
    assert "tracked: mlflow, small@" in bench.run(*asked).stderr
    whole, *rows = recorded
    assert [file.name for file in whole.files] == ["other.html"]
    assert [[step for step, _ in points] for points in whole.series.values()].count([1, 3]) > 0
    assert {row.name.partition(" ")[0] for row in rows} == {"chance", "popularity", "mock", "gru4rec"}
    refused = bench.run("compare", "-d", "small", "--track", "mlfow", code=2).stderr
    assert "unknown tracker 'mlfow'" in refused
    assert "Did you mean 'mlflow'" in refused
    kept = ("compare", "--history", str(bench.home.parent / "board.parquet"), "--track", "mlflow")
    assert "--track" in bench.run(*kept, code=2).stderr


def test_a_board_is_tracked_from_python(bench: Bench, recorded: list[TrackedRow]) -> None:
    data = api.prepare("small", source=bench.source, n_candidates=5, home=bench.home)
    api.infer("mock", data)
    assert api.board(data).track("mlflow").endswith("4 runs")


def test_trackers_that_cannot_be_had_or_fail_are_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Did you mean 'mlflow'" in bench.run("run", str(write(bench)), "--track", "mlflw", code=2).stderr
    assert not bench.home.exists()

    def lacking(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(trackers, "version", lacking)
    with pytest.raises(OptionError, match="wandb is not installed") as caught:
        check_tracker("wandb")
    assert "llmrs-bench[wandb]" in caught.value.hint
    monkeypatch.setattr(trackers, "version", lambda name: "3")

    def failing(group: str, rows: object) -> str:
        raise ValueError("no such\nserver")

    monkeypatch.setitem(trackers._TRACKERS, "mlflow", failing)
    with pytest.raises(BenchError, match="mlflow failed: ValueError: no such server") as failed:
        trackers.track("mlflow", "small", [])
    assert "MLFLOW_TRACKING_URI" in failed.value.hint


def run(bench: Bench, tracker: str, **variables: str) -> str:
    source = str(Path(llmrs_bench.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, **variables}
    command = [sys.executable, "-m", "llmrs_bench", "run", str(write(bench)), "--track", tracker]
    done = subprocess.run(
        [*command, "--home", str(bench.home)],
        env=environment,
        cwd=bench.home.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/store.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts"), "--serve-artifacts"]
    log = (tmp_path / "server.log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True) as process:
        try:
            deadline = time.monotonic() + _START
            while not _answers(f"{url}/health"):
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                time.sleep(0.5)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.slow
@needs("mlflow")
def test_a_server_of_mlflow_gets_the_board_once(bench: Bench, mlflow_server: str) -> None:
    for _ in range(2):
        assert "tracked: mlflow, experiment llmrs-bench" in run(bench, "mlflow", MLFLOW_TRACKING_URI=mlflow_server)
    api_root = f"{mlflow_server}/api/2.0/mlflow"
    found = httpx.get(f"{api_root}/experiments/get-by-name", params={"experiment_name": "llmrs-bench"}).json()
    number = found["experiment"]["experiment_id"]
    runs: list[dict[str, Any]] = httpx.post(f"{api_root}/runs/search", json={"experiment_ids": [number]}).json()["runs"]
    assert len(runs) == 6  # the board, chance, popularity and three rows
    metrics = {each["key"] for each in runs[0]["data"]["metrics"]} | {
        each["key"] for each in runs[1]["data"]["metrics"]
    }
    assert "ndcg_at_10" in metrics
    board = next(each for each in runs if each["info"]["run_name"].startswith("board of small@"))
    listed = httpx.get(f"{api_root}/artifacts/list", params={"run_id": board["info"]["run_id"]}).json()["files"]
    assert {each["path"] for each in listed} == {"page.html", "board.parquet"}
    [point] = [each for each in board["data"]["metrics"] if each["key"].startswith("ndcg_at_10 over history/mock")]
    assert point["step"] in (3, "3")


@pytest.mark.slow
@needs("wandb")
def test_wandb_without_a_key_keeps_files(bench: Bench) -> None:
    said = run(bench, "wandb", WANDB_DIR=str(bench.home.parent), WANDB_MODE="offline")
    assert "tracked: wandb, project llmrs-bench, offline in " in said
    assert len(list(bench.home.parent.glob("wandb/offline-run-*/*.wandb"))) == 6


@pytest.mark.slow
@needs("trackio")
def test_trackio_keeps_files(bench: Bench) -> None:
    place = bench.home.parent / "trackio"
    assert "tracked: trackio, project llmrs-bench" in run(bench, "trackio", TRACKIO_DIR=str(place), HF_HUB_OFFLINE="1")
    assert list(place.rglob("*.db"))
