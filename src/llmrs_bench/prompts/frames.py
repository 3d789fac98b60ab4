"""Frames of requests, prompts and responses to row-level values, and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from llmrs_bench.core.schemas import from_rows
from llmrs_bench.core.types import Example, Item, Listed, Message, Prompt, Request, Response
from llmrs_bench.prompts.sanitize import sanitize_text
from llmrs_bench.prompts.strategies.base import ItemCatalog


def read_catalog(items: pl.DataFrame, item_word: str, scale: Sequence[float] | None = None) -> ItemCatalog:
    """Return the items of a frame of the schema `items`, by id; with a `scale` of ratings if one is given."""
    catalog = ItemCatalog(
        {
            row["item_id"]: Item(
                row["item_id"],
                sanitize_text(row["title"]) or sanitize_text(row["item_id"]),
                sanitize_text(row["text"] or ""),
                row["year"],
                tuple(map(sanitize_text, row["categories"] or ())),
            )
            for row in items.iter_rows(named=True)
        },
        item_word,
    )
    return catalog if scale is None else replace(catalog, scale=tuple(scale))


def read_views(views: pl.DataFrame) -> Iterator[Request]:
    """Yield the rows of a frame of the schema `views`; each is a request whose id is that of the view."""
    for row in views.iter_rows(named=True):
        yield Request(
            row["view_id"],
            row["user_id"],
            tuple(row["history"]),
            tuple(row["candidates"]),
            tuple(row["ratings"]),
            tuple(row["relevant"]),
            tuple(Example(tuple(example["history"]), example["next"]) for example in row["examples"]),
            row["interest"],
            {note["item_id"]: note["text"] for note in row["notes"]},
            row["sample"],
            tuple(row["liked"]),
        )


def write_prompts(prompts: Iterable[Prompt]) -> pl.DataFrame:
    """Return a frame of the schema `prompts`."""
    rows = [
        {
            "prompt_id": prompt.prompt_id,
            "request_id": prompt.request_id,
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "shown": list(prompt.shown),
            "choices": None if prompt.choices is None else list(prompt.choices),
            "labels": prompt.labels,
            "grammar": prompt.grammar,
            "listed": None
            if (listed := prompt.listed) is None
            else {"labels": listed.labels, "titles": listed.titles, "history": listed.history},
            "sample": prompt.sample,
        }
        for prompt in prompts
    ]
    return from_rows("prompts", rows)


def read_prompts(prompts: pl.DataFrame) -> Iterator[Prompt]:
    """Yield the rows of a frame of the schema `prompts`."""
    for row in prompts.iter_rows(named=True):
        yield Prompt(
            row["prompt_id"],
            row["request_id"],
            tuple(Message(message["role"], message["content"]) for message in row["messages"]),
            tuple(row["shown"]),
            None if row["choices"] is None else tuple(row["choices"]),
            row["labels"],
            row["grammar"],
            None if (listed := row["listed"]) is None else Listed(**{name: tuple(listed[name]) for name in listed}),
            row["sample"],
        )


def answer_row(response: Response) -> dict[str, Any]:
    """Return what a response says, as columns of the schema `answers`."""
    return {
        "text": response.text,
        "choice_logprobs": response.choice_logprobs,
        "prompt_tokens": response.prompt_tokens,
        "cached_tokens": response.cached_tokens,
        "completion_tokens": response.completion_tokens,
        "thinking_tokens": response.thinking_tokens,
        "finish_reason": response.finish_reason,
        "least_shown": response.least_shown,
    }


def read_answer(prompt_id: str, row: Mapping[str, Any]) -> Response:
    """Return the response that a row of the schema `answers` or `responses` holds."""
    logprobs = row["choice_logprobs"]
    return Response(
        prompt_id=prompt_id,
        text=row["text"],
        choice_logprobs=None if logprobs is None else tuple(map(tuple, logprobs)),
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        completion_tokens=row["completion_tokens"],
        finish_reason=row["finish_reason"],
        thinking_tokens=row["thinking_tokens"],
        least_shown=row.get("least_shown"),
    )


def responses_frame(asked: Iterable[tuple[Prompt, Mapping[str, Any]]]) -> pl.DataFrame:
    """Return prompts and their answers, rows of the schema `answers`, as a frame of the schema `responses`."""
    rows = [{**row, "prompt_id": prompt.prompt_id, "request_id": prompt.request_id} for prompt, row in asked]
    return from_rows("responses", rows)
