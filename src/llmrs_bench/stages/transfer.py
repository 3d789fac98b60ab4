"""Stage of `compare --transfer`: the runs of several data sets, by what their models learned from."""

from collections.abc import Mapping, Sequence
from itertools import permutations

from llmrs_bench.core.config import CompareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import EvaluatedRun
from llmrs_bench.leaderboard.transfer import Target, Transfer, build_transfer
from llmrs_bench.stages.compare import compare
from llmrs_bench.stages.workspace import Data


def transfer(sets: Sequence[Data], config: CompareConfig, runs: Mapping[str, Sequence[str]] | None = None) -> Transfer:
    """Build the matrix of source and target; what was not evaluated yet is evaluated.

    Args:
        sets: The prepared data sets, of rankings.
        config: Bootstrap, tests, and the metric: the first one that is named, or `ndcg@10`.
        runs: Names of runs by the name of their data set; None: all.

    Raises:
        OptionError: If two data sets have one name, one is not of rankings, or no model was asked on another one.
    """
    names = [data.place.root.parent.name for data in sets]
    if len(set(names)) < len(names):
        raise OptionError(
            f"--transfer takes data sets of different names, not {', '.join(data.place.reference for data in sets)}",
            hint="A model may not be tuned on one split and tested on another of the same data.",
        )
    if others := [data for data in sets if data.labelled]:
        raise OptionError(
            f"--transfer compares rankings, and {others[0].place.reference} is of --task {others[0].task}",
            hint="Leave it out.",
        )
    metric = (config.metrics or ("ndcg@10",))[0]
    targets = []
    for name, data in zip(names, sets, strict=True):
        made = compare(data, [] if runs is None else runs[name], config.model_copy(update={"metrics": (metric,)}))
        entries = tuple(entry for entry in made.entries if isinstance(entry, EvaluatedRun))
        targets.append(Target(name, entries, made.plan))
    return build_transfer(targets, metric, overlaps(sets))


def overlaps(sets: Sequence[Data]) -> list[str]:
    """Say where test users of one data set have the id of a user of another: they may be the same people."""
    users = {data.place.root.parent.name: set(data.artifact.table("interactions")["user_id"]) for data in sets}
    tested = {data.place.root.parent.name: set(data.artifact.table("requests")["user_id"]) for data in sets}
    notes = []
    for source, target in permutations(users, 2):
        if both := len(tested[target] & users[source]):
            notes.append(
                f"{both:,} of {len(tested[target]):,} test users of {target} have the id of a user of {source}: if ids "
                f"mean the same people, a model tuned on {source} has seen them; examples in prompts leave them out"
            )
    return notes
