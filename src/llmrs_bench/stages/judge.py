"""Stage `judge`: a language model says which of two explanations is better, in both orders, without knowing whose."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from math import isnan
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from llmrs_bench.core.artifacts import Artifact, Draft, Recipe, StageResult, get_or_create, open_artifact
from llmrs_bench.core.config import EXPLANATION, LARGEST_SEED, LanguageModelConfig, Options
from llmrs_bench.core.errors import ArtifactError, DataError, EngineError, IncomparableError, OptionError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.option_faults import MOST
from llmrs_bench.core.schemas import from_rows
from llmrs_bench.core.types import Progress, Request
from llmrs_bench.explanations import (
    QUESTION,
    SHUFFLED,
    TEMPLATE,
    Judged,
    Pair,
    Reading,
    agreement,
    ask,
    contests,
    donors,
    mass_of,
    position,
    related,
    template_sentence,
    users_of,
    verdict_of,
)
from llmrs_bench.llm.cache import read_served
from llmrs_bench.llm.clipping import Question
from llmrs_bench.llm.cost import CostCounter
from llmrs_bench.llm.model_aliases import MODEL_ALIASES
from llmrs_bench.prompts.context import word_forms
from llmrs_bench.prompts.frames import read_answer, responses_frame
from llmrs_bench.prompts.parsing.thoughts import spoken
from llmrs_bench.prompts.sanitize import sanitize_text
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.stages.conversation import answering, ask_each
from llmrs_bench.stages.prompt import open_catalog
from llmrs_bench.stages.prompt_variants import read_first_items
from llmrs_bench.stages.serving import OpenEngine, describe, file_name, locate, open_store, serve
from llmrs_bench.stages.workspace import Data, called, leaving_out, open_runs, pick_runs

# Bumped when other questions are asked, or answers are read otherwise.
FORMAT = "1"
_DOUBTFUL = 0.1  # of the probability of the next token on both letters


class JudgeConfig(Options):
    """Which model judges, which runs, and how.

    Args:
        model: The judge.
        engine: What answers for it.
        device: `auto`, `cpu` or `cuda`.
        options: Of the engine.
        runs: Names of runs of the template `explanation`, or how they begin; all, if there are none.
        reading: `labels` reads the probabilities of both letters as the answer; `text` what the judge writes.
        question: What is asked; `{item}` is the word for an item.
        history: How many of the latest items the judge sees; None: as prepared.
        limit: Judge the first of the requests alone, in a seeded order.
        samples: Resamples of users for intervals.
        permutations: Signs of each test.
        seed: Of controls, resamples and tests.
    """

    model: str
    engine: str = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    options: dict[str, str] = Field(default_factory=dict)
    runs: tuple[str, ...] = ()
    reading: Reading = "labels"
    question: str = Field(default=QUESTION, min_length=1, max_length=2000)
    history: int | None = Field(default=None, ge=0, le=MOST)
    limit: int | None = Field(default=None, ge=1, le=MOST)
    samples: int = Field(default=2000, ge=100, le=100_000)
    permutations: int = Field(default=10_000, ge=100, le=1_000_000)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)

    @field_validator("question")
    @classmethod
    def one_line(cls, question: str) -> str:
        """Write a question as one line."""
        return " ".join(question.split())

    @property
    def served(self) -> LanguageModelConfig:
        """The model as `infer` serves it, so that answers are kept beside those of its runs."""
        return LanguageModelConfig(
            model=self.model, engine=self.engine, device=self.device, options=self.options, template="label"
        )


@dataclass(frozen=True, slots=True)
class Contests:
    """What a judge is asked.

    Args:
        writers: The runs.
        pairs: Their pairs, those of a contest beside each other.
        history: How many of the latest items the judge sees.
        written: Writes both prompts of a pair.
    """

    writers: Sequence["Writer"]
    pairs: Sequence[Pair]
    history: int
    written: Any

    @property
    def compared(self) -> list[Pair]:
        """The pairs that are asked about: those of two different texts."""
        return [pair for pair in self.pairs if pair.texts[0] != pair.texts[1]]


@dataclass(frozen=True, slots=True)
class Writer:
    """A run of explanations: its name, and by request the item that is explained, and the text, if there is one."""

    run: Artifact
    name: str
    items: Mapping[str, str]
    texts: Mapping[str, str]


def judge(data: Data, config: JudgeConfig, progress: Progress, *, engines: OpenEngine | None = None) -> StageResult:
    """Make the artifact `judgement` of a model: its verdicts on pairs of explanations, each pair in both orders.

    Each run is held against a template sentence, against its own explanations for other users, and against each of
    the other runs. Answers are kept as those of `infer`, so an interrupted command goes on, and more requests or runs
    ask for the rest alone.

    Args:
        data: The prepared data set.
        config: The options.
        progress: Shows the prompts answered.
        engines: Holds the engine, keeps it open for the next run, and says what may be spent; None: it is closed.

    Raises:
        BudgetError: If what may be spent is; what was answered is kept.
        OptionError: If the engine, an option or a run is unknown, or there are no explanations.
        IncomparableError: If two runs explain different items.
        DataError: If there is no explanation.
        ModelError: If the model cannot be had.
        EngineError: If it fails while it answers, or a server leaves a prompt without an answer.
    """
    asked, found = locate(data, config.served), open_contests(data, config)
    writers, pairs, compared = found.writers, found.pairs, found.compared
    history, written = found.history, found.written
    prompts = [written(pair, history=history) for pair in compared]
    served = serve(data, asked, progress)
    store = open_store(data, served)
    recipe = Recipe(
        "judge",
        f"{file_name(served.label)}-judgement",
        {
            **{"model": served.label, "runs": [writer.run.path.name for writer in writers], "limit": config.limit},
            **{"reading": config.reading, "question": config.question, "history": history, "seed": config.seed},
        },
        {
            "answers": store.fingerprint,
            "requests": data.artifact.digest("requests"),
            "pairs": fingerprint(
                {"all": [[pair.prompt_id(True), *pair.texts] for pair in pairs],
                 "asked": [[[m.content for m in each.messages] for each in both] for both in prompts]}
            ),
            **{writer.run.path.name: writer.run.digest("responses") for writer in writers},
        },
        {"format": FORMAT},
    )  # fmt: skip

    def fill(draft: Draft) -> None:
        questions = [
            Question(both, min(history, len(pair.request.history)), _fewer(written, pair))
            for both, pair in zip(prompts, compared, strict=True)
        ]
        count = 2 * len(questions)
        with progress(f"{served.label}, explanations of {data.place.reference}", count) as step:
            generator.show(step, count)
            try:
                rows = dict(ask_each(generator, questions, "a judgement"))
            except EngineError as error:
                if config.reading == "labels" and "log-probabilities" in error.message:
                    error.hint = "Add --reading text: the verdict is then read from what the judge writes."
                raise
        cost = CostCounter()
        cost.add(responses_frame((each, rows[each.prompt_id]) for both in prompts for each in both), [], requests=count)
        spent = cost.facts(store.sessions(cost.sessions), asked.options)
        draft.write("judgements", from_rows("judgements", list(_verdicts(pairs, rows))))
        known = [read_answer(name, row) for name, row in rows.items() if row["choice_logprobs"] is not None]
        draft.facts.update(
            kind="judgement",
            dataset=data.place.reference,
            model=describe(asked.model, served.label),
            weights=store.served["model"],
            engine=served.engine,
            answers=store.folder.name,
            writers=[_described(data, writer) for writer in writers],
            reading=config.reading,
            question=config.question,
            asked=config.question.replace("{item}", word_forms(data.item_word)[0]),
            history=history,
            limit=config.limit,
            label_mass=float(np.mean([mass_of(each) for each in known])) if known else None,
            **{
                name: spent[name]
                for name in ("prompts", "truncated_prompts", "seconds", "joules", "price_usd", "serving")
            },
        )

    with answering(store, served, asked, engines) as generator:
        return get_or_create(recipe.place(data.place.judgements), recipe, fill)


def open_contests(data: Data, config: JudgeConfig) -> Contests:
    """Return the pairs that a judge is asked about, and how it is asked.

    Raises:
        OptionError: If a run is unknown, or there are no explanations.
        IncomparableError: If two runs explain different items.
        DataError: If there is no explanation.
    """
    writers, catalog = _writers(data, config.runs), open_catalog(data)
    pairs = list(_pairs(data, writers, catalog, config))
    if not pairs:
        raise DataError(
            f"no run has an explanation to judge: {', '.join(writer.name for writer in writers)}",
            hint="See its responses: llmrs-bench show RUN. Raise -O answer_tokens of that run if they are cut off.",
        )
    history = data.default_history if config.history is None else config.history
    written = partial(ask, catalog=catalog, question=config.question, reading=config.reading)
    return Contests(writers, pairs, history, written)


def _fewer(written: Any, pair: Pair) -> Any:
    """Return what writes both prompts of a pair with less history; titles are all that they show of it."""
    return lambda fewer, *, without_attributes=False: written(pair, history=fewer)


def _writers(data: Data, names: Sequence[str]) -> list[Writer]:
    """Return the runs of these names, or all explanations where there are none."""
    opened, found = open_runs(data), []
    named = {run.path: run for name in names for run in pick_runs(opened, [name])}
    chosen = list(named.values()) if names else [run for run in opened if run.facts.get("form") == EXPLANATION]
    idle = [run.path.name for run in chosen if run.facts.get("form") != EXPLANATION]
    if idle or not chosen:
        raise OptionError(
            f"{idle[0]} holds no explanations" if idle else f"{data.place.reference} has no explanations",
            hint="Make a run with `llmrs-bench infer --template explanation -T explained_run=RUN`.",
        )
    for run in chosen:
        texts = run.table("responses").select("request_id", "text").iter_rows()
        written = {request: line for request, text in texts if (line := sanitize_text(spoken(text or "")))}
        name = called(run)
        label = run.path.name if name in (None, TEMPLATE, SHUFFLED) else str(name)
        found.append(Writer(run, label, read_first_items(run), written))
    for one, other in combinations(found, 2):
        differing = [name for name in one.items if one.items[name] != other.items.get(name, one.items[name])]
        if differing:
            raise IncomparableError(
                f"{one.name} and {other.name} explain different items in {len(differing):,} requests, the first of "
                f"which is {differing[0]}",
                hint="Make both with the same -T explained_run=RUN, or name runs that are: --run.",
            )
    return found


def _pairs(data: Data, writers: Sequence[Writer], catalog: ItemCatalog, config: JudgeConfig) -> Iterator[Pair]:
    """Yield the pairs of all contests, those of a contest beside each other, in the order of the requests."""
    requests = data.artifact.table("requests").select("request_id", "user_id", "history")
    rows = {name: (user, history) for name, user, history in requests.iter_rows()}
    chosen = set(rows if config.limit is None else data.first_requests(config.limit))
    own = {
        (writer.name, name): Request(name, rows[name][0], tuple(rows[name][1]), (writer.items[name],))
        for writer in writers
        for name in rows
        if name in writer.texts and name in writer.items
    }
    for at, writer in enumerate(writers):
        explained = {name: (rows[name][0], writer.items[name]) for name in rows if (writer.name, name) in own}
        giving, asked = donors(explained, config.seed), [name for name in explained if name in chosen]
        for name in asked:
            request = own[writer.name, name]
            past = [catalog.items[item_id] for item_id in request.history]
            sentence = template_sentence(catalog.items[request.candidates[0]], past, catalog.item_word)
            yield Pair(request, writer.name, TEMPLATE, (writer.texts[name], sentence))
        for name in asked:
            if name in giving:
                yield Pair(
                    own[writer.name, name], writer.name, SHUFFLED, (writer.texts[name], writer.texts[giving[name]])
                )
        for other in writers[at + 1 :]:
            for name in asked:
                if (other.name, name) in own:
                    yield Pair(own[writer.name, name], writer.name, other.name, (writer.texts[name], other.texts[name]))


def _verdicts(pairs: Sequence[Pair], rows: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        for writer_first in (True, False):
            name = pair.prompt_id(writer_first)
            same = pair.texts[0] == pair.texts[1]
            verdict, margin = (
                ("same", None) if same else verdict_of(read_answer(name, rows[name]), writer_first=writer_first)
            )
            first, second = pair.texts if writer_first else reversed(pair.texts)
            yield {
                **{"request_id": pair.request.request_id, "user_id": pair.request.user_id},
                **{"item_id": pair.request.candidates[0], "writer": pair.writer, "against": pair.against},
                **{"writer_first": writer_first, "first": first, "second": second},
                **{"verdict": verdict, "margin": margin},
            }


def _described(data: Data, writer: Writer) -> dict[str, Any]:
    """Return what is known of a writer: its model, the weights of kept answers, and how many texts are no answer."""
    store, weights = data.place.answers / str(writer.run.facts["answers"]), None
    with leaving_out(ArtifactError):
        weights = read_served(store)["model"] if store.is_dir() else None
    kinds = writer.run.facts["kinds"]
    return {
        "run": writer.run.path.name,
        "name": writer.name,
        "model": writer.run.facts["model"],
        "weights": weights,
        "explained": writer.run.facts["template_options"]["explained_run"],
        "texts": len(writer.texts),
        **{kind: kinds.get(kind, 0) for kind in ("empty", "truncated")},
    }


def judgement(data: Data, made: Artifact, config: JudgeConfig) -> dict[str, Any]:
    """Return what the verdicts of a judge come to, and how far other judges of the same pairs agree with it.

    Args:
        data: The prepared data set.
        made: The artifact of `judge`.
        config: How intervals and tests are made.

    Returns:
        Plain values, None where a figure is not defined: facts of the artifact; `contests` and `position` as
        `explanations.contests` and `explanations.position` have them; `judges`, a row for each other judge that was
        asked the same about some of the pairs: its name, how many `pairs`, `kappa` with its interval, and `agree`, the
        share of pairs on which both say the same; `warnings` about the judge and the texts.
    """
    table, facts = made.table("judgements"), made.facts
    judged = read_judged(table)
    users = len({pair.user_id for pair in judged})
    alone = ["one user: no interval, and every p is 1"] if users == 1 else []
    drawn = {"samples": config.samples, "seed": config.seed}
    found = contests(judged, permutations=config.permutations, **drawn)
    said: dict[str, Any] = _known(
        {
            **{name: facts[name] for name in ("dataset", "engine", "reading", "asked", "history", "limit", "writers")},
            "judge": facts["model"]["name"],
            "pairs": len(judged),
            "users": users,
            "malformed": sum(pair.verdicts.count("malformed") for pair in judged),
            "same": sum("same" in pair.verdicts for pair in judged),
            "label_mass": facts["label_mass"],
            "contests": [asdict(each) for each in found],
            "position": {name: asdict(each) for name, each in position(judged, **drawn).items()},
            "judges": list(_other_judges(data, made, table, drawn)),
            "warnings": [*alone, *_warnings(facts)],
            **{name: facts[name] for name in ("prompts", "truncated_prompts", "seconds", "price_usd")},
            **drawn,
            "permutations": config.permutations,
        }
    )
    return said


def read_judged(table: pl.DataFrame) -> list[Judged]:
    """Return the pairs of a frame of the schema `judgements`, whose two rows stand beside each other."""
    rows = list(table.iter_rows(named=True))
    return [
        Judged(one["request_id"], one["user_id"], one["writer"], one["against"], (one["verdict"], other["verdict"]))
        for one, other in zip(rows[::2], rows[1::2], strict=True)
    ]


def _other_judges(
    data: Data, made: Artifact, table: pl.DataFrame, drawn: Mapping[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield how far other judges agree, of the same question and reading or not, on pairs with the same texts."""
    mine = _outcomes(table)
    for path in sorted(data.place.judgements.iterdir()):
        if path == made.path or path.name.startswith(".") or not path.is_dir():
            continue
        other = None
        with leaving_out(ArtifactError):
            other = open_artifact(path, hint="run `llmrs-bench judge` again.")
        if other is None or other.facts["question"] != made.facts["question"]:
            continue
        theirs = _outcomes(other.table("judgements"))
        both = [(mine[key], theirs[key]) for key in mine if key in theirs]
        if not both:
            continue
        said = [(one.outcome, another.outcome) for one, another in both]
        kappa = agreement(said, users_of([one for one, _ in both]), samples=drawn["samples"], seed=drawn["seed"])
        yield {
            "judge": other.facts["model"]["name"],
            "judgement": other.path.name,
            "reading": other.facts["reading"],
            "pairs": len(both),
            "agree": sum(one == another for one, another in said) / len(said),
            "kappa": asdict(kappa),
        }


