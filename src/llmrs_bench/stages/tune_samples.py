"""Samples for tuning: prompts of the training part with their right answers, rendered as `prompt` renders requests."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from llmrs_bench.core.config import CLICK, RATING
from llmrs_bench.core.errors import DataError, LeakError, OptionError
from llmrs_bench.core.hashing import generator
from llmrs_bench.core.schemas import REQUESTS
from llmrs_bench.core.types import Prompt
from llmrs_bench.data.candidates import CandidatePool
from llmrs_bench.data.training_part import in_order_of_samples, possible_targets
from llmrs_bench.llm.clipping import clip
from llmrs_bench.llm.tokenization import Ids, Job, PromptReader
from llmrs_bench.llm.tuning import Sample
from llmrs_bench.prompts.frames import read_views
from llmrs_bench.prompts.leakage import check_views
from llmrs_bench.prompts.strategies.base import HasAnswers, written
from llmrs_bench.prompts.strategies.yes_no import YesNo
from llmrs_bench.recommenders.training import as_validated
from llmrs_bench.stages.conversation import question
from llmrs_bench.stages.prompt import PromptPlan, check_task, open_catalog
from llmrs_bench.stages.prompt_variants import ViewBuilder
from llmrs_bench.stages.workspace import Data

_HINT = "Choose label, likelihood, listwise or yes-no, or `like` for clicks."


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, whose choices hold the right answer, that answer, and whether the item asked about is the target."""

    prompt: Prompt
    answer: str
    target: str
    label: bool


@dataclass
class Examples:
    """Examples of one part, and what was counted while they were made."""

    examples: list[Example]
    facts: Counter[str] = field(default_factory=Counter)
    rules: tuple[str, ...] = ()


def check_tunable(data: Data, plan: PromptPlan) -> None:
    """Refuse a template without an answer form, and options that show what training events do not have.

    Raises:
        OptionError: Naming what does not fit.
    """
    if data.task == RATING:
        raise OptionError(
            f"models are not tuned on ratings, and {data.place.reference} was prepared with --task {RATING}",
            hint="Tune on rankings or on clicks (prepare --task click); or ask models as they are: infer -t stars.",
        )
    check_task(data, plan)
    if not isinstance(plan.template, HasAnswers) or plan.template.rounds:
        raise OptionError(
            f"template {plan.name} does not define the right answer to its prompts, so no model can be tuned on it",
            hint=_HINT,
        )
    views = plan.views
    idle = {
        "interest_run": views.interest_run,
        "notes_run": views.notes_run,
        "scores_run": views.scores_run,
        "past": views.past != "own",
    }
    if chosen := [name for name, given in idle.items() if given]:
        raise OptionError(
            f"{chosen[0]} applies to test requests, and has no effect on training samples", hint="Leave it out."
        )
    if views.examples_of is not None:
        raise OptionError(
            f"shots_from={views.shots_from} shows examples of another data set, and a model is tuned on one alone",
            hint="Use -T shots_from=similar; or tune without examples, and ask the tuned model with them (infer).",
        )
    if views.several:
        raise OptionError(
            "orders, samples and slots have no effect on `tune`: it shows a sample once", hint="Leave them out."
        )


