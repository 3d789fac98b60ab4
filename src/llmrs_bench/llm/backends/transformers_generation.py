"""Texts of a transformers model, greedy or sampled, many prompts at a time."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import DynamicLayer
from transformers.generation.streamers import BaseStreamer

from llmrs_bench.core.types import Response
from llmrs_bench.llm.backends.likelihood import cache_argument
from llmrs_bench.llm.base import ModelOptions, sample_seed
from llmrs_bench.llm.constrained import Permutation, lead_in, permutation
from llmrs_bench.llm.loading import Memory
from llmrs_bench.llm.thinking import CLOSE, GAP, find_closing, written_response
from llmrs_bench.llm.tokenization import Ids, Job, PromptReader, cut

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def greedy_config(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> GenerationConfig:
    """Return a configuration for greedy answers that takes nothing from the checkpoint but its special tokens.

    Checkpoints bring temperatures and repetition penalties of their own, which `generate` would mix in.
    """
    own = model.generation_config
    stop = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    start = own.decoder_start_token_id
    return GenerationConfig(
        do_sample=False,
        eos_token_id=stops or None,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(stops), 0),
        bos_token_id=own.bos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None) if start is None else start,
    )


class _Heard(BaseStreamer):  # type: ignore[misc]  # transformers leaves it untyped
    """Tells after each pass over the model how many tokens it read and wrote; the first one reads the prompts.

    Args:
        heard: Called with their number.
        prompts: Tokens of all prompts.
        padding: The token that fills rows, which does not count.
    """

    def __init__(self, heard: Callable[[int], None], *, prompts: int, padding: int) -> None:
        self.heard = heard
        self.read: int | None = None
        self.prompts = prompts
        self.padding = padding

    def put(self, value: Tensor) -> None:
        """Take what comes next: before the first pass, what `generate` was given."""
        if self.read is None:
            self.read = self.prompts
            return
        self.heard(self.read + int((value != self.padding).sum()))
        self.read = 0

    def end(self) -> None:
        """Do nothing: the texts themselves come back from `generate`."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers leaves it untyped
    """Keys and values of a layer in buffers with room for tokens to come.

    `DynamicLayer` copies all of them for every token, which on a CPU takes half of the time of a large batch.
    """

    ROOM = 128  # tokens
    keys: Tensor
    values: Tensor

    def lazy_initialization(self, key_states: Tensor, *others: Tensor) -> None:
        """Begin without tokens."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = self.values = key_states.new_empty(0)
        self._buffers: list[Tensor] = []
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values (row, head, token, dim), and return all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states)
        before: int = self.get_seq_length()
        after = before + key_states.shape[2]
        if not self._has_room(after):
            shape = (*key_states.shape[:2], after + self.ROOM)
            self._buffers = [new.new_empty(*shape, new.shape[3]) for new in (key_states, value_states)]
            if before:
                for buffer, old in zip(self._buffers, (self.keys, self.values), strict=True):
                    buffer[:, :, :before] = old
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, before:after] = new
        self.keys, self.values = (buffer[:, :, :after] for buffer in self._buffers)
        return self.keys, self.values

    def _has_room(self, tokens: int) -> bool:
        """Return whether the keys are the head of a buffer, which others may have changed, with room for `tokens`."""
        if not self._buffers:
            return False
        keys = self._buffers[0]
        same = keys.data_ptr() == self.keys.data_ptr() and len(keys) == len(self.keys)
        return same and tokens <= keys.shape[2]


def roomy_cache(model: "PreTrainedModel") -> dict[str, DynamicCache]:
    """Return the argument of `generate` that gives a causal model on a CPU a cache that is not copied at each token.

    It is empty for models whose layers keep something else, such as a window or a state, and for other devices.
    """
    argument = cache_argument(model)
    known = argument in signature(model.forward).parameters
    if model.device.type != "cpu" or model.config.is_encoder_decoder or not known:
        return {}
    cache = DynamicCache(config=model.config)
    if not cache.layers or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return {}
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return {argument: cache}


# Tokens that a batch writes before rows that have ended leave it.
_PIECE = 32


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a batch that still write: token ids and mask (row, time), and the number of each in the batch."""

    ids: Tensor
    mask: Tensor
    numbers: list[int]

    def to(self, device: torch.device) -> "_Rows":
        """Return the rows on a device."""
        return _Rows(self.ids.to(device), self.mask.to(device), self.numbers)

    def behind(self, output: Tensor, going: Sequence[int]) -> "_Rows":
        """Return those rows that go on, behind what has been written: `output` (row, time)."""
        ids = output[list(going)]
        new = ids.shape[1] - self.mask.shape[1]
        mask = torch.nn.functional.pad(self.mask[list(going)], (0, new), value=1)
        return _Rows(ids, mask, [self.numbers[row] for row in going])


