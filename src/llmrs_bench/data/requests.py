"""The ranking tasks of the test: who is asked, about which candidates, after which history."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from llmrs_bench.config import LISTS, MODELS, WHOLE, PrepareConfig
from llmrs_bench.data.candidates import Negatives, Pool, Replay, read_lists, sampler_file
from llmrs_bench.data.split import Split
from llmrs_bench.errors import DataError
from llmrs_bench.hashing import generator
from llmrs_bench.schemas import REQUESTS, TRUTH

PART = "test"
# Names the best items of each request, best first, for a frame of requests whose `candidates` are null.
Retrieve = Callable[[pl.DataFrame], Mapping[str, list[str]]]


@dataclass(frozen=True)
class Requests:
    """The tables `requests` and `truth`, counts of what happened, and the rules in words."""

    requests: pl.DataFrame
    truth: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]


def make_requests(
    split: Split, config: PrepareConfig, *, catalogue: Iterable[str], retrieve: Retrieve | None = None
) -> Requests:
    """Make one request per sampled user: order the held-out item among others, given all earlier events.

    A list holds the target and `n_candidates` - 1 distinct others in random order. They and their order
    come from a generator of (seed, user), so a list depends neither on the other users nor on the order
    of rows. `random` draws uniformly from the catalogue; `popularity` in proportion to an item's number of
    interactions (train and valid, the held-out events left out), so items without any are never drawn;
    `file:PATH` takes the first ones of a given list; with `model:NAME` these are what `retrieve` names. Lists of a
    model are those the model gives, without knowing the target, unless `force_target` puts it in place of the last one.
    With `all` there are no lists. A user's history is left out unless `include_seen`.
    Where fewer are available the list is shorter, and counted. Samples of more users contain those of fewer.

    Args:
        split: What `leave_one_out` returned.
        config: How many users, which candidates, whether seen items may be among them, the seed.
        catalogue: Ids of the items that have events.
        retrieve: Needed for `model:NAME`; names the best items of each request id, best first, without seen ones
            where these are left out.

    Raises:
        OptionError: If there is no such sampler.
        DataError: If no user can be asked, or the file of lists cannot be used.
    """
    pool = list(dict.fromkeys(catalogue))
    candidates, users, size = config.candidates, config.users, config.n_candidates
    facts: dict[str, int] = {}
    able = split.held
    path = sampler_file(candidates)
    if path is not None:
        replay = Replay(read_lists(path), pool)
        facts["unknown_candidates_dropped"] = replay.unknown_dropped
        able = able.filter(pl.col("user_id").is_in(list(replay.lists)))
        facts["users_without_list"] = split.held.height - able.height
        facts["lists_without_user"] = len(replay.lists) - able.height
    if able.is_empty():
        raise _nobody(candidates, split.held.height)
    chosen = able.filter(pl.col("user_id").is_in(_sample(able["user_id"].to_list(), users, config.seed)))
    facts |= {"users_available": able.height, "requests": chosen.height}
    rules = [_source_rule(candidates)]
    if users != "all" and chosen.height < users:
        rules.append(f"{users} users were asked for, all {chosen.height} there are were taken")
    rules.append(
        "items the user has seen may be candidates" if config.include_seen else "items the user has seen are left out"
    )
    rows = _with_history(chosen, split.interactions)
    whole, truth = _tables(rows)
    if candidates == WHOLE:
        facts |= {} if config.include_seen else _unreachable(rows)
        return Requests(whole, truth, facts, tuple(rules))
    retrieved = candidates.startswith(MODELS)
    if retrieved:
        if retrieve is None:
            raise TypeError(f"candidates {candidates!r} need retrieve")
        found = retrieve(whole)
        negatives: Negatives = Replay({user: found[f"{PART}-{user}"] for user in rows["user_id"]}, pool)
    else:
        negatives = _pool(candidates, pool, split) if path is None else replay
    lists = _lists(rows, negatives, config, with_target=not retrieved or config.force_target)
    if retrieved:
        facts["targets_retrieved"] = _holding(rows, [found[f"{PART}-{user}"][:size] for user in rows["user_id"]])
        facts["targets_in_lists"] = _holding(rows, lists)
        rules.append(
            "the target takes the place of a list's last item where it was not retrieved"
            if config.force_target
            else "a list holds the target only where it was retrieved; elsewhere every ranking of it scores 0"
        )
    facts["short_lists"] = sum(len(shown) < size for shown in lists)
    if facts["short_lists"]:
        rules.append(f"a list is shorter than {size} where fewer items are available")
    column = pl.Series("candidates", lists, dtype=pl.List(pl.String))
    return Requests(whole.with_columns(column), truth, facts, tuple(rules))


def _source_rule(candidates: str) -> str:
    if candidates.startswith(LISTS):
        return "candidates are replayed from a file"
    if candidates.startswith(MODELS):
        return f"candidates are the best items of {candidates.removeprefix(MODELS)}, in random order"
    return {
        WHOLE: "the whole catalogue is ranked: all items with events",
        "random": "candidates are drawn uniformly from the items with events",
        "popularity": "candidates are drawn in proportion to their interactions, held-out events left out",
    }[candidates]


def _pool(candidates: str, pool: list[str], split: Split) -> Pool:
    if candidates == "random":
        return Pool(pool)
    counts: Mapping[str, int] = Counter(split.interactions["item_id"].to_list())
    return Pool(pool, counts)


def _unreachable(rows: pl.DataFrame) -> dict[str, int]:
    """Count targets that are in their user's history, so that no ranking without seen items can hold them."""
    return {"targets_seen_before": rows.select(pl.col("history").list.contains(pl.col("item_id")).sum()).item()}


def _holding(rows: pl.DataFrame, lists: list[list[str]]) -> int:
    return sum(target in shown for target, shown in zip(rows["item_id"], lists, strict=True))


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


def _lists(rows: pl.DataFrame, negatives: Negatives, config: PrepareConfig, *, with_target: bool) -> list[list[str]]:
    """Return for each row its shuffled items, the target among them if it is to be; one generator a user."""
    lists = []
    for user, target, history in rows.select("user_id", "item_id", "history").iter_rows():
        rng = generator(config.seed, "candidates", user)
        kept = [target] if with_target else []
        banned = {*kept, *(() if config.include_seen else history)}
        shown = [*kept, *negatives.draw(user, config.n_candidates - len(kept), banned, rng)]
        lists.append([shown[at] for at in rng.permutation(len(shown)).tolist()])
    return lists


def _tables(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the tables `requests`, without lists, and `truth`."""
    request_id = pl.concat_str(pl.lit(f"{PART}-"), "user_id").alias("request_id")
    requests = rows.select(
        request_id,
        "user_id",
        pl.lit(PART).alias("part"),
        pl.col("timestamp").alias("cutoff"),
        "history",
        pl.lit(None, dtype=pl.List(pl.String)).alias("candidates"),
    )
    truth = rows.select(request_id, "item_id", pl.lit(1.0, dtype=pl.Float32).alias("label"))
    return requests.select(list(REQUESTS)), truth.select(list(TRUTH))
