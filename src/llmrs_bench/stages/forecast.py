"""What a run of a language model will ask: prompts, tokens, price, and what is kept already."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.errors import ArtifactError, DamagedError, ModelError, OptionError
from llmrs_bench.core.hashing import uniform_hash
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Progress, Prompt, no_progress
from llmrs_bench.llm.cache import ResponseCache, Speed, cache_key
from llmrs_bench.llm.cost import price_usd
from llmrs_bench.llm.model_aliases import MODEL_ALIASES, ModelSpec
from llmrs_bench.llm.token_counts import TokenCounts, token_counts
from llmrs_bench.llm.tokenization import Tokenized
from llmrs_bench.llm.tokenizer_file import has_tokenizer, open_tokenizer_file
from llmrs_bench.prompts.frames import read_answer, read_views
from llmrs_bench.prompts.strategies.base import CountsCalls, Exchange, ItemCatalog, PromptStrategy, written
from llmrs_bench.stages.infer import check_known
from llmrs_bench.stages.judge import JudgeConfig, open_contests
from llmrs_bench.stages.prompt import (
    PromptPlan,
    open_catalog,
    open_plan,
    shown_history,
    views_of_requests,
)
from llmrs_bench.stages.prompt_preview import open_reader
from llmrs_bench.stages.serving import choose_engine, find_store, locate
from llmrs_bench.stages.workspace import Data, Place, leaving_out

_WHOLE = 10_000  # prompts up to which all requests are looked at where answers are kept, so that these are counted
_SAMPLE = 3_000  # prompts of a sample, about
_FEWEST = 10  # requests of a sample
_TOKENIZED = 100  # prompts whose tokens are counted, about
_PER_TOKEN = 4.0  # characters, where there is no tokenizer to ask: an estimate for English
_FAR = ("openai", "mock")  # engines whose models have no tokenizer here


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will ask.

    Args:
        requests: Requests.
        sampled: How many of them were looked at; the other numbers are estimated from these. None: all of them.
        prompts: Their prompts, over all rounds if the template can count those.
        rounds: Whether more prompts follow from the answers; those are not counted.
        kept: How many of the prompts are answered already.
        prompt_tokens: Tokens of all prompts.
        cached_tokens: Of these, what the engine reads once for several prompts.
        choice_tokens: Tokens of the choices that are scored.
        counted: How all these were counted or estimated.
        tokens_to_ask: Tokens of prompts without an answer that are read, those that are read once counted once.
        choices_to_ask: Tokens of the choices of these prompts.
        answer_tokens: The most that may be written to these; None where nothing is written.
        price_usd: The least and the most the rest costs, where tokens have a price.
        kept_answers: How many answers of earlier sessions say what follows: those of the same kind, scores or texts.
        speed_of: The other data set that these answers are of; empty: they are of this one.
        limit: How many requests were to be asked (`--limit`); None: all.
        others_kept: Whether there are answers of the other kind alone.
        per_token: Seconds that they took for a token that was computed: read, scored or written; None: not known.
        written: Tokens that were written for one of them, on average; 0 where choices are scored.
        loading: Seconds that loading the model took.
        device_gb: The most memory of the device in these sessions, where it was read.
    """

    requests: int
    sampled: int | None
    prompts: int
    rounds: bool
    kept: int
    prompt_tokens: int
    cached_tokens: int
    choice_tokens: int
    counted: str
    tokens_to_ask: int
    choices_to_ask: int
    answer_tokens: int | None
    price_usd: tuple[float, float] | None
    kept_answers: int = 0
    speed_of: str = ""
    limit: int | None = None
    others_kept: bool = False
    per_token: float | None = None
    written: float = 0.0
    loading: float | None = None
    device_gb: float | None = None

    @property
    def seconds(self) -> float | None:
        """What the prompts without an answer will take, without loading; None: nothing says so."""
        if self.per_token is None:
            return None
        written = self.written * (self.prompts - self.kept)
        return (self.tokens_to_ask + self.choices_to_ask + written) * self.per_token

    def json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return {**asdict(self), "seconds": self.seconds}


