"""Ranking requests: sampled users, their history, and their candidate lists."""

from bisect import bisect_left
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrs_bench.core.config import IMPRESSIONS, LISTS, MODELS, WHOLE, PrepareConfig
from llmrs_bench.core.environment import expanded
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.hashing import generator
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.schemas import REQUESTS, TRUTH
from llmrs_bench.data.codes import distinct
from llmrs_bench.data.files import BROKEN, GB, require_file, unpack
from llmrs_bench.data.split import WHOLE_SECONDS, Split

SAMPLERS = ("random", "popularity", WHOLE, IMPRESSIONS, "file:PATH", "model:NAME")
ROUNDS = 8
LAYOUT = "A line is a user id, a tab, and item ids with spaces between them, or with tabs where ids hold spaces."


class Negatives(Protocol):
    """Names the items that stand beside a target."""

    def draw(self, user_id: str, count: int, banned: Collection[str], rng: np.random.Generator) -> list[str]:
        """Return at most `count` distinct items of the catalogue, none of them in `banned`."""
        ...


def _distinct(ids: Iterable[str]) -> pl.Series:
    """Return each id once, in the order of their first places."""
    names = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
    return distinct(names)


class CandidatePool:
    """Draws from a catalogue without replacement, each next item in proportion to its weight.

    Items of weight zero are never drawn. Draws of whole numbers with rejection keep this exact and make
    its cost independent of the size of the catalogue, unless most of it is needed.

    Args:
        ids: The catalogue; its order does not matter.
        weights: Whole numbers by id, an absent one is 0; None is the same weight for all.
    """

    def __init__(self, ids: Iterable[str], weights: Mapping[str, int] | None = None) -> None:
        names: list[str] = _distinct(ids).sort().to_list()  # as Python sorts them: by code points
        self.ids = names if weights is None else [name for name in names if weights.get(name, 0) > 0]
        self.weights: npt.NDArray[np.int64] = np.ones(len(self.ids), dtype=np.int64)
        if weights is not None:
            self.weights[:] = [weights[name] for name in self.ids]
        self.ends = np.cumsum(self.weights)

    def draw(self, user_id: str, count: int, banned: Collection[str], rng: np.random.Generator) -> list[str]:
        """Return `count` items, or all that are not banned where there are fewer, in the order drawn."""
        places = ((name, bisect_left(self.ids, name)) for name in banned)
        out = {at for name, at in places if self.ids[at : at + 1] == [name]}
        free = len(self.ids) - len(out)
        chosen = self._rejection(count, out, rng) if 0 < 4 * count <= free else []
        if len(chosen) < count:
            chosen += self._rest(count - len(chosen), out.union(chosen), rng)
        return [self.ids[at] for at in chosen]

    def _rejection(self, count: int, out: set[int], rng: np.random.Generator) -> list[int]:
        chosen: dict[int, None] = {}
        for _ in range(ROUNDS):
            draws = rng.integers(int(self.ends[-1]), size=2 * (count - len(chosen)) + 8)
            for at in np.searchsorted(self.ends, draws, side="right").tolist():
                if at not in out and len(chosen) < count:
                    chosen[at] = None
            if len(chosen) == count:
                break
        return list(chosen)

    def _rest(self, count: int, out: set[int], rng: np.random.Generator) -> list[int]:
        """Draw from what is left at once: the smallest of exponential times with rates `weights`."""
        left = np.delete(np.arange(len(self.ids)), sorted(out))
        times = rng.exponential(size=left.size) / self.weights[left]
        first: list[int] = left[np.argsort(times, kind="stable")[:count]].tolist()
        return first


class Replay:
    """Takes a user's list from a file in its order, without items that are unknown, banned or repeated.

    Args:
        lists: Item ids by user.
        catalogue: The known items.
    """

    def __init__(self, lists: Mapping[str, Sequence[str]], catalogue: Iterable[str]) -> None:
        known = frozenset(catalogue)
        self.lists = {user: [item for item in items if item in known] for user, items in lists.items()}
        self.unknown_dropped = sum(map(len, lists.values())) - sum(map(len, self.lists.values()))

    def draw(self, user_id: str, count: int, banned: Collection[str], rng: np.random.Generator) -> list[str]:
        """Return the first `count` usable items of the user's list."""
        usable = dict.fromkeys(item for item in self.lists.get(user_id, ()) if item not in banned)
        return list(usable)[:count]


