"""The prompts of a data set, block by block, and the rounds of question and answer that a template makes of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.environment import prints_on_stderr
from llmrs_bench.core.errors import ArtifactError, EngineError
from llmrs_bench.core.schemas import VIEWS
from llmrs_bench.core.types import UNANSWERED, Prompt, Request
from llmrs_bench.llm.cache import ResponseCache
from llmrs_bench.llm.clipping import Question
from llmrs_bench.llm.generate import CachedGenerator
from llmrs_bench.prompts.frames import read_answer, read_prompts, read_views
from llmrs_bench.prompts.strategies.base import Exchange, ItemCatalog, PromptStrategy, written
from llmrs_bench.stages.prompt import BLOCK
from llmrs_bench.stages.serving import OpenEngine, Served
from llmrs_bench.stages.workspace import Data

Row = dict[str, Any]
Ask = Callable[[Sequence[Question]], Mapping[str, Row]]
_TOGETHER = 256  # questions that are asked together


@dataclass(frozen=True, slots=True)
class RequestBlock:
    """Some requests, as a frame of the schema `requests`, their views, and the first prompts of each view by its id."""

    requests: pl.DataFrame
    views: pl.DataFrame
    prompts: Mapping[str, Sequence[Prompt]]

    @property
    def several(self) -> bool:
        """Whether requests are shown in several views."""
        return self.views["view_id"].to_list() != self.requests["request_id"].to_list()


@dataclass(frozen=True, slots=True)
class Conversation:
    """All that was asked about one request and answered, in order, and the answers as rows of the schema `answers`."""

    exchanges: list[Exchange] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add(self, prompt: Prompt, row: Row) -> None:
        """Add a prompt and its answer."""
        self.exchanges.append((prompt, read_answer(prompt.prompt_id, row)))
        self.rows.append(row)


@contextmanager
def answering(
    store: ResponseCache, served: Served, config: LanguageModelConfig, engines: OpenEngine | None
) -> Iterator[CachedGenerator]:
    """Open what answers questions from a store, and asks an engine for what is not there.

    Args:
        store: The answers that are kept.
        served: What answers.
        config: Its options, by which prices are counted.
        engines: Holds the engine, and says what may be spent; None: it is closed at the end.

    Raises:
        OptionError: If money may be spent and no price is known.
    """
    with prints_on_stderr(), closing(OpenEngine()) if engines is None else nullcontext(engines) as opened:
        opened.budget.check_prices(config.options)
        spend = partial(opened.budget.spend, options=config.options)
        yield CachedGenerator(store, partial(opened.start, served), spend=spend, begin=opened.budget.begin)


def request_blocks(data: Data, prompts: Artifact, limit: int | None = None) -> Iterator[RequestBlock]:
    """Yield all requests and their first prompts, `BLOCK` requests at a time, in the order of the data set.

    Args:
        data: The prepared data set.
        prompts: The prompts of all its requests.
        limit: Yield the first requests of a seeded order alone.

    Raises:
        ArtifactError: If the prompts are not those of these requests.
    """
    asked = chain.from_iterable(map(read_prompts, prompts.parts("prompts", BLOCK)))
    written = groupby(asked, key=lambda prompt: prompt.request_id)
    waiting = next(written, None)
    parts, views = prompts.parts("views", BLOCK), pl.DataFrame(schema=VIEWS)
    chosen = None if limit is None else data.first_requests(limit).implode()
    for requests in data.artifact.parts("requests", BLOCK):
        names = requests["request_id"].implode()
        while (count := int(views["request_id"].is_in(names).sum())) == views.height:
            if (more := next(parts, None)) is None:
                break
            views = pl.concat([views, more])
        told, views = views[:count], views[count:]
        found: dict[str, Sequence[Prompt]] = {}
        for view_id in told["view_id"]:
            if waiting is not None and waiting[0] == view_id:
                found[view_id] = list(waiting[1])
                waiting = next(written, None)
        if chosen is None:
            yield RequestBlock(requests, told, found)
        elif (part := requests.filter(pl.col("request_id").is_in(chosen))).height:
            views_left = told.filter(pl.col("request_id").is_in(chosen))
            yield RequestBlock(part, views_left, {name: found[name] for name in views_left["view_id"] if name in found})
    if waiting is not None:
        raise ArtifactError(
            f"{prompts.path} has prompts for request {waiting[0]!r}, which is not in that place in the data",
            hint=f"Delete {prompts.path} and run `llmrs-bench prompt` again.",
        )


def run_rounds(
    block: RequestBlock, template: PromptStrategy, catalog: ItemCatalog, *, history: int, ask: Ask
) -> dict[str, Conversation]:
    """Ask the prompts of a block, and whatever the template wants to know after that, until it has no question left."""
    requests = {view.request_id: view for view in read_views(block.views)}
    conversations = {request_id: Conversation() for request_id in requests}
    waiting = dict(block.prompts)
    while waiting:
        rows = ask(
            [
                question(requests[name], waiting[name], conversations[name].exchanges, template, catalog, history)
                for name in waiting
            ]
        )
        for name, prompts in waiting.items():
            for prompt in prompts:
                conversations[name].add(prompt, rows[prompt.prompt_id])
        following = {
            name: written(template, requests[name], catalog, history=history, asked=conversations[name].exchanges)
            for name in (waiting if template.rounds else ())
        }
        waiting = {name: prompts for name, prompts in following.items() if prompts}
    return conversations


def question(
    request: Request,
    prompts: Sequence[Prompt],
    asked: Sequence[Exchange],
    template: PromptStrategy,
    catalog: ItemCatalog,
    history: int,
) -> Question:
    """Return the next prompts of a request, and how to write them with less of it."""
    before = tuple(asked)

    def render(fewer: int, *, without_attributes: bool = False) -> Sequence[Prompt]:
        told = replace(catalog, attributes=False) if without_attributes else catalog
        return written(template, request, told, history=fewer, asked=before)

    return Question(
        prompts, min(history, len(request.history)), render, attributes=template.prompt_template.uses("about", "text")
    )


def ask_each(generator: CachedGenerator, questions: Sequence[Question], what: str) -> Iterator[tuple[str, Row]]:
    """Yield the answer to each prompt of questions that do not depend on each other, by its id.

    Args:
        generator: Answers them.
        questions: All of them.
        what: What needs them, for the message.

    Raises:
        EngineError: If a server leaves one without an answer.
    """
    for start in range(0, len(questions), _TOGETHER):
        part = questions[start : start + _TOGETHER]
        generator.turn_to(sum(len(question.prompts) for question in part))
        rows = generator.ask(part)
        if any(row["finish_reason"] == UNANSWERED for row in rows.values()):
            raise EngineError(
                f"the server did not answer a prompt, and {what} needs all of its answers",
                hint="Run the same command again: answers so far are kept.",
            )
        yield from rows.items()
