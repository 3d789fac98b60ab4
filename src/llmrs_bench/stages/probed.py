"""What probes say of the language models of runs: does the model of a row know the data set by heart?"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Artifact, open_artifact
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.llm.cache import read_served
from llmrs_bench.report.memory import board_note, memory_words
from llmrs_bench.stages.workspace import Data, leaving_out


def memory_of(data: Data, run: Artifact) -> dict[str, Any]:
    """Return what a board says of the model of a run: `memory`, where its probe is significant; else nothing."""
    found = probe_of(data, run)
    words = "" if found is None else memory_words(found.facts)
    return {"memory": words} if words else {}


def memory_notes(data: Data, run: Artifact) -> list[str]:
    """Return what a board warns of: that the model of a run knows the data by heart; else nothing."""
    found = probe_of(data, run)
    return [] if found is None or not memory_words(found.facts) else [board_note(found.facts)]


def memory_lines(data: Data, runs: Sequence[Artifact]) -> list[str]:
    """Return what a protocol says of models of runs that were probed without a sign of memory, one line each."""
    probes = [probe_of(data, run) for run in runs]
    quiet = [
        board_note(found.facts).rstrip(".") for found in probes if found is not None and not memory_words(found.facts)
    ]
    return list(dict.fromkeys(quiet))


def probe_of(data: Data, run: Artifact) -> Artifact | None:
    """Return the probe of the model of a run that asked the most, the latest of several; None where there is none.

    It is a probe on this preparation of the data set, of the same weights by what identifies those of kept answers,
    whatever the options of the engine.
    """
    if not run.facts.get("answers") or not data.place.probes.is_dir():
        return None
    store, weights = data.place.answers / str(run.facts["answers"]), None
    with leaving_out(ArtifactError):
        weights = read_served(store)["model"] if store.is_dir() else None
    return _largest([made for made in open_probes(data) if weights is not None and made.facts["weights"] == weights])


def open_probes(data: Data) -> list[Artifact]:
    """Return all probes of a data set; what cannot be read is left out with a warning."""
    found = []
    for path in sorted(data.place.probes.iterdir()) if data.place.probes.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            with leaving_out(ArtifactError):
                found.append(open_artifact(path, hint="run `llmrs-bench probe` again."))
    return found


def _largest(probes: Sequence[Artifact]) -> Artifact | None:
    """Return the probe that asked the most, the latest of several."""
    return max(probes, key=lambda made: (made.facts["prompts"], made.manifest.started), default=None)


def recalled_items(data: Data, model: str = "") -> pl.DataFrame:
    """Return the items whose titles a probe asked for, and whether the model held the true one to be the likeliest.

    Args:
        data: The prepared data set.
        model: How the name of the probed model begins; needed where several were.

    Returns:
        Rows (item_id, recalled), by mean log-probability of a token.

    Raises:
        ArtifactError: If no such model was probed, or its probe asked for no titles.
        OptionError: If several were.
    """
    fits = [made for made in open_probes(data) if str(made.facts["model"]["name"]).startswith(model)]
    names = sorted({str(made.facts["model"]["name"]) for made in fits})
    if len(names) > 1:
        raise OptionError(
            f"--by recalled{model and f':{model}'} means {len(names)} probed models: {', '.join(names)}",
            hint=f"Name one: --by recalled:{names[0]}.",
        )
    found = _largest(fits)
    rows = None if found is None else found.table("probes")
    asked = (
        None
        if rows is None
        else rows.filter(pl.col("probe") == "item", pl.col("reading") == "token", ~pl.col("control"))
    )
    if asked is None or asked.is_empty():
        raise ArtifactError(
            f"no probe has asked {model or 'a model'} for titles of {data.place.reference}",
            hint=f"Run: llmrs-bench probe --model {model or 'MODEL'} --dataset {data.place.reference}",
        )
    return asked.select(item_id="subject", recalled=(pl.col("better") == 0) & (pl.col("tied") == 0))