def forecast(data: Data, config: LanguageModelConfig, progress: Progress = no_progress) -> Forecast:
    """Return what `infer` would ask; nothing is written, and no model is looked for, loaded or asked.

    Args:
        data: The prepared data set.
        config: What is to be asked.
        progress: Shows what is being done.

    Raises:
        OptionError: If the model, the template or an option is unknown, or the data have no lists.
        LeakError: If a prompt of those that are looked at would reveal its target.
    """
    check_known(config)
    if data.whole_catalogue:
        raise OptionError(
            f"{data.place.reference} has no candidate lists, so there is nothing to ask a language model",
            hint="Prepare lists, for instance from a retriever: --candidates model:sasrec.",
        )
    config = locate(data, config)
    plan = open_plan(config.prompt)
    more = plan.template.rounds and not isinstance(plan.template, CountsCalls)
    return _forecast(
        data,
        config,
        lambda store: _look(data, config, plan, store),
        progress,
        writes=plan.template.mode == "generate",
        more=more,
    )


def forecast_judge(data: Data, config: JudgeConfig, progress: Progress = no_progress) -> Forecast:
    """Return what `judge` would ask, as `forecast` does; its `requests` are those of which there are explanations.

    Raises:
        OptionError: As `forecast`; or if a run is unknown, or there are no explanations.
        IncomparableError: If two runs explain different items.
        DataError: If there is no explanation.
    """
    check_known(config.served)
    asked = locate(data, config.served)
    return _forecast(
        data, asked, lambda store: _look_at_pairs(data, config, store), progress, writes=config.reading == "text"
    )


def _forecast(
    data: Data,
    config: LanguageModelConfig,
    looked: "Callable[[ResponseCache | None], _Look]",
    progress: Progress,
    *,
    writes: bool,
    more: bool = False,
) -> Forecast:
    """Return what a model would be asked, from what was seen of the requests and of the answers that are kept."""
    engine = choose_engine(config)
    options: Any = ENGINES.options_of(engine).parse(config.options, owner=engine)
    requests = data.artifact.manifest.tables["requests"].rows
    with progress("requests looked at", min(requests, config.limit or requests)) as step:
        step(0, "writing prompts")
        store = _store(data, config)
        look = looked(store)
        seen = look.sampled or look.requests
        step(seen, "counting tokens", seen)
        rates = _rates(look.prompts, config, engine, options, lambda note: step(seen, note, seen))
        step(seen, total=seen)
    asked, left = rates.tokens_of(look.letters), rates.tokens_of(look.letters_to_ask)
    longest = getattr(options, "answer_tokens", None) if writes else None
    most = None if longest is None else (look.calls - look.kept) * int(longest)
    prices = None
    if "price_in" in config.options or "price_out" in config.options:
        known = {name: value for name, value in config.options.items() if name in ("price_in", "price_out")}
        least, dearest = (
            price_usd({"prompt_tokens": left.prompt + left.choices, "completion_tokens": answers}, known) or 0.0
            for answers in (0, most or 0)
        )
        prices = (least, dearest)
    speed, speed_of = None if store is None else store.speed(choices=not writes), ""
    if speed is None or speed.per_token is None:
        speed, speed_of = _speed_elsewhere(data, config, choices=not writes) or (speed, "")
    found = Forecast(
        *(look.requests, look.sampled, look.calls, more, look.kept),
        *(asked.prompt, asked.cached, asked.choices, rates.counted(all_prompts=look.calls)),
        *(left.prompt - left.cached, left.choices, most, prices),
        limit=config.limit,
        others_kept=speed is None and store is not None and len(store) > 0,
    )
    if speed is None:
        return found
    return replace(
        found,
        kept_answers=speed.answers,
        speed_of=speed_of,
        per_token=speed.per_token,
        written=speed.written if writes else 0.0,
        loading=speed.loading,
        device_gb=speed.device_gb,
    )