def _outcomes(table: pl.DataFrame) -> dict[tuple[str, ...], Judged]:
    """Return the pairs that a judge compared, by what they are: request, whose texts, and both."""
    texts = table.filter(pl.col("writer_first")).select("first", "second").rows()
    judged = zip(read_judged(table), texts, strict=True)
    return {(pair.request_id, pair.writer, pair.against, *both): pair for pair, both in judged if pair.compared}


def _warnings(facts: Mapping[str, Any]) -> Iterator[str]:
    mine = {**facts["model"], "weights": facts["weights"]}
    kin: dict[str, list[str]] = {}
    for writer in facts["writers"]:
        how = related({**writer["model"], "weights": writer["weights"]}, mine, family_of)
        kin.setdefault(how, []).append(writer["name"])
    for how, names in kin.items():
        if how:
            yield (
                f"the judge {mine['name']} and the writer of {' and of '.join(names)} are {how}: judges prefer texts "
                "that are like their own; use a judge of another family"
            )
    for writer in facts["writers"]:
        if writer["truncated"]:
            yield f"{writer['truncated']:,} texts of {writer['name']} are cut off: raise -O answer_tokens of that run"
    if facts["label_mass"] is not None and facts["label_mass"] < _DOUBTFUL:
        yield (
            f"both letters have {100 * facts['label_mass']:.1f} % of the probability of the next token, so they say "
            "little about the judge: it may think first, or not know the format; try --reading text"
        )


def family_of(name: str) -> str:
    """Return the family that the name of a model tells: one of the catalogue, else the letters that it begins with."""
    own = _letters(name.rpartition("/")[2])
    known = {spec.family for spec in MODEL_ALIASES.values() if spec.family and _letters(spec.family) in own}
    begins = re.match(r"[a-z]{3,}", own)
    return max(known, key=len, default=begins[0] if begins else "")


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _known(value: Any) -> Any:
    """Return plain values with None in the place of NaN."""
    if isinstance(value, Mapping):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and isnan(value) else value
