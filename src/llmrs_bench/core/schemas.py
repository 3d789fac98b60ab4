"""Every Parquet table, once: its columns, their types, and what one row is."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llmrs_bench.core.errors import ArtifactError

MESSAGE = pl.Struct({"role": pl.String(), "content": pl.String()})
LISTED = pl.Struct({"labels": pl.List(pl.String()), "titles": pl.List(pl.String()), "history": pl.List(pl.String())})
NOTE = pl.Struct({"item_id": pl.String(), "text": pl.String()})
EXAMPLE = pl.Struct({"history": pl.List(pl.String()), "next": pl.String()})

# One row per item of the catalogue.
ITEMS = pl.Schema(
    {
        "item_id": pl.String(),
        "title": pl.String(),
        "text": pl.String(),
        "year": pl.Int32(),
        "categories": pl.List(pl.String()),
    }
)
# One row per event that models may see, by user and then in the order of time.
INTERACTIONS = pl.Schema(
    {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "timestamp": pl.Int64(),
        "rating": pl.Float32(),
        "part": pl.String(),
    }
)
# One row per ranking task; `history` oldest first, `candidates` in a seeded random order.
REQUESTS = pl.Schema(
    {
        "request_id": pl.String(),
        "user_id": pl.String(),
        "part": pl.String(),
        "cutoff": pl.Int64(),
        "history": pl.List(pl.String()),
        "candidates": pl.List(pl.String()),
    }
)
# Of labelled requests, one row per event that models may learn from: what the user had events with before it,
# oldest first, whether each was liked, and the label of the event, 0 or 1. `cutoff` is its time.
SAMPLES = pl.Schema(
    {
        "request_id": pl.String(),
        "user_id": pl.String(),
        "item_id": pl.String(),
        "part": pl.String(),
        "cutoff": pl.Int64(),
        "history": pl.List(pl.String()),
        "liked": pl.List(pl.Boolean()),
        "label": pl.Float32(),
    }
)
# Of labelled requests, one row per user and item in any history: the user's first rating of it.
RATINGS = pl.Schema({"user_id": pl.String(), "item_id": pl.String(), "rating": pl.Float32()})
# Of labelled requests, one row each: whether each item of its history was liked.
OUTCOMES = pl.Schema({"request_id": pl.String(), "liked": pl.List(pl.Boolean())})
# One row per relevant item of a request; of the tasks `click` and `rating`, one per request: 0 or 1, or the
# rating. Written by prepare, read by evaluate, by nobody else.
TRUTH = pl.Schema({"request_id": pl.String(), "item_id": pl.String(), "label": pl.Float32()})
# One row per request, where a user has several by the protocol: the window of time it is in, from 1, and to how many of
# the newest events its history was cut; null where that is not asked.
CONDITIONS = pl.Schema({"request_id": pl.String(), "window": pl.Int32(), "known": pl.Int32()})
# One row per request, where each is asked with candidates of several draws: which one, from 1, and the request's name
# without it.
DRAWS = pl.Schema({"request_id": pl.String(), "draw": pl.Int32(), "asked": pl.String()})
# One row per event after the cut of `prepare --windows`, but for those of the last window, by user and then in time: a
# recommender that is fitted before a window may learn from those of earlier windows.
LATER_EVENTS = pl.Schema(
    {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "timestamp": pl.Int64(),
        "rating": pl.Float32(),
        "window": pl.Int32(),
    }
)
# One row per model call.
PROMPTS = pl.Schema(
    {
        "prompt_id": pl.String(),
        "request_id": pl.String(),
        "messages": pl.List(MESSAGE),
        "shown": pl.List(pl.String()),
        "choices": pl.List(pl.String()),
        "labels": pl.Boolean(),
        "grammar": pl.String(),
        "listed": LISTED,
        "sample": pl.Int32(),
    }
)
# One row per way in which a request is shown: `view_id` is that of the request unless it is shown in several. `history`
# holds the items that are shown, `ratings` theirs where they are known, `liked` whether each was liked, of the task
# `click` alone, `candidates` the order in which they are shown, `sample` numbers the answers to one prompt.
VIEWS = pl.Schema(
    {
        "view_id": pl.String(),
        "request_id": pl.String(),
        "user_id": pl.String(),
        "history": pl.List(pl.String()),
        "ratings": pl.List(pl.Float32()),
        "liked": pl.List(pl.Boolean()),
        "candidates": pl.List(pl.String()),
        "relevant": pl.List(pl.String()),
        "examples": pl.List(EXAMPLE),
        "interest": pl.String(),
        "notes": pl.List(NOTE),
        "sample": pl.Int32(),
    }
)
# What a model answered to one call. `choice_logprobs` as `types.Response` has them; `n_truncated` counts the items of
# history left out for the model's context, `without_attributes` says whether attributes of items were, too; `seconds`
# and `joules` are the call's share of those of the calls beside it (joules null where they cannot be read); `session`
# says which process asked.
_ANSWER = {
    "text": pl.String(),
    "choice_logprobs": pl.List(pl.List(pl.Float32())),
    "prompt_tokens": pl.Int32(),
    "cached_tokens": pl.Int32(),
    "completion_tokens": pl.Int32(),
    "thinking_tokens": pl.Int32(),
    "finish_reason": pl.String(),
    "n_truncated": pl.Int32(),
    "without_attributes": pl.Boolean(),
    "seconds": pl.Float32(),
    "joules": pl.Float32(),
    "session": pl.String(),
}
# One row per answered call, kept for every run that asks the same model the same again; `key` digests what was asked,
# `least_shown` is as `types.Response` has it.
ANSWERS = pl.Schema({"key": pl.String(), **_ANSWER, "least_shown": pl.Float32()})
# One row per model call of a run.
RESPONSES = pl.Schema({"prompt_id": pl.String(), "request_id": pl.String(), **_ANSWER})
# One row per request and candidate; ranks start at 1; a null score: the model did not rank it.
RANKINGS = pl.Schema({"request_id": pl.String(), "item_id": pl.String(), "rank": pl.Int32(), "score": pl.Float64()})
# Of a recommender that learns, one row per candidate item without a training event; `window` is the one before which it
# was trained, null where it was trained once.
UNSEEN_ITEMS = pl.Schema({"window": pl.Int32(), "item_id": pl.String()})
# One row per view and candidate, where a request is shown in several; `slot` is the candidate's place, from 0.
VIEW_RANKINGS = pl.Schema({**RANKINGS, "view_id": pl.String(), "slot": pl.Int32()})
# One row per request and metric.
METRICS = pl.Schema({"request_id": pl.String(), "metric": pl.String(), "value": pl.Float64()})
# Of the task `click`, one row per request, evaluated: its label, the score that counts (null: left out) and whether the
# run gave none, and the probability that the item is liked, as the model has it and calibrated (null: there is none).
CLICKS = pl.Schema(
    {
        "request_id": pl.String(),
        "user_id": pl.String(),
        "part": pl.String(),
        "label": pl.Float32(),
        "score": pl.Float64(),
        "is_unscored": pl.Boolean(),
        "probability": pl.Float64(),
        "calibrated": pl.Float64(),
    }
)
# Of the task `rating`, one row per request, evaluated: the user's rating, the predicted one that counts (null: left
# out) and whether the run gave none, and the calibrated one (null: there is none).
PREDICTIONS = pl.Schema(
    {
        "request_id": pl.String(),
        "user_id": pl.String(),
        "part": pl.String(),
        "label": pl.Float32(),
        "score": pl.Float64(),
        "is_unscored": pl.Boolean(),
        "calibrated": pl.Float64(),
    }
)
# One row per question of a probe and way to read its answer: the true continuation among others. `control`: behind a
# beginning with another id; `better` have a higher score than the true one, `tied` the same.
PROBES = pl.Schema(
    {
        "probe": pl.String(),
        "reading": pl.String(),
        "subject": pl.String(),
        "control": pl.Boolean(),
        "candidates": pl.Int32(),
        "better": pl.Int32(),
        "tied": pl.Int32(),
    }
)
# One row per verdict of a judge on two explanations of an item, `first` and `second` as they were shown; both orders of
# a pair stand beside each other. `verdict` is `writer`, `against`, `tie`, `same` (both texts are one: nobody was asked)
# or `malformed`, and `margin` the log-odds of the first letter against the second, null where one is not known.
JUDGEMENTS = pl.Schema(
    {
        "request_id": pl.String(),
        "user_id": pl.String(),
        "item_id": pl.String(),
        "writer": pl.String(),
        "against": pl.String(),
        "writer_first": pl.Boolean(),
        "first": pl.String(),
        "second": pl.String(),
        "verdict": pl.String(),
        "margin": pl.Float64(),
    }
)

TABLES: dict[str, pl.Schema] = {
    "items": ITEMS,
    "interactions": INTERACTIONS,
    "requests": REQUESTS,
    "samples": SAMPLES,
    "outcomes": OUTCOMES,
    "ratings": RATINGS,
    "truth": TRUTH,
    "conditions": CONDITIONS,
    "draws": DRAWS,
    "later_events": LATER_EVENTS,
    "prompts": PROMPTS,
    "views": VIEWS,
    "view_rankings": VIEW_RANKINGS,
    "answers": ANSWERS,
    "responses": RESPONSES,
    "rankings": RANKINGS,
    "unseen_items": UNSEEN_ITEMS,
    "metrics": METRICS,
    "clicks": CLICKS,
    "predictions": PREDICTIONS,
    "probes": PROBES,
    "judgements": JUDGEMENTS,
}


def from_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return rows as a frame of the schema `name`; through Arrow, which makes lists of lists ten times as fast.

    Raises:
        KeyError: If a row lacks a column.
    """
    from pyarrow import Table, array

    schema = TABLES[name]
    types = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    columns = [array([row[field.name] for row in rows], field.type) for field in types]
    return pl.DataFrame(Table.from_arrays(columns, schema=types), schema=schema)


def check_schema(name: str, frame: pl.DataFrame, *, where: str = "") -> pl.DataFrame:
    """Return `frame` if its columns and types are exactly those of the table `name`.

    Raises:
        ArtifactError: Naming the first column that differs.
    """
    want, have = TABLES[name], frame.schema
    if have == want and list(have) == list(want):
        return frame
    place = f" in {where}" if where else ""
    for column in [*want, *have]:
        if have.get(column) != want.get(column):
            raise ArtifactError(
                f"table {name!r}{place}: column {column!r} is {have.get(column, 'missing')}, expected "
                f"{want.get(column, 'no such column')}",
                hint="It was written by another version or edited by hand: delete its folder and run the stage again.",
            )
    raise ArtifactError(
        f"table {name!r}{place}: columns are in the order {list(have)}, expected {list(want)}",
        hint="Delete its folder and run the stage again.",
    )
