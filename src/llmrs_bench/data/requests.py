"""The ranking tasks of the test: who is asked, about which candidates, after which history."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from llmrs_bench.data.candidates import Negatives, Pool, Replay, read_lists, sampler_file
from llmrs_bench.data.split import Split
from llmrs_bench.errors import DataError
from llmrs_bench.hashing import generator
from llmrs_bench.schemas import REQUESTS, TRUTH

PART = "test"


@dataclass(frozen=True)
class Requests:
    """The tables `requests` and `truth`, counts of what happened, and the rules in words."""

    requests: pl.DataFrame
    truth: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]


def make_requests(
    split: Split,
    *,
    catalogue: Iterable[str],
    users: int | Literal["all"],
    candidates: str,
    n_candidates: int,
    include_seen: bool,
    seed: int,
) -> Requests:
    """Make one request per sampled user: order the held-out item among others, given all earlier events.

    A list holds the target and `n_candidates` - 1 distinct others in random order. They and their order
    come from a generator of (seed, user), so a list depends neither on the other users nor on the order
    of rows. `random` draws uniformly from the catalogue; `popularity` in proportion to an item's number of
    interactions (train and valid, the held-out events left out), so items without any are never drawn;
    `file:PATH` takes the first ones of a given list. A user's history is left out unless `include_seen`.
    Where fewer are available the list is shorter, and counted. Samples of more users contain those of fewer.

    Args:
        split: What `leave_one_out` returned.
        catalogue: Ids of the items that have events.
        users: How many users to sample among those with a held-out event, or "all".
        candidates: `random`, `popularity` or `file:PATH`.
        n_candidates: Length of a list, the target included.
        include_seen: Whether items of the user's history may be candidates.
        seed: Of the sample of users and of all lists.

    Raises:
        OptionError: If there is no such sampler.
        DataError: If no user can be asked, or the file of lists cannot be used.
    """
    pool = list(dict.fromkeys(catalogue))
    negatives, facts, rules = _negatives(candidates, pool, split)
    able = split.held
    if isinstance(negatives, Replay):
        able = able.filter(pl.col("user_id").is_in(list(negatives.lists)))
        facts["users_without_list"] = split.held.height - able.height
        facts["lists_without_user"] = len(negatives.lists) - able.height
    if able.is_empty():
        raise _nobody(candidates, split.held.height)
    chosen = able.filter(pl.col("user_id").is_in(_sample(able["user_id"].to_list(), users, seed)))
    facts |= {"users_available": able.height, "requests": chosen.height}
    if users != "all" and chosen.height < users:
        rules.append(f"{users} users were asked for, all {chosen.height} there are were taken")
    rows = _with_history(chosen, split.interactions)
    lists = _lists(rows, negatives, n_candidates, include_seen, seed)
    facts["short_lists"] = sum(len(shown) < n_candidates for shown in lists)
    if facts["short_lists"]:
        rules.append(f"a list is shorter than {n_candidates} where fewer items are available")
    rules.append(
        "items the user has seen may be candidates" if include_seen else "items the user has seen are left out"
    )
    return Requests(*_tables(rows, lists), facts, tuple(rules))


def _negatives(name: str, pool: list[str], split: Split) -> tuple[Negatives, dict[str, int], list[str]]:
    path = sampler_file(name)
    if path is not None:
        replay = Replay(read_lists(path), pool)
        return replay, {"unknown_candidates_dropped": replay.unknown_dropped}, ["candidates are replayed from a file"]
    if name == "random":
        return Pool(pool), {}, ["candidates are drawn uniformly from the items with events"]
    counts: Mapping[str, int] = Counter(split.interactions["item_id"].to_list())
    return (
        Pool(pool, counts),
        {},
        ["candidates are drawn in proportion to their interactions, held-out events left out"],
    )


def _nobody(candidates: str, held: int) -> DataError:
    if held:
        return DataError(
            f"no user of {candidates.removeprefix('file:')} has a held-out event in the data",
            hint="The lists must use the user ids of the data set, and come from the same one.",
        )
    return DataError(
        "no user has the three events that a test needs", hint="Lower --min-rating or --k-core, or check the source."
    )


def _sample(users: list[str], wanted: int | Literal["all"], seed: int) -> list[str]:
    """Return the first `wanted` of a seeded permutation of the sorted users."""
    names = sorted(users)
    order = generator(seed, "users").permutation(len(names)).tolist()
    return [names[at] for at in (order if wanted == "all" else order[:wanted])]


def _with_history(chosen: pl.DataFrame, interactions: pl.DataFrame) -> pl.DataFrame:
    histories = interactions.group_by("user_id", maintain_order=True).agg(pl.col("item_id").alias("history"))
    return chosen.join(histories, on="user_id", how="left", maintain_order="left")


def _lists(rows: pl.DataFrame, negatives: Negatives, size: int, include_seen: bool, seed: int) -> list[list[str]]:
    """Return for each row the shuffled target and the items beside it; one generator a user."""
    lists = []
    for user, target, history in rows.select("user_id", "item_id", "history").iter_rows():
        rng = generator(seed, "candidates", user)
        banned = {target} if include_seen else {target, *history}
        shown = [target, *negatives.draw(user, size - 1, banned, rng)]
        lists.append([shown[at] for at in rng.permutation(len(shown)).tolist()])
    return lists


def _tables(rows: pl.DataFrame, lists: list[list[str]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    request_id = pl.concat_str(pl.lit(f"{PART}-"), "user_id").alias("request_id")
    requests = rows.select(
        request_id,
        "user_id",
        pl.lit(PART).alias("part"),
        pl.col("timestamp").alias("cutoff"),
        "history",
        pl.Series("candidates", lists, dtype=pl.List(pl.String)),
    )
    truth = rows.select(request_id, "item_id", pl.lit(1.0, dtype=pl.Float32).alias("label"))
    return requests.select(list(REQUESTS)), truth.select(list(TRUTH))
