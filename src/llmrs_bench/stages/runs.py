"""The runs of a data set: found, opened, and chosen by how their names begin."""

from collections.abc import Sequence

from llmrs_bench.artifacts import Artifact, is_complete, open_artifact
from llmrs_bench.errors import ArtifactError
from llmrs_bench.registry import unknown_name
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.plan import NOTE


def open_runs(data: Data) -> list[Artifact]:
    """Open all complete runs of a data set, by name.

    Raises:
        ArtifactError: If there are none.
    """
    folder = data.place.runs
    paths = sorted(path for path in folder.iterdir() if is_complete(path)) if folder.is_dir() else []
    if not paths:
        raise ArtifactError(
            f"{data.place.reference} has no runs",
            hint=f"Run: llmrs-bench infer --model sasrec --dataset {data.place.reference}",
        )
    return [open_artifact(path, hint="run `llmrs-bench infer` again.") for path in paths]


def pick_runs(runs: Sequence[Artifact], names: Sequence[str]) -> list[Artifact]:
    """Return the runs whose names begin with one of `names`.

    Raises:
        OptionError: If a name fits none.
    """
    known = [run.path.name for run in runs]
    for name in names:
        if not any(run.startswith(name) for run in known):
            raise unknown_name("run", name, known)
    return [run for run in runs if run.path.name.startswith(tuple(names))]


def ranks(run: Artifact) -> bool:
    """Tell whether a run ranks candidates, as all do but those of the form `note`."""
    return run.facts.get("form") != NOTE
