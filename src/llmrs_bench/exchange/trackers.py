"""Boards for experiment trackers: MLflow, Weights & Biases, Trackio; without a server each of them keeps files."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from llmrs_bench.core.environment import environment, prints_on_stderr
from llmrs_bench.core.errors import BenchError, OptionError
from llmrs_bench.core.registry import unknown_name

log = logging.getLogger(__name__)
PROJECT = "llmrs-bench"  # experiment of MLflow, project of the others, unless their own variables name one
Points = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class TrackedRow:
    """A row of a board, or the board itself, as trackers know runs.

    Args:
        key: Stays the same where the same is tracked again, which then takes its place.
        name: What it is called.
        config: What it was made with.
        metrics: Means, ends of their intervals, and costs.
        series: Values by step: losses by epoch, metrics by the number that a curve is drawn over.
        files: Put beside it.
    """

    key: str
    name: str
    config: Mapping[str, str]
    metrics: Mapping[str, float]
    series: Mapping[str, Points]
    files: Sequence[Path] = ()


def check_tracker(name: str) -> None:
    """Refuse a tracker that is unknown or not installed.

    Raises:
        OptionError: If it is.
    """
    if name not in _TRACKERS:
        raise unknown_name("tracker", name, list(_TRACKERS))
    try:
        version(name)  # a folder of that name, as wandb makes one, would pass for a module
    except PackageNotFoundError as error:
        raise OptionError(f"{name} is not installed", hint=f"Run: pip install 'llmrs-bench[{name}]'") from error


def track(name: str, group: str, rows: Sequence[TrackedRow]) -> str:
    """Log rows with a tracker, and return in words where they are.

    Args:
        name: Of the tracker.
        group: What they have in common: the data set.
        rows: The board, and its rows.

    Raises:
        OptionError: If the tracker is unknown or not installed.
        BenchError: If it fails.
    """
    check_tracker(name)
    try:
        with prints_on_stderr():
            return _TRACKERS[name](group, rows)
    except BenchError:
        raise
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise BenchError(
            f"{name} failed: {said}",
            hint="Runs and boards are kept. " + _HINTS[name] + " Then run the same command again.",
        ) from error


def _mlflow(group: str, rows: Sequence[TrackedRow]) -> str:
    with environment({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
        from mlflow.utils.time import get_current_time_millis

        client = MlflowClient()
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = client.get_experiment_by_name(project)
        experiment = client.create_experiment(project) if known is None else known.experiment_id
        for row in rows:
            now = get_current_time_millis()
            for old in client.search_runs([experiment], f"tags.llmrs_key = '{row.key}'"):
                client.delete_run(old.info.run_id)
            tags = {"llmrs_key": row.key, "data": group}
            run = client.create_run(experiment, tags=tags, run_name=row.name).info.run_id
            metrics = [Metric(_plain(name), value, now, 0) for name, value in row.metrics.items()]
            metrics += [
                Metric(_plain(name), value, now, step) for name, points in row.series.items() for step, value in points
            ]
            params = [Param(_plain(name), value[:5000]) for name, value in row.config.items()]
            for start in range(0, max(len(metrics), 1), 900):  # of a request, which takes at most 1,000
                client.log_batch(run, metrics[start : start + 900], params if start == 0 else ())
            for file in row.files:
                client.log_artifact(run, str(file))
            client.set_terminated(run)
        return f"experiment {project} of {client.tracking_uri}"


def _plain(name: str) -> str:
    """Return a name in the characters that MLflow takes."""
    named = name.replace("@", "_at_")
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in named)


def _wandb(group: str, rows: Sequence[TrackedRow]) -> str:
    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    offline = {} if _knows_wandb() else {"WANDB_MODE": "offline"}  # else it would ask for a key
    with environment({**offline, "WANDB_SILENT": "true"}):
        for row in rows:
            with wandb.init(
                project=project, group=group, name=row.name, id=row.key, resume="allow", config=dict(row.config)
            ) as run:
                for name, points in row.series.items():
                    run.define_metric(name, step_metric=f"{name}/step")
                    for step, value in points:
                        run.log({name: value, f"{name}/step": step})
                run.summary.update(dict(row.metrics))
                for file in row.files:
                    run.save(str(file), base_path=str(file.parent), policy="now")
                place = f"project {project}" + (f", offline in {run.dir}" if run.offline else f" at {run.url}")
    return place


def _knows_wandb() -> bool:
    """Return whether there is a key for the server of Weights & Biases, as `wandb login` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc().authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


def _trackio(group: str, rows: Sequence[TrackedRow]) -> str:
    import trackio

    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    named = [f"{row.name} {row.key}" for row in rows]
    with suppress(ValueError):  # there is no such project yet
        for old in trackio.Api().runs(project):
            if old.name in named and not old.delete():
                log.warning("trackio keeps an earlier run %s, too", old.name)
    for name, row in zip(named, rows, strict=True):
        run = trackio.init(project=project, name=name, group=group, config=dict(row.config), embed=False)
        by_step: dict[int, dict[str, float]] = {}
        for metric, points in row.series.items():
            for step, value in points:
                by_step.setdefault(step, {})[metric] = value
        for step, values in sorted(by_step.items()):
            run.log(values, step=step)
        run.log(dict(row.metrics))
        for file in row.files:
            run.log_artifact(file)
        run.finish()
    return f"project {project}: trackio show --project {project}"


_TRACKERS: dict[str, Callable[[str, Sequence[TrackedRow]], str]] = {
    "mlflow": _mlflow,
    "wandb": _wandb,
    "trackio": _trackio,
}
_HINTS: dict[str, str] = {
    "mlflow": "See that the server at MLFLOW_TRACKING_URI answers, or unset it to keep files here.",
    "wandb": "See `wandb status`, or set WANDB_MODE=offline to keep files here.",
    "trackio": "See its documentation.",
}
