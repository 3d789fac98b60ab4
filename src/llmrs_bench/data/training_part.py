"""Which part of the training data a model learns from: a share, some users, or the samples that tuning takes."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from llmrs_bench.core.config import RecommenderConfig, TrainBy
from llmrs_bench.core.errors import DataError
from llmrs_bench.core.hashing import uniform_hash

_NAMES = ("train_fraction", "train_by", "max_users", "train_samples")

# How many training events of its user stand before an event.
_BEFORE = (pl.col("part") == "train").cast(pl.Int64).cum_sum().over("user_id") - (pl.col("part") == "train")


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """A part of the training data, as `RecommenderConfig` asks for it. Of one seed, less is part of more."""

    train_fraction: float = 1.0
    train_by: TrainBy = "users"
    max_users: int | None = None
    train_samples: int | None = None

    @classmethod
    def of(cls, config: RecommenderConfig) -> "TrainingPart":
        """Return the part that was asked for; a share of 1 is the whole, however it is taken."""
        by = config.train_by if config.train_fraction < 1 else "users"
        return cls(config.train_fraction, by, config.max_users, config.train_samples)

    @property
    def typed(self) -> dict[str, Any]:
        """The options that make it less than the whole, by name."""
        return {name: getattr(self, name) for name in _NAMES if getattr(self, name) != getattr(WHOLE, name)}

    @property
    def identity(self) -> dict[str, Any]:
        """What it adds to a fingerprint: the words of earlier versions for what these could ask for, too."""
        each = self.train_by == "each-user"
        return {
            "train_fraction": 1.0 if each else self.train_fraction,
            "max_users": self.max_users,
            **({"event_fraction": self.train_fraction} if each else {}),
            **({"train_by": self.train_by} if self.train_by in ("time", "events") else {}),
            **({"train_samples": self.train_samples} if self.train_samples is not None else {}),
        }

    def take(self, events: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Return the rows of a table of events to learn from, of `interactions` or `samples`, in its order.

        First `max_users` users at most, then a share of their events. By `users` it is whole users, in a seeded order,
        until the share is reached; by `each-user` events of each user with the smallest seeded hashes; by `events` the
        same of all users together; by `time` the earliest, those of one second in the order of the hashes. But for
        whole users the share is taken of each part (`train`, `valid`), rounded up.

        Raises:
            DataError: If the share is one in time, and all training events are of one time.
        """
        events = self._of_users(events, seed)
        if self.train_by == "users":
            return events
        time = "timestamp" if "timestamp" in events.columns else "cutoff"
        if self.train_by == "time":
            _check_times(events.filter(pl.col("part") == "train")[time])
        group = ["user_id", "part"] if self.train_by == "each-user" else ["part"]
        draw = pl.Series("draw", uniform_hash(seed, events["user_id"], events["item_id"]))
        rows = events.select(*dict.fromkeys((*group, time))).with_columns(draw).with_row_index("line")
        rows = rows.sort(*([time] if self.train_by == "time" else []), "draw", "line")
        most = (pl.len().over(group) * self.train_fraction).ceil()
        return events[rows.filter(pl.int_range(pl.len()).over(group) < most)["line"].sort()]

    def _of_users(self, events: pl.DataFrame, seed: int) -> pl.DataFrame:
        share = self.train_fraction if self.train_by == "users" else 1.0
        if share == 1 and self.max_users is None:
            return events
        users = events.group_by("user_id", maintain_order=True).len("events")
        order = users.with_columns(place=pl.Series(uniform_hash(seed, users["user_id"]))).sort("place")
        before = pl.col("events").cum_sum() - pl.col("events")
        kept = order.filter(before < share * len(events)).head(self.max_users or len(order))
        return events.filter(pl.col("user_id").is_in(kept["user_id"].implode()))


WHOLE = TrainingPart()


def in_order_of_samples(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return rows with a `request_id` in the order in which samples are taken of them, which depends on seed and id."""
    draws = pl.Series("draw", uniform_hash(seed, rows["request_id"], pl.repeat("tune", rows.height, eager=True)))
    return rows.with_columns(draws).sort("draw", "request_id").drop("draw")


def possible_targets(interactions: pl.DataFrame, part: str) -> pl.DataFrame:
    """Return the events of a part with a training event of their user before them.

    They have two columns more: `place`, how many there are before them, and a `request_id`.
    """
    name = pl.concat_str(pl.lit(f"{part}-"), "user_id", pl.lit("-"), pl.col("place").cast(pl.String))
    events = interactions.with_columns(place=_BEFORE).with_columns(request_id=name)
    return events.filter((pl.col("part") == part) & (pl.col("place") > 0))


def labelled_samples(samples: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Return the `count` rows of the table `samples` that `tune` takes of the part train, in the order of the table.

    Raises:
        DataError: If there are fewer.
    """
    chosen = in_order_of_samples(samples.filter(pl.col("part") == "train"), seed).head(count)
    _check_count(chosen.height, count)
    return samples.join(chosen, on="request_id", how="semi", maintain_order="left")


def sampled_events(interactions: pl.DataFrame, count: int, seed: int, *, history: int) -> pl.DataFrame:
    """Return what `count` samples of rankings show: as many targets, and of each the newest `history` events before it.

    The targets are those that `tune` takes. Of the users of samples the validation events are there, too;
    where users are held out for validation, those of all of them.

    Raises:
        DataError: If there are fewer.
    """
    targets = in_order_of_samples(possible_targets(interactions, "train"), seed).head(count)
    _check_count(targets.height, count)
    first = (pl.col("place") - history).clip(0)
    shown = targets.select("user_id", place=pl.int_ranges(first, pl.col("place") + 1)).explode("place").unique()
    events = interactions.with_columns(place=_BEFORE).with_row_index("line")
    train = events.filter(pl.col("part") == "train").join(shown, on=["user_id", "place"], how="semi")
    valid = events.filter(pl.col("part") == "valid")
    if valid.join(events.filter(pl.col("part") == "train"), on="user_id", how="semi").height:  # else users are held out
        valid = valid.join(shown, on="user_id", how="semi")
    return interactions[pl.concat([train["line"], valid["line"]]).sort()]


def _check_count(there: int, asked: int) -> None:
    if there < asked:
        raise DataError(
            f"{asked:,} samples were asked for, but the training part has {there:,}",
            hint=f"Write --train-samples {there}, or leave it out to learn from all."
            if there
            else "Prepare more data.",
        )


def _check_times(times: pl.Series) -> None:
    if times.min() == times.max():
        raise DataError(
            f"all {len(times):,} training events are of one time, or have none: no share of them is the earliest",
            hint="--train-by events takes them at random.",
        )