class SampleMaker:
    """Makes examples of one data set and template for one model.

    Args:
        data: The prepared data set.
        plan: The template.
        history: How many of the latest items are shown.
        reader: Of the model: what a prompt is in tokens.
        end: The token that ends an answer.
        context: The most tokens of a prompt and its answer.
        limit: The most tokens that the model takes at all, where that is known.
        seed: Of the choice of training events and of their candidates; those of validation follow that of the data.
    """

    def __init__(
        self,
        data: Data,
        plan: PromptPlan,
        *,
        history: int,
        reader: PromptReader,
        end: Ids,
        context: int,
        seed: int,
        limit: int | None = None,
    ) -> None:
        self.data = data
        self.plan = plan
        self.history = history
        self.reader = reader
        self.end = end
        self.context = context
        self.seed = seed
        self.limit = limit
        self._catalog = open_catalog(data, plan)

    @property
    def asks_one(self) -> bool:
        """Whether a prompt asks about one item."""
        return isinstance(self.plan.template, YesNo)

    def size(self, part: str) -> int:
        """Return how many events of the part `train`, or labelled ones of a part, there are examples of."""
        if self.data.task == CLICK:
            return self.data.artifact.table("samples").filter(pl.col("part") == part).height
        return possible_targets(self.data.artifact.table("interactions"), part).height

    def make(self, part: str, count: int, *, epoch: int = 0) -> Examples:
        """Return at most `count` examples of the part `train` or `valid`, the head of one seeded permutation of all.

        In another epoch they are of the same events, with candidates drawn again and in a new order.

        Raises:
            DataError: If the part has no event with a history.
            LeakError: If a held-out event is in one of them.
            EngineError: If a prompt does not fit even without history.
        """
        rows, rules = self._click_rows(part) if self.data.task == CLICK else self._ranked_rows(part, count, epoch)
        rows = rows.head(count)
        catalog, template = self._catalog, self.plan.template
        titles = {item_id: item.title for item_id, item in catalog.items.items()}
        truth = rows.select("request_id", "item_id", "label")
        viewer = ViewBuilder(
            self.data,
            self.plan.views,
            history=self.history,
            rated=self.plan.rated(self.data.task),
            interest={},
            notes={},
        )
        with closing(viewer):
            views = viewer.views(rows.drop("item_id", "label"))
        made = Examples([], rules=rules)
        made.facts["history_holds_target"] = check_views(views, truth, titles)
        known = {row[0]: (row[1], row[2] > 0) for row in truth.iter_rows()}
        asked = [
            question(
                request, written(template, request, catalog, history=self.history), (), template, catalog, self.history
            )
            for request in read_views(views)
        ]
        questions = [
            replace(one, prompts=self._told(one.prompts, known), render=self._telling(one.render, known))
            for one in asked
        ]
        for clipped in clip(questions, self, hint=self._shorter):
            target, label = known[clipped.prompt.request_id]
            answer = self._answer(clipped.prompt, target, label)
            made.examples.append(Example(clipped.prompt, answer, target, label))
            made.facts.update(n_truncated=clipped.lost > 0, without_attributes=clipped.without_attributes, yes=label)
        return made

    def sample(self, example: Example) -> Sample:
        """Return an example as tokens."""
        job = self.reader.read(example.prompt)
        place = (example.prompt.choices or ()).index(example.answer)
        return Sample(example.prompt.prompt_id, job.tokens.prefix, job.tokens.suffixes[place] + self.end)

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt with its longest choice and the end of a turn."""
        jobs: list[Job] = [self.reader.read(prompt) for prompt in prompts]
        return [len(job.tokens.prefix) + job.tokens.longest + len(self.end) for job in jobs]

    def _answer(self, prompt: Prompt, target: str, label: bool) -> str:
        assert isinstance(self.plan.template, HasAnswers)
        answer = self.plan.template.answer_of(prompt, {target} if label else ())
        if prompt.mode != "generate" and answer in (prompt.choices or ()):
            return answer
        if answer is None:
            raise OptionError(
                f"template {self.plan.name} has no right answer in the form that it asks for",
                hint="Choose another part, such as -T answer=numbers.",
            )
        return self._lead + answer

    @property
    def _shorter(self) -> str:
        """What helps where a prompt and its answer do not fit."""
        if self.limit is not None and self.context >= self.limit:
            return (
                "The model takes no more: choose a template whose answers are short, such as label, end titles with "
                "-T title_tokens=N, or take another model."
            )
        least = "" if self.limit is None else f", {self.limit:,} at most"
        return (
            f"Raise -O context=N{least}, or end titles with -T title_tokens=N; a template whose answers are short, "
            "such as label, takes less."
        )

    @property
    def _lead(self) -> str:
        """What stands between a prompt and a written answer: nothing where a turn of the chat begins with it."""
        chat = self.reader.chat is not False and self.reader.tokenizer.chat_template is not None
        return "" if chat or self.reader.encoder_decoder else " "

    def _told(self, prompts: Sequence[Prompt], known: Mapping[str, tuple[str, bool]]) -> list[Prompt]:
        """Give prompts that ask for a text the right one as their only choice."""
        return [
            prompt
            if prompt.choices is not None
            else replace(prompt, choices=(self._answer(prompt, *known[prompt.request_id]),), grammar=None)
            for prompt in prompts
        ]

    def _telling(self, render: Any, known: Mapping[str, tuple[str, bool]]) -> Callable[..., list[Prompt]]:
        return lambda fewer, *, without_attributes=False: self._told(
            render(fewer, without_attributes=without_attributes), known
        )

    def _click_rows(self, part: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Return labelled events in a seeded order, with the columns of requests, `liked`, `item_id` and `label`."""
        rows = self.data.artifact.table("samples").filter(pl.col("part") == part)
        rows = in_order_of_samples(rows, self._seed_of(part)).with_columns(candidates=pl.concat_list("item_id"))
        return self._sound(rows, part), ()

    def _ranked_rows(self, part: str, count: int, epoch: int) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Return `count` events in a seeded order with the user's training events before them, and drawn candidates.

        Candidates are drawn as `prepare` drew those of the test, where it drew them, else at random; none is an item
        that the user has an event with in these data, or is tested on.
        """
        config, seed = self.data.artifact.manifest.config, self._seed_of(part)
        events = self.data.artifact.table("interactions")
        seen = as_validated(events) if part == "valid" else events
        trained, rows = seen.filter(pl.col("part") == "train"), possible_targets(seen, part)
        if part == "valid":
            rows = rows.unique("user_id", keep="first", maintain_order=True)
        rows = in_order_of_samples(rows.with_columns(cutoff="timestamp"), seed).head(count)
        sequences = dict(trained.group_by("user_id", maintain_order=True).agg("item_id").iter_rows())
        known = dict(events.group_by("user_id").agg("item_id").iter_rows())
        weights = None
        if config["candidates"] == "popularity":
            weights = dict(events.group_by("item_id").len().iter_rows())
        pool = CandidatePool(self.data.artifact.table("items")["item_id"], weights)
        size, held = int(config["n_candidates"]), self._held
        histories, lists, labels = [], [], []
        for request_id, user, item, place in rows.select("request_id", "user_id", "item_id", "place").iter_rows():
            rng = generator(seed, "candidates", request_id, *([epoch] if epoch else []))
            drawn = pool.draw(user, size - 1, {*known[user], *held.get(user, ())}, rng)
            shown = [item, *drawn]
            if self.asks_one:  # half of them about the target
                labels.append(not drawn or rng.random() < 0.5)
                shown = [item] if labels[-1] else drawn[:1]
            histories.append(sequences[user][:place])
            lists.append([shown[at] for at in rng.permutation(len(shown))])
        rows = rows.with_columns(
            pl.Series("history", histories, dtype=pl.List(pl.String)),
            pl.Series("candidates", lists, dtype=pl.List(pl.String)),
            label=pl.Series(labels or [True] * len(lists), dtype=pl.Boolean).cast(pl.Float32),
        )
        same = config["candidates"] in ("random", "popularity")
        rule = f"candidates of samples are drawn {config['candidates'] if same else 'random'}"
        return self._sound(rows, part), (() if same else (f"{rule}, those of the test are {config['candidates']}",))

    def _seed_of(self, part: str) -> int:
        return self.seed if part == "train" else self.data.tie_seed

    @property
    def _held(self) -> dict[str, list[str]]:
        """User to the items that are tested: read to keep them out of samples."""
        requests = self.data.artifact.table("requests").filter(pl.col("part") == "test").select("request_id", "user_id")
        rows = self.data.artifact.table("truth").join(requests, on="request_id")
        return dict(rows.group_by("user_id").agg("item_id").iter_rows())

    def _sound(self, rows: pl.DataFrame, part: str) -> pl.DataFrame:
        """Return rows with the columns that views are made of, after a look for held-out events.

        Raises:
            DataError: If there are none.
            LeakError: Naming the first sample that holds an event of its user that is tested, or is for validation.
        """
        if rows.is_empty():
            raise DataError(
                f"{self.data.place.reference} has no event of the part {part} whose user has earlier events",
                hint="Prepare more data, or filter it less.",
            )
        held = {(user, item) for user, items in self._held.items() for item in items}
        if part == "train":
            valid = self.data.artifact.table("interactions").filter(pl.col("part") == "valid")
            held |= set(valid.select("user_id", "item_id").iter_rows())
        twice = self.data.artifact.manifest.config.get("repeats") == "all"  # the same item may be another event
        for row in rows.select("request_id", "user_id", "item_id", "history", "candidates").iter_rows(named=True):
            told = {row["item_id"], *row["candidates"], *([] if twice else row["history"])}
            if found := next((item for item in told if (row["user_id"], item) in held), None):
                raise LeakError(
                    f"sample {row['request_id']!r} contains item {found!r}, which is a test or validation target of "
                    "its user",
                    hint="Report this: samples are made of training events alone.",
                )
        liked = ["liked"] if "liked" in rows.columns else []
        return rows.select(*REQUESTS, *liked, "item_id", "label")