class _Noise(LogitsProcessor):  # type: ignore[misc]  # transformers leaves it untyped
    """Adds Gumbel noise, after which the likeliest token is one drawn from the softmax (Gumbel, 1954).

    Each row has a generator of its own, so that a text does not depend on the others of its batch.
    """

    def __init__(self, temperature: float, seeds: Sequence[int], device: torch.device) -> None:
        self.temperature = temperature
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def of(self, rows: Sequence[int]) -> "_Noise":
        """Return the noise of some of the rows, which goes on where it was."""
        some = _Noise(self.temperature, (), torch.device("cpu"))
        some.generators = [self.generators[row] for row in rows]
        return some

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        waits = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(waits, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores / self.temperature - waits.clamp_min(torch.finfo(torch.float32).tiny).log()


def _admit(grammars: Sequence[Permutation], start: int) -> Callable[[int, Tensor], list[int]]:
    """Return what `generate` asks for the tokens that may come next in one row of a batch."""

    def allowed(row: int, ids: Tensor) -> list[int]:
        grammar, written = grammars[row], ids[start:].tolist()
        # A text that has ended is padded until the others of its batch have.
        return list(grammar.stops) if set(grammar.stops) & set(written) else grammar.allowed(written)

    return allowed


def _cut(row: list[int], stops: Sequence[int]) -> tuple[Ids, bool]:
    for index, token in enumerate(row):
        if token in stops:
            return tuple(row[: index + 1]), True
    return tuple(row), False


_REMEMBERED = 64  # grammars


class TextGenerator:
    """Writes answers, greedy or sampled, with a thought before each if the options give it tokens.

    Args:
        model: Causal or encoder-decoder.
        reader: Its prompts, rendered for thinking if there is a budget for it.
        memory: Bounds the batches.
        options: The budgets, and the temperature.
        seed: Of sampled texts.

    Attributes:
        heard: Called with tokens as soon as they are read or written.

    Raises:
        ModelError: If a model that does not think is to.
    """

    def __init__(
        self, model: "PreTrainedModel", reader: PromptReader, memory: Memory, options: ModelOptions, *, seed: int
    ) -> None:
        self.model = model
        self.reader = reader
        self.memory = memory
        self.options = options
        self.seed = seed
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.config = greedy_config(model, reader.tokenizer)
        model.generation_config = self.config
        self.stops: Ids = tuple(self.config.eos_token_id or ())
        self.closing = find_closing(reader.tokenizer, chat=reader.chat) if options.thinking_tokens else None
        self.heard: Callable[[int], None] = lambda tokens: None
        self._grammar: Callable[[str, int], Permutation] = lru_cache(_REMEMBERED)(self._make_grammar)

    def count_tokens(self, job: Job) -> int:
        """Return how many tokens a thought and an answer take at most."""
        thought = 0 if self.closing is None else self.options.thinking_tokens + self.closing.longest
        return thought + self._budget(job)

    def write(self, jobs: Sequence[Job]) -> Iterator[Response]:
        """Write an answer to each job, the longest prompt first.

        Raises:
            EngineError: If the device fails.
        """
        for batch in self.batches(jobs):
            yield from self.memory.run(batch, self._write)

    def batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Cut jobs into what `write` computes together."""
        return cut(jobs, fits=self._fits)

    def _fits(self, batch: Sequence[Job]) -> bool:
        width = max(len(job.tokens.prefix) for job in batch) + max(map(self.count_tokens, batch))
        alike = len({job.prompt.grammar for job in batch}) == 1
        return alike and not self.memory.deterministic and len(batch) * width <= self.memory.tokens

    def _write(self, batch: Sequence[Job]) -> list[Response]:
        thoughts = self._think(batch)
        grammars = [grammar for job in batch if (grammar := self._grammar_of(job)) is not None]
        prefixes = [job.tokens.prefix + closed for job, (_, closed) in zip(batch, thoughts, strict=True)]
        answers = self._generate(
            batch,
            prefixes,
            budgets=[self._budget(job) for job in batch],
            stops=grammars[0].stops if grammars else self.stops,
            grammars=grammars or None,
        )
        return [
            self._respond(job, thought, closed, *answer)
            for job, (thought, closed), answer in zip(batch, thoughts, answers, strict=True)
        ]

    def _think(self, batch: Sequence[Job]) -> list[tuple[Ids, Ids]]:
        """Return for each job the thought as the model wrote it, and as it reads it before its answer."""
        if self.closing is None:
            return [((), ())] * len(batch)
        written = self._generate(
            batch,
            [job.tokens.prefix for job in batch],
            budgets=[self.options.thinking_tokens] * len(batch),
            stops=(*self.stops, self.closing.token),
        )
        return [(thought, self.closing.close(thought, self.stops)) for thought, _ in written]

    def _generate(
        self,
        batch: Sequence[Job],
        prefixes: Sequence[Ids],
        *,
        budgets: Sequence[int],
        stops: Sequence[int],
        grammars: Sequence[Permutation] | None = None,
    ) -> list[tuple[Ids, bool]]:
        """Return behind each prefix the new tokens up to the first stop token, and whether there was one.

        Prefixes are padded on the left, or on the right for an encoder, and the padding is masked.

        Args:
            batch: The jobs, whose samples have seeds of their own.
            prefixes: Token ids.
            budgets: The most tokens to write behind each prefix.
            stops: Tokens that end a text.
            grammars: What each text may be.
        """
        width = max(map(len, prefixes))
        padding = self.config.pad_token_id
        ids, mask = [], []
        for prefix in prefixes:
            fill, ones = [padding] * (width - len(prefix)), [1] * len(prefix)
            ids.append([*prefix, *fill] if self.encoder_decoder else [*fill, *prefix])
            mask.append([*ones, *[0] * len(fill)] if self.encoder_decoder else [*[0] * len(fill), *ones])
        start = 1 if self.encoder_decoder else width  # an encoder-decoder's output begins with its start token
        settings = deepcopy(self.config)
        settings.max_new_tokens = max(budgets)
        settings.eos_token_id = list(stops) or None
        noise = None
        if (warm := self.options.temperature) > 0:
            pairs = zip(batch, prefixes, strict=True)
            seeds = [sample_seed(self.seed, job.prompt.sample, prefix) for job, prefix in pairs]
            noise = _Noise(warm, seeds, self.model.device)
        rows = _Rows(torch.tensor(ids), torch.tensor(mask), list(range(len(batch))))
        written = self._write_rows(rows.to(self.model.device), start, settings, grammars, noise, budgets)
        return [_cut(row[:budget], stops) for row, budget in zip(written, budgets, strict=True)]

    def _write_rows(
        self,
        rows: "_Rows",
        start: int,
        settings: GenerationConfig,
        grammars: Sequence[Permutation] | None,
        noise: "_Noise | None",
        budgets: Sequence[int],
    ) -> list[list[int]]:
        """Return all new tokens of each row, stop tokens and padding behind them included.

        With a cache of its own, a batch is written in pieces, behind each of which rows that have ended leave it.
        """
        cache = roomy_cache(self.model)
        written: list[list[int]] = [[] for _ in rows.numbers]
        most, unread = settings.max_new_tokens, int(rows.mask.sum())
        for begun in range(0, most, _PIECE) if cache else (0,):
            settings.max_new_tokens = min(_PIECE, most - begun) if cache else most
            extra: dict[str, Any] = {}
            if grammars is not None:
                extra["prefix_allowed_tokens_fn"] = _admit([grammars[number] for number in rows.numbers], start)
            if noise is not None:
                extra["logits_processor"] = LogitsProcessorList([noise.of(rows.numbers)])
            output = self.model.generate(
                input_ids=rows.ids,
                attention_mask=rows.mask,
                generation_config=settings,
                streamer=_Heard(self.heard, prompts=unread, padding=self.config.pad_token_id),
                **cache,
                **extra,
            )
            new = output[:, start + begun :].tolist()
            for number, tokens in zip(rows.numbers, new, strict=True):
                written[number] += tokens
            stops = set(settings.eos_token_id or ())
            going = [
                row
                for row, number in enumerate(rows.numbers)
                if len(written[number]) < budgets[number] and stops.isdisjoint(new[row])
            ]
            if not cache or not going:
                break
            if len(going) < len(new):
                next(iter(cache.values())).batch_select_indices(torch.tensor(going, device=self.model.device))
            rows, unread = rows.behind(output, going), 0
        return written

    def _respond(self, job: Job, thought: Ids, closed: Ids, answer: Ids, stopped: bool) -> Response:
        known = None if self.closing is None else (thought, closed)
        return written_response(self.reader.tokenizer, job, known, answer, stopped=stopped, cached=0)

    def _budget(self, job: Job) -> int:
        grammar = self._grammar_of(job)
        return max(self.options.answer_tokens, 0 if grammar is None else grammar.longest)

    def _grammar_of(self, job: Job) -> Permutation | None:
        if job.prompt.grammar is None:
            return None
        before = "" if self.encoder_decoder else lead_in(job.text) if self.closing is None else CLOSE + GAP
        return self._grammar(before, len(job.prompt.shown))

    def _make_grammar(self, before: str, count: int) -> Permutation:
        return permutation(self.reader.tokenizer, before, count, self.stops or (self.config.pad_token_id,))
