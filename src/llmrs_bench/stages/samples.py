"""What the HTML report shows beyond the board: position bias, and a seeded sample of requests as runs met them."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llmrs_bench.artifacts import Artifact, open_artifact
from llmrs_bench.config import Invalid
from llmrs_bench.hashing import uniform_hash
from llmrs_bench.leaderboard import Board
from llmrs_bench.report.html.values import Extra, Ranked, Sampled, Title
from llmrs_bench.stages.asked import Calls, calls_of
from llmrs_bench.stages.evaluations import evaluate_command, evaluations
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.prompt import open_shop
from llmrs_bench.stages.runs import open_runs

# Ranks of a whole catalogue that are shown; candidate lists are shown whole.
_SHOWN = 20


def gather(data: Data, board: Board, *, count: int, seed: int, invalid: Invalid = "expected") -> Extra:
    """Gather what a page shows beyond the board.

    Args:
        data: The prepared data set.
        board: The board; of a row that stands for several seeds the first run is shown.
        count: How many requests; all where there are fewer. A smaller sample of a seed is part of a larger one.
        seed: Of the draw.
        invalid: The policy of the evaluations on the board.

    Raises:
        ArtifactError: If a table is damaged.
    """
    wanted = {row.run for row in board.rows}
    runs = [run for run in open_runs(data) if run.path.name in wanted]
    biases = {run.path.name: facts for run in runs if (facts := _bias(data, run, invalid)) is not None}
    requests = data.artifact.table("requests")
    sample = _draw(requests, count, seed)
    shop = open_shop(data)
    relevant = _relevant(data, sample)
    told: dict[str, Calls] = {}
    notes: dict[str, str] = {}
    for run in runs if count else ():
        if run.facts["kind"] == "language model":
            told[run.path.name], note = calls_of(data, run, sample, shop)
            notes |= {run.path.name: note} if note else {}
    rankings = {
        run.path.name: _rankings(run, sample, relevant, told.get(run.path.name, {})) for run in (runs if count else ())
    }
    sampled = [
        Sampled(
            request_id=row["request_id"],
            user_id=row["user_id"],
            history=tuple(row["history"]),
            candidates=tuple(row["candidates"] or ()),
            targets=relevant.get(row["request_id"], ()),
            rankings={name: found[row["request_id"]] for name, found in rankings.items() if row["request_id"] in found},
        )
        for row in sample.iter_rows(named=True)
    ]
    titles = {
        item_id: Title(item.title, item.about.strip()) if (item := shop.items.get(item_id)) else Title(item_id)
        for item_id in _shown_items(sampled)
    }
    return Extra(biases, tuple(sampled), titles, requests.height, seed, notes)


def _bias(data: Data, run: Artifact, invalid: Invalid) -> Mapping[str, Any] | None:
    usual = evaluations(data, run, [], invalid)[0]
    bias: Mapping[str, Any] | None = open_artifact(
        usual.path, hint=evaluate_command(data, usual.metrics, invalid)
    ).facts["bias"]
    return bias


def _draw(requests: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Return the requests with the smallest hashes, in the order of the data set."""
    drawn = requests.with_row_index("place").with_columns(
        hash=pl.Series(uniform_hash(seed, requests["request_id"], pl.repeat("report", requests.height, eager=True)))
    )
    return drawn.sort("hash", "place").head(count).sort("place").drop("place", "hash")


def _relevant(data: Data, sample: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    truth = data.artifact.table("truth").filter(pl.col("label") > 0)
    found = truth.join(sample.select("request_id"), on="request_id", how="semi")
    lists = found.group_by("request_id", maintain_order=True).agg("item_id")
    return {name: tuple(items) for name, items in lists.iter_rows()}


def _rankings(
    run: Artifact, sample: pl.DataFrame, relevant: Mapping[str, Sequence[str]], told: Calls
) -> dict[str, Ranked]:
    rows = run.table("rankings").join(sample.select("request_id"), on="request_id", how="semi")
    lists = rows.sort("request_id", "rank").group_by("request_id", maintain_order=True).agg("item_id", "score")
    whole = dict(sample.select("request_id", pl.col("candidates").list.len()).iter_rows())
    found = {}
    for name, items, scores in lists.iter_rows():
        shown = whole[name] or _SHOWN
        ranks = {item_id: rank for rank, item_id in enumerate(items, start=1)}
        calls, asked = told.get(name, ((), 0))
        found[name] = Ranked(
            items=tuple(items[:shown]),
            scores=tuple(scores[:shown]),
            targets={target: ranks.get(target) for target in relevant.get(name, ())},
            calls=calls,
            asked=asked,
        )
    return found


def _shown_items(sampled: Sequence[Sampled]) -> list[str]:
    """Return all items of a sample, each once, in the order of their first appearance."""
    return list(
        dict.fromkeys(
            item_id
            for request in sampled
            for items in (
                request.history,
                request.candidates,
                request.targets,
                *(ranking.items for ranking in request.rankings.values()),
            )
            for item_id in items
        )
    )