def _store(data: Data, config: LanguageModelConfig) -> ResponseCache | None:
    """Return the answers that are kept of a model, as far as that is known without looking for the model.

    Raises:
        DamagedError: If they are damaged.
    """
    try:
        return find_store(data, config)
    except DamagedError:
        raise
    except ArtifactError:
        return None


def _speed_elsewhere(data: Data, config: LanguageModelConfig, *, choices: bool) -> tuple[Speed, str] | None:
    """Return what answers of the same model and options took on another data set of the home, and which that is.

    It is the one with the most answers; None: there is none. Damaged answers of other data sets are left out.
    """
    found: list[tuple[Speed, str]] = []
    for folder in sorted(data.place.answers.parent.parent.glob(f"*/{data.place.answers.name}")):
        if folder == data.place.answers:
            continue
        other = replace(data, place=Place(folder.parent / data.place.root.name))
        with leaving_out(ArtifactError):
            store = _store(other, config)
            speed = None if store is None else store.speed(choices=choices)
            if speed is not None and speed.per_token is not None:
                found.append((speed, folder.parent.name))
    return max(found, key=lambda each: each[0].answers, default=None)


@dataclass(frozen=True, slots=True)
class _Letters:
    """Characters of prompts: of their messages, and of their choices."""

    messages: float = 0.0
    choices: float = 0.0

    def __add__(self, other: "_Letters") -> "_Letters":
        return _Letters(self.messages + other.messages, self.choices + other.choices)

    def __mul__(self, factor: float) -> "_Letters":
        return _Letters(self.messages * factor, self.choices * factor)


