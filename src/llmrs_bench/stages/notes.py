"""Texts that a model wrote about users: runs of a template of the form `note`, told by the prompts of another."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from llmrs_bench.artifacts import Artifact
from llmrs_bench.errors import OptionError
from llmrs_bench.prompts.plain import plain
from llmrs_bench.prompts.thoughts import spoken
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.plan import NOTE
from llmrs_bench.stages.runs import open_runs, pick_runs

_BLOCK = 2000
_LINE = re.compile(r"[\s*\-\[(#]*([0-9]{1,3})[\])*]*[.:)\]]?[\s*]+(\S.*)")


def find_note(data: Data, what: str, name: str) -> Artifact:
    """Return the run of notes whose name begins with `name`, wanted as `what`.

    Raises:
        OptionError: If there is none, several, or it is a run that ranks.
        ArtifactError: If the data set has no runs.
    """
    found = pick_runs(open_runs(data), [name])
    if len(found) != 1:
        raise OptionError(f"{what}={name} means {len(found)} runs", hint="Write more of the name.")
    if found[0].facts.get("form") != NOTE:
        raise OptionError(
            f"{what}={name} is a run that ranks, and holds no texts about users",
            hint=f"Make one with `llmrs-bench infer --template {what}`.",
        )
    return found[0]


def read_interest(run: Artifact) -> dict[str, str]:
    """Return request id to what the model wrote, without its thoughts, as one line; nothing where it wrote nothing."""
    return {row["request_id"]: plain(spoken(row["text"] or "")) for row in _responses(run)}


def read_notes(data: Data, run: Artifact) -> dict[str, dict[str, str]]:
    """Return request id to item id to what the model wrote about the item, in the line with its number.

    Raises:
        OptionError: If the run told another history than the user's own.
    """
    told = str(run.manifest.config["options"].get("past", "own"))
    if told != "own":
        raise OptionError(f"notes={run.path.name} are about past={told}", hint="Make them without -T past.")
    histories = dict(data.artifact.table("requests").select("request_id", "history").iter_rows())
    shown = int(run.facts["history"])
    return {
        row["request_id"]: numbered_lines(row["text"], histories[row["request_id"]], shown - row["clipped"])
        for row in _responses(run)
    }


def numbered_lines(text: str | None, history: Sequence[str], shown: int) -> dict[str, str]:
    """Return item id to text, from lines such as `3. Its hero fails`, about the `shown` latest items in their order.

    The first line with a number counts; numbers that no item has are left out.
    """
    items = list(history)[-shown:] if shown > 0 else []
    notes: dict[str, str] = {}
    for line in spoken(text or "").splitlines():
        if (found := _LINE.match(line)) and 1 <= int(found[1]) <= len(items):
            notes.setdefault(items[int(found[1]) - 1], plain(found[2]))
    return notes


def _responses(run: Artifact) -> Iterator[Mapping[str, Any]]:
    return chain.from_iterable(part.iter_rows(named=True) for part in run.parts("responses", _BLOCK))
