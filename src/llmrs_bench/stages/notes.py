"""Texts that a model wrote about users: runs of a template of the form `note`, told by the prompts of another."""

from itertools import chain

from llmrs_bench.artifacts import Artifact
from llmrs_bench.errors import OptionError
from llmrs_bench.prompts.plain import plain
from llmrs_bench.prompts.protocol import spoken
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.plan import NOTE
from llmrs_bench.stages.runs import open_runs, pick_runs

_BLOCK = 2000


def find_note(data: Data, name: str) -> Artifact:
    """Return the run of notes whose name begins with `name`.

    Raises:
        OptionError: If there is none, several, or it is a run that ranks.
        ArtifactError: If the data set has no runs.
    """
    found = pick_runs(open_runs(data), [name])
    if len(found) != 1:
        raise OptionError(f"interest={name} means {len(found)} runs", hint="Write more of the name.")
    if found[0].facts.get("form") != NOTE:
        raise OptionError(
            f"interest={name} is a run that ranks, and holds no texts about users",
            hint="Make one with `llmrs-bench infer --template interest`.",
        )
    return found[0]


def read_notes(run: Artifact) -> dict[str, str]:
    """Return request id to what the model wrote, without its thoughts, as one line; nothing where it wrote nothing."""
    rows = chain.from_iterable(part.iter_rows(named=True) for part in run.parts("responses", _BLOCK))
    return {row["request_id"]: plain(spoken(row["text"] or "")) for row in rows}
