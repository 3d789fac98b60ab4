"""What a run of a language model will ask: prompts, tokens, price, and what is kept already."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.errors import ArtifactError, ModelError, OptionError
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.cache import ResponseCache, cache_key
from llmrs_bench.llm.cost import price_usd
from llmrs_bench.llm.model_aliases import MODEL_ALIASES, ModelSpec
from llmrs_bench.llm.tokenizer_file import open_tokenizer_file
from llmrs_bench.stages.conversation import request_blocks
from llmrs_bench.stages.infer import check_known
from llmrs_bench.stages.prompt import open_plan, prompt, rendered_prompts
from llmrs_bench.stages.serving import choose_engine, find_store, locate
from llmrs_bench.stages.workspace import Data

_SAMPLED = 100  # prompts whose tokens are counted
_PER_TOKEN = 4.0  # characters, where there is no tokenizer to ask: an estimate for English
_FAR = ("openai", "mock")  # engines whose models have no tokenizer here


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will ask.

    Args:
        requests: Requests.
        prompts: Their first prompts.
        rounds: Whether more prompts follow from the answers; those are not counted.
        kept: How many of the first prompts are answered already.
        prompt_tokens: Tokens of all first prompts, an estimate.
        counted: How they were estimated.
        tokens_to_ask: Those of prompts without an answer.
        answer_tokens: The most that may be written to these; None where nothing is written.
        price_usd: The least and the most the rest costs, where tokens have a price; later rounds come on top.
        written: The folder of the prompts.
        answers: How many answers of earlier sessions say what follows.
        per_token: Seconds that they took a prompt token; None where there are none.
        device_gb: The most memory of the device in these sessions, where it was read.
    """

    requests: int
    prompts: int
    rounds: bool
    kept: int
    prompt_tokens: int
    counted: str
    tokens_to_ask: int
    answer_tokens: int | None
    price_usd: tuple[float, float] | None
    written: Path
    answers: int
    per_token: float | None
    device_gb: float | None

    @property
    def seconds(self) -> float | None:
        """What the prompts without an answer will take, without loading; None: nothing says so."""
        return None if self.per_token is None else self.tokens_to_ask * self.per_token

    def json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return {**asdict(self), "written": str(self.written), "seconds": self.seconds}


def forecast(data: Data, config: LanguageModelConfig) -> Forecast:
    """Return what `infer` would ask; prompts are written, no model is looked for, loaded or asked.

    Raises:
        OptionError: If the model, the template or an option is unknown, or the data have no lists.
        LeakError: If a prompt would reveal its target.
    """
    check_known(config)
    if data.whole_catalogue:
        raise OptionError(
            f"{data.place.reference} has no candidate lists, so a language model is asked nothing",
            hint="Prepare lists, for instance from a retriever: --candidates model:sasrec.",
        )
    config = locate(data, config)
    plan = open_plan(config.prompt)
    engine = choose_engine(config)
    options: Any = ENGINES.options_of(engine).parse(config.options, owner=engine)
    written, store = prompt(data, config.prompt).artifact, _store(data, config)
    requests = prompts = kept = letters = waiting = 0
    seen: set[str] = set()
    sample: list[Prompt] = []
    for block in request_blocks(data, written, config.limit):
        asked = [each for group in block.prompts.values() for each in group]
        keys = [cache_key(each) for each in asked]
        found = store.find(set(keys)).keys() if store is not None else set()
        requests, prompts = requests + block.requests.height, prompts + len(asked)
        kept += sum(key in found for key in keys)
        letters += sum(map(_letters, asked))
        waiting += sum(_letters(each) for each, key in zip(asked, keys, strict=True) if key not in {*found, *seen})
        seen |= set(keys)
        sample += asked[: _SAMPLED - len(sample)]
    letters_each, counted = _rate(written.table("prompts"), sample, config, engine)
    tokens, to_ask = round(letters / letters_each), round(waiting / letters_each)
    longest = getattr(options, "answer_tokens", None) if plan.template.mode == "generate" else None
    most = None if longest is None else (prompts - kept) * int(longest)
    prices = None
    if "price_in" in config.options or "price_out" in config.options:
        known = {name: value for name, value in config.options.items() if name in ("price_in", "price_out")}
        least, dearest = (
            price_usd({"prompt_tokens": to_ask, "completion_tokens": answers}, known) or 0.0
            for answers in (0, most or 0)
        )
        prices = (least, dearest)
    answers, per_token, device_gb = (0, None, None) if store is None else store.speed()
    return Forecast(
        *(requests, prompts, plan.template.rounds, kept, tokens, counted, to_ask, most, prices, written.path),
        answers=answers,
        per_token=per_token,
        device_gb=device_gb,
    )


def _store(data: Data, config: LanguageModelConfig) -> ResponseCache | None:
    """Return the answers that are kept of a model, as far as that is known without looking for the model."""
    try:
        return find_store(data, config)
    except ArtifactError:
        return None


def _letters(asked: Prompt) -> int:
    return sum(len(message.content) for message in asked.messages) + sum(map(len, asked.choices or ()))


def _rate(
    prompts: pl.DataFrame, sample: Sequence[Prompt], config: LanguageModelConfig, engine: str
) -> tuple[float, str]:
    """Return how many characters a token has, and where that is from."""
    guess = f"estimated, {_PER_TOKEN:g} characters a token"
    if engine in _FAR or not sample:
        return _PER_TOKEN, guess
    try:
        counts = _counts(prompts, sample, config.model)
    except (ModelError, OptionError):
        return _PER_TOKEN, f"{guess}: the tokenizer of {config.model} cannot be had"
    letters = sum(len(message.content) for each in sample for message in each.messages)
    return letters / max(sum(counts), 1), f"estimated by the tokenizer on {len(counts):,} prompts"


def _counts(prompts: pl.DataFrame, sample: Sequence[Prompt], model: str) -> list[int]:
    """Return the tokens of each of some prompts; transformers is loaded where the files of the model need it."""
    spec = MODEL_ALIASES.get(model) or ModelSpec(Path(model).name, model)
    tokenizer = open_tokenizer_file(spec)
    if tokenizer is not None:
        return tokenizer.count(sample, chat=spec.chat)
    frame = prompts.filter(pl.col("prompt_id").is_in({each.prompt_id for each in sample}))
    return [each.tokens for each in rendered_prompts(frame, model)]