def sampler_file(name: str) -> Path | None:
    """Return the path of a sampler `file:PATH`, None for the other samplers.

    Raises:
        OptionError: If there is no such sampler, or the path is empty.
    """
    kind, colon, path = name.partition(":")
    if kind == "file" and colon:
        if not path:
            raise OptionError(f"candidates {name!r} names no file", hint=f"Write file:PATH. {LAYOUT}")
        return expanded(path)
    if name not in SAMPLERS[:4] and not (kind == "model" and path):
        raise unknown_name("candidate sampler", name, list(SAMPLERS))
    return None


def read_lists(path: Path, limit: int | None = None) -> dict[str, list[str]]:
    """Return item ids by user from lines `user<TAB>id id id`, plain or `.gz`.

    Where a line of the file has a second tab, tabs part the items of every line.

    Args:
        path: The file.
        limit: The most bytes it may unpack to, as `data.files.unpack` says.

    Raises:
        DataError: If the file cannot be read, a line has another form, or a user has two lines.
    """
    require_file(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            lines = unpack(stream, path.name, packed=size, size=size, limit=limit).decode("utf-8-sig").splitlines()
    except (*BROKEN, UnicodeDecodeError) as error:
        raise DataError(f"candidate lists {path} cannot be read: {error}", hint=f"Check the path. {LAYOUT}") from error
    tabs = any(line.rstrip().count("\t") > 1 for line in lines)
    lists: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        user, tab, items = line.partition("\t")
        if not line.strip():
            continue
        if not user.strip() or not tab:
            raise DataError(f"{path}, line {number}: not a list of candidates: {line[:60]!r}", hint=LAYOUT)
        if user in lists:
            raise DataError(f"{path}, line {number}: a second list of user {user!r}", hint="Keep one line per user.")
        lists[user] = [item.strip() for item in items.split("\t") if item.strip()] if tabs else items.split()
    return lists


def begins_with_mark(path: Path) -> bool:
    """Return whether a plain file begins with the byte order mark of UTF-8."""
    with path.open("rb") as stream:
        return stream.read(len(BOM_UTF8)) == BOM_UTF8


PART = "test"
# Names so many best items of each request, best first, for a frame of requests whose `candidates` are null.
Retrieve = Callable[[pl.DataFrame, int], Mapping[str, list[str]]]


@dataclass(frozen=True)
class Requests:
    """The tables `requests`, `truth`, `conditions` and `draws`, counts of what happened, rules in words, warnings."""

    requests: pl.DataFrame
    truth: pl.DataFrame
    facts: dict[str, int]
    rules: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    conditions: pl.DataFrame | None = None
    draws: pl.DataFrame | None = None


def make_requests(
    split: Split,
    config: PrepareConfig,
    *,
    catalogue: Iterable[str],
    retrieve: Retrieve | None = None,
    seen: pl.DataFrame | None = None,
    draw: int = 0,
) -> Requests:
    """Make the requests of sampled users: order what is held out among other items, given all earlier events.

    A list holds the targets and `n_candidates` - 1 distinct others in random order. They and their order come from a
    generator of (seed, user), or (seed, user, request) where a user may have several, so a list depends neither on
    the other users nor on the order of rows. `random` draws uniformly from the catalogue; `popularity` in proportion
    to an item's number of interactions (train and valid, the held-out events left out), so items without any are never
    drawn; `file:PATH` takes the first ones of a given list; with `model:NAME` these are what `retrieve` names. Lists of
    a model are those the model gives, without knowing the target, unless `force_target` puts it in place of the last
    one. With `all` there are no lists. Unless `include_seen`, a user's history is left out, and what the user has
    `seen` up to the second of the target. Where fewer are available the list is shorter, and counted; a request whose
    list holds its targets alone is dropped, and counted. Samples of more users contain those of fewer.

    Args:
        split: What `leave_one_out` returned.
        config: How many users, which candidates, whether seen items may be among them, the seed.
        catalogue: Ids of the items that have events.
        retrieve: Needed for `model:NAME`; names the best items of each request id, best first, without those of the
            history where these are left out.
        seen: Events beside the split (`user_id`, `item_id`, `timestamp`) of items that the user knew and that count as
            no interaction: rated low, or shown and not chosen.
        draw: Which of several draws of candidates; users and targets are the same.

    Raises:
        OptionError: If there is no such sampler.
        DataError: If no user can be asked, no list leaves a choice, or the file of lists cannot be used.
    """
    pool = _distinct(catalogue)
    candidates, users, size = config.candidates, config.users, config.n_candidates
    facts, warnings = dict[str, int](), tuple[str, ...]()
    able, asked = split.held, distinct(split.held["user_id"])
    held_out = len(asked)
    path = sampler_file(candidates)
    if path is not None:
        limit = None if config.max_unpacked is None else int(config.max_unpacked * GB)
        replay = Replay(read_lists(path, limit), pool)
        able = able.filter(pl.col("user_id").is_in(list(replay.lists)))
        asked = distinct(able["user_id"])
        facts = {
            "unknown_candidates_dropped": replay.unknown_dropped,
            "users_without_list": held_out - len(asked),
            "lists_without_user": len(replay.lists) - len(asked),
        }
        warnings = (*_unknown_words(replay, path, pool), *_unlisted_words(facts["users_without_list"], held_out, path))
    if able.is_empty():
        raise _nobody(candidates, held_out, 0 if seen is None else seen.height, split.interactions)
    chosen = able.filter(pl.col("user_id").is_in(sample_users(asked, users, config.seed)))
    told = split.interactions if split.told is None else split.told
    rows = _with_seen(_with_history(_by_request(chosen), told), None if config.include_seen else seen)
    facts |= {"users_available": len(asked), "requests": rows.height}
    rules = [_source_rule(candidates), *_taken_rule(users, len(asked)), _seen_rule(config, rows)]
    whole, truth = _tables(rows)
    if candidates == WHOLE:
        facts |= {} if config.include_seen else _unreachable(rows)
        return Requests(whole, truth, facts, tuple(rules), conditions=_conditions(rows))
    retrieved = candidates.startswith(MODELS)
    if retrieved:
        if retrieve is None:
            raise TypeError(f"candidates {candidates!r} need retrieve")
        best = retrieve(whole, size + max(map(len, rows["seen"].to_list()), default=0))
        negatives: Negatives = Replay(best, pool)
    else:
        negatives = _pool(candidates, pool, split) if path is None else replay
    with_target = not retrieved or config.force_target
    lists = _lists(rows, negatives, config, with_target=with_target, by_request=retrieved, draw=draw)
    if retrieved:
        facts |= {
            "targets_retrieved": _holding(rows, [best[name][:size] for name in rows["request_id"]]),
            "targets_in_lists": _holding(rows, lists),
        }
        rules.append(
            "the target takes the place of a list's last item where it was not retrieved"
            if config.force_target
            else "a list holds the target only where it was retrieved; elsewhere every ranking of it scores 0"
        )
    elif config.target == "all":
        rules.append(f"a list holds all targets of its request and {size - 1} other items")
    choice = _choice(rows, lists, warnings, config)
    if alone := choice.len() - int(choice.sum()):
        facts |= {"lists_without_choice_dropped": alone, "requests": choice.len() - alone}
        warnings = (*warnings, f"{alone:,} of {choice.len():,} lists hold the target alone: their users are not tested")
        rows, lists = rows.filter(choice), list(compress(lists, choice))
        whole, truth = _tables(rows)
    facts["short_lists"] = _short(rows, lists, config)
    if facts["short_lists"]:
        rules.append(f"a list is shorter than {size} where fewer items are available")
    whole = whole.with_columns(pl.Series("candidates", lists, dtype=pl.List(pl.String)))
    return Requests(whole, truth, facts, tuple(rules), warnings, _conditions(rows))


def _short(rows: pl.DataFrame, lists: list[list[str]], config: PrepareConfig) -> int:
    """Count lists that are shorter than asked for; further targets of a request come on top."""
    wanted = config.n_candidates - 1 + (rows["targets"].list.len() if config.target == "all" else 1)
    return int((pl.Series([len(shown) for shown in lists]) < wanted).sum())


def _conditions(rows: pl.DataFrame) -> pl.DataFrame | None:
    """Return the table `conditions` of requests that are in windows; None where there are none."""
    if "window" not in rows.columns or not (rows["window"] > 0).any():
        return None
    return rows.select("request_id", "window", known=pl.lit(None, dtype=pl.Int32))


def _choice(rows: pl.DataFrame, lists: list[list[str]], warnings: Sequence[str], config: PrepareConfig) -> pl.Series:
    """Return which lists hold more than their target.

    Raises:
        DataError: If none does.
    """
    choice = pl.Series([set(shown) != set(targets) for shown, targets in zip(lists, rows["targets"], strict=True)])
    if not choice.any():
        few = f"No other item has fewer than {config.cold_items} training interactions: raise --cold-items."
        unseen = "Other candidates have to be items of the data that the user has not seen; --include-seen allows all."
        if rows["user_id"].n_unique() == 1:
            unseen += " If the data are those of one user, put those of several together."
        raise DataError(
            f"each of the {len(lists):,} lists holds only its target, so there is nothing to choose from"
            + "".join(f"; {words}" for words in warnings),
            hint=unseen if config.cold_items is None else few,
        )
    return choice


def _unlisted_words(count: int, held_out: int, path: Path) -> Iterator[str]:
    if count:
        yield f"{count:,} of {held_out:,} users have no list in {path.name}: they are not tested"


def _unknown_words(replay: Replay, path: Path, pool: pl.Series) -> tuple[str, ...]:
    """Say how many candidates of a file are no items of the data set, and why that may be."""
    unknown, known = replay.unknown_dropped, sum(map(len, replay.lists.values()))
    if not unknown:
        return ()
    spaced = next((item for item in pool if " " in item), None)
    why = "" if spaced is None else f"; ids such as {spaced!r} hold spaces: part the items of a line by tabs"
    return (f"{unknown:,} of {unknown + known:,} candidates in {path} are no items of this data set, and dropped{why}",)


def _taken_rule(wanted: int | Literal["all"], available: int) -> Iterator[str]:
    if wanted != "all" and available < wanted:
        yield f"{wanted} users were asked for, all {available} there are were taken"


def _seen_rule(config: PrepareConfig, rows: pl.DataFrame) -> str:
    if config.include_seen:
        return "items the user has seen may be candidates"
    if config.candidates == WHOLE and rows["seen"].list.len().sum():
        return "items of the user's history are left out; those rated low, or shown and not chosen, are ranked"
    return "items the user has seen are left out"


def _with_seen(rows: pl.DataFrame, seen: pl.DataFrame | None) -> pl.DataFrame:
    """Add the column `seen`: items that the user knew, but for the target, up to the second of the target."""
    if seen is None:
        return rows.with_columns(seen=pl.lit([], dtype=pl.List(pl.String)))
    known = rows.select("user_id", "request_id", "targets", cutoff="timestamp").join(
        seen.select("user_id", "item_id", WHOLE_SECONDS), on="user_id"
    )
    known = known.filter((pl.col("timestamp") <= pl.col("cutoff")) & ~pl.col("targets").list.contains("item_id"))
    lists = known.group_by("request_id").agg(seen=pl.col("item_id").unique().sort())
    return rows.join(lists, on="request_id", how="left", maintain_order="left").with_columns(
        pl.col("seen").fill_null([])
    )


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


def _pool(candidates: str, pool: pl.Series, split: Split) -> CandidatePool:
    if candidates == "random":
        return CandidatePool(pool)
    counts: Mapping[str, int] = dict(split.interactions.group_by("item_id").len().iter_rows())
    return CandidatePool(pool, counts)


def _unreachable(rows: pl.DataFrame) -> dict[str, int]:
    """Count targets that are in their user's history, so that no ranking without seen items can hold them."""
    return {
        "targets_seen_before": rows.select(pl.col("targets").list.set_intersection("history").list.len().sum()).item()
    }


def _holding(rows: pl.DataFrame, lists: list[list[str]]) -> int:
    """Count the requests that have a target in their list."""
    return sum(not set(targets).isdisjoint(shown) for targets, shown in zip(rows["targets"], lists, strict=True))


def _nobody(candidates: str, held: int, passed: int, left: pl.DataFrame) -> DataError:
    if held:
        return DataError(
            f"no user of {candidates.removeprefix('file:')} has a held-out event in the data",
            hint="The lists must use the user ids of the data set, and come from the same one.",
        )
    why = f"; {passed:,} events do not count: rated low, or shown and not chosen" if passed else ""
    single = left["user_id"].n_unique() == left.height
    return DataError(
        f"no user has the three events that a test needs{', but one each' if single and left.height else ''}{why}",
        hint="If a line holds all items of its user, such as "
        f"{left['item_id'][0][:40]!r}, write one event per line; if not, is another column that of the users?"
        if single and left.height and not passed
        else "Lower --min-rating or --k-core, or check the source"
        + (": if its labels are ratings, name them: --columns rating=NAME." if passed else "."),
    )


def sample_users(users: pl.Series, wanted: int | Literal["all"], seed: int) -> list[str]:
    """Return the first `wanted` of a seeded permutation of the sorted users."""
    order = generator(seed, "users").permutation(len(users))
    return users.sort().gather(order if wanted == "all" else order[:wanted]).to_list()


def _by_request(held: pl.DataFrame) -> pl.DataFrame:
    """Return one row per request: its name, user and time, the list `targets`, and what else `Split.held` says."""
    several = "request" in held.columns
    name = pl.concat_str(pl.lit(f"{PART}-"), "user_id", *([pl.lit("-"), pl.col("request")] if several else []))
    named = held.with_columns(request_id=name)
    if not several:
        return named.with_columns(targets=pl.concat_list("item_id")).drop("item_id")
    rest = pl.col("user_id", "timestamp", "request", "before", "window").first()
    return named.group_by("request_id", maintain_order=True).agg(rest, targets="item_id")


def _with_history(rows: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    own = told.join(rows, on="user_id", how="semi", maintain_order="left")
    histories = own.group_by("user_id", maintain_order=True).agg(pl.col("item_id").alias("history"))
    rows = rows.join(histories, on="user_id", how="left", maintain_order="left")
    history = pl.col("history").fill_null([])  # a user may have no event before the target
    return rows.with_columns(history.list.head("before") if "before" in rows.columns else history)


def _lists(
    rows: pl.DataFrame,
    negatives: Negatives,
    config: PrepareConfig,
    *,
    with_target: bool,
    by_request: bool,
    draw: int,
) -> list[list[str]]:
    """Return for each row its shuffled items, the targets among them if they are to be; one generator a request.

    Negatives are those of a request, or of its user.
    """
    several = "request" in rows.columns
    lists = []
    for row in rows.iter_rows(named=True):
        key = (row["user_id"], row["request"]) if several else (row["user_id"],)
        rng = generator(config.seed, "candidates", *key, *(("draw", draw) if draw else ()))
        kept = row["targets"] if with_target else []
        banned = {*kept, *(() if config.include_seen else row["history"]), *row["seen"]}
        count = config.n_candidates - min(len(kept), 1)  # further targets come on top
        shown = [*kept, *negatives.draw(row["request_id" if by_request else "user_id"], count, banned, rng)]
        lists.append([shown[at] for at in rng.permutation(len(shown)).tolist()])
    return lists


def _tables(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the tables `requests`, without lists, and `truth`."""
    requests = rows.select(
        "request_id",
        "user_id",
        pl.lit(PART).alias("part"),
        pl.col("timestamp").alias("cutoff"),
        "history",
        pl.lit(None, dtype=pl.List(pl.String)).alias("candidates"),
    )
    truth = rows.select("request_id", "targets", pl.lit(1.0, dtype=pl.Float32).alias("label"))
    truth = truth.explode("targets").rename({"targets": "item_id"})
    return requests.select(list(REQUESTS)), truth.select(list(TRUTH))