def _letters(prompts: Iterable[Prompt]) -> _Letters:
    found = _Letters()
    for asked in prompts:
        messages = sum(len(message.content) for message in asked.messages)
        found += _Letters(messages, sum(map(len, asked.choices or ())))
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of the requests, and what follows for all of them.

    Args:
        requests: All requests.
        sampled: How many were looked at; None: all.
        calls: The prompts of all requests.
        kept: How many of these are answered.
        letters: Of all prompts.
        letters_to_ask: Of those without an answer; a prompt that is asked in two places counts once.
        prompts: Those that were written for the look.
    """

    requests: int
    sampled: int | None
    calls: int
    kept: int
    letters: "_Letters"
    letters_to_ask: "_Letters"
    prompts: Sequence[Prompt]


def _look(data: Data, config: LanguageModelConfig, plan: PromptPlan, store: ResponseCache | None) -> _Look:
    """Look at all requests, or at a seeded sample where their prompts are many."""
    requests = data.artifact.table("requests")
    if config.limit is not None:
        requests = requests.filter(pl.col("request_id").is_in(data.first_requests(config.limit).implode()))
    sizes, options = requests["candidates"].list.len(), plan.views
    calls_of = {size: _calls(plan.template, size) for size in sizes.unique()}
    expected = sum(calls_of[size] for size in sizes) * max(options.orders, len(options.slots)) * options.samples
    seen = requests
    if (drawn := _drawn(data, requests["request_id"], expected, store)) is not None:
        seen = requests.filter(pl.col("request_id").is_in(drawn.implode()))
    history = shown_history(data, config.prompt)
    views = views_of_requests(data, plan, history, seen)
    asked = _replay(plan.template, views, open_catalog(data, plan), history, store)
    prompts = [prompt for view in asked for prompt in view.prompts]
    mean = _letters(prompts) * (1 / max(len(prompts), 1))
    counts = [view.calls(calls_of[size]) for view, size in zip(asked, views["candidates"].list.len(), strict=True)]
    to_ask = sum((view.to_ask for view in asked), mean * (sum(counts) - len(prompts)))
    scale = sum(calls_of[size] for size in sizes) / max(
        sum(calls_of[size] for size in seen["candidates"].list.len()), 1
    )
    calls = round(scale * sum(counts))
    return _Look(
        requests=requests.height,
        sampled=None if seen.height == requests.height else seen.height,
        calls=calls,
        kept=round(scale * sum(len(view.answered) for view in asked)),
        letters=mean * calls,
        letters_to_ask=to_ask * scale,
        prompts=prompts,
    )


def _drawn(data: Data, names: pl.Series, prompts: int, store: ResponseCache | None) -> pl.Series | None:
    """Return a seeded sample of requests with so many prompts; None where these are few enough to look at all."""
    if prompts <= (_WHOLE if store is not None and len(store) else _SAMPLE):
        return None
    drawn = pl.Series(uniform_hash(data.tie_seed, names, pl.repeat("look", len(names), eager=True)))
    return names.gather(drawn.arg_sort()[: max(_FEWEST, _SAMPLE * len(names) // prompts)])


def _look_at_pairs(data: Data, config: JudgeConfig, store: ResponseCache | None) -> _Look:
    """Look at all pairs of explanations, or at those of a seeded sample of the requests."""
    found = open_contests(data, config)
    names = pl.Series(list(dict.fromkeys(pair.request.request_id for pair in found.pairs)), dtype=pl.String)
    compared = found.compared
    drawn = _drawn(data, names, 2 * len(compared), store)
    sample = set(names if drawn is None else drawn)
    seen = [pair for pair in compared if pair.request.request_id in sample]
    prompts = [prompt for pair in seen for prompt in found.written(pair, history=found.history)]
    keys = list(map(cache_key, prompts))
    kept = {} if store is None else store.find(keys)
    asked = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in kept}
    scale = 2 * len(compared) / max(len(prompts), 1)
    return _Look(
        requests=len(names),
        sampled=None if drawn is None else len(drawn),
        calls=2 * len(compared),
        kept=round(scale * sum(key in kept for key in keys)),
        letters=_letters(prompts) * scale,
        letters_to_ask=_letters(asked.values()) * scale,
        prompts=prompts,
    )


def _calls(template: PromptStrategy, candidates: int) -> int:
    """Return the prompts of a request with so many candidates; the first ones where the template counts no others."""
    return template.calls(candidates) if isinstance(template, CountsCalls) else 1


@dataclass(slots=True)
class _Asked:
    """What is asked of one view of a request, as far as its kept answers go.

    Args:
        prompts: Those that were written: up to the first round with one that has no answer.
        answered: Those with an answer.
        to_ask: The others, without those that another view asks, too.
        ended: Whether nothing follows.
    """

    prompts: list[Prompt] = field(default_factory=list)
    answered: list[Exchange] = field(default_factory=list)
    to_ask: _Letters = _Letters()
    ended: bool = False

    def calls(self, expected: int) -> int:
        """Return the number of its prompts, where `expected` are those of such a view."""
        return len(self.prompts) if self.ended else max(expected, len(self.prompts))


def _replay(
    template: PromptStrategy, views: pl.DataFrame, catalog: ItemCatalog, history: int, store: ResponseCache | None
) -> list[_Asked]:
    """Write the prompts of views, round by round, as far as answers to them are kept."""
    asked = [(view, _Asked()) for view in read_views(views)]
    waiting, waits_for = asked, set[str]()
    while waiting:
        rounds = [
            (view, found, written(template, view, catalog, history=history, asked=found.answered))
            for view, found in waiting
        ]
        keys = [list(map(cache_key, prompts)) for _, _, prompts in rounds]
        rows = {} if store is None else store.find({key for some in keys for key in some})
        waiting = []
        for (view, found, prompts), names in zip(rounds, keys, strict=True):
            found.prompts += prompts
            for prompt, key in zip(prompts, names, strict=True):
                if key in rows:
                    found.answered.append((prompt, read_answer(prompt.prompt_id, rows[key])))
                elif key not in waits_for:
                    waits_for.add(key)
                    found.to_ask += _letters([prompt])
            whole = len(found.answered) == len(found.prompts)
            found.ended = not template.rounds or (whole and not prompts)
            if whole and not found.ended:
                waiting.append((view, found))
    return [found for _, found in asked]


@dataclass(frozen=True, slots=True)
class _Rates:
    """Tokens of some prompts, from which those of others follow by their characters.

    Args:
        sample: Characters of these prompts.
        tokens: Their tokens, or a guess.
        prompts: How many were read with a tokenizer; None: it is a guess.
        why: Why there is no tokenizer.
    """

    sample: _Letters
    tokens: TokenCounts
    prompts: int | None
    why: str = ""

    def tokens_of(self, letters: _Letters) -> TokenCounts:
        """Return the tokens of prompts with so many characters."""
        messages = letters.messages / max(self.sample.messages, 1)
        choices = letters.choices / max(self.sample.choices, 1)
        return TokenCounts(
            round(self.tokens.prompt * messages),
            round(self.tokens.cached * messages),
            round(self.tokens.choices * choices),
        )

    def counted(self, *, all_prompts: int) -> str:
        """Say how the tokens of so many prompts are known."""
        if self.prompts is None:
            return f"estimated, {_PER_TOKEN:g} characters a token{self.why}"
        if self.prompts == all_prompts:
            return "counted by the tokenizer"
        return f"estimated by the tokenizer on {self.prompts:,} prompts"


def _rates(
    prompts: Sequence[Prompt], config: LanguageModelConfig, engine: str, options: Any, say: Callable[[str], None]
) -> _Rates:
    """Count the tokens of the prompts of some requests, or guess them."""
    inner = str(getattr(options, "engine", "")) if engine == "ray" else engine
    sample, why = _whole_requests(prompts), ""
    if inner not in _FAR and sample:
        try:
            tokens = _tokens(sample, config.model, say)
            why = f": the tokenizer of {config.model} is not on this machine"
        except (ModelError, OptionError):
            tokens, why = None, f": the tokenizer of {config.model} cannot be loaded"
        if tokens is not None:
            shares = inner if getattr(options, "packed", True) and not _is_encoder_decoder(config.model) else ""
            return _Rates(_letters(sample), token_counts(sample, tokens, engine=shares), len(sample))
    letters = _letters(prompts)
    sent = letters.messages
    if inner == "openai":  # each choice is sent behind its prompt, but for labels, which one answer holds
        again = (prompt for prompt in prompts if prompt.choices and not prompt.labels)
        sent += sum(_letters([prompt]).messages * (len(prompt.choices or ()) - 1) for prompt in again)
    guess = TokenCounts(round(sent / _PER_TOKEN), 0, round(letters.choices / _PER_TOKEN))
    return _Rates(letters, guess, None, why)


def _is_encoder_decoder(model: str) -> bool:
    return model in MODEL_ALIASES and MODEL_ALIASES[model].architecture == "encoder-decoder"


def _whole_requests(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts of some requests, evenly taken, about as many as are to be tokenised."""
    by_request: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_request.setdefault(prompt.request_id, []).append(prompt)
    requests = list(by_request.values())
    wanted = max(_FEWEST, _TOKENIZED * len(requests) // max(len(prompts), 1))
    return [prompt for request in requests[:: max(1, len(requests) // wanted)][:wanted] for prompt in request]


def _tokens(sample: Sequence[Prompt], model: str, say: Callable[[str], None]) -> list[Tokenized] | None:
    """Return the tokens of each of some prompts; transformers is loaded where the files of the model need it.

    None: there are no files here. They are not downloaded: a look should take a moment, also where there is no network.
    """
    spec = MODEL_ALIASES.get(model) or ModelSpec(Path(model).name, model)
    tokenizer = open_tokenizer_file(spec)
    if tokenizer is not None:
        return tokenizer.read(sample, chat=spec.chat)
    if not has_tokenizer(spec):
        return None
    say(f"loading the tokenizer of {spec.name} with transformers")
    reader = open_reader(model)
    return [reader.read(prompt).tokens for prompt in sample]
