"""Exact likelihoods of titles with transformers."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import signature
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from transformers import DynamicCache

from llmrs_bench.core.errors import EngineError, raised_here
from llmrs_bench.core.types import Response
from llmrs_bench.llm.backends.packing import PackBatch, edge_logprobs, pad_right, row_logits, worthwhile_rows
from llmrs_bench.llm.backends.token_tree import Group, chain_group, fits, group_jobs, shared_head
from llmrs_bench.llm.loading import Memory, exhausted
from llmrs_bench.llm.self_check import SelfCheck, agrees, difference, is_noise, of_suffixes, read_architecture, sampled
from llmrs_bench.llm.tokenization import Ids, Job, Tokenized, choices_response, cut

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def score_groups(model: "PreTrainedModel", groups: Sequence[Group], *, switch: int = 0) -> list[list[list[float]]]:
    """Score the branches of several groups in two forward passes: the prefixes, then what is packed behind each.

    The prefixes are padded at their ends and run with the fast causal attention, which never sees that; they leave
    their keys and values. What all of them begin with, such as the head of a chat template, is read once, in a pass
    before. The packed rows then attend to the prefixes and to what is above each in its tree. A prompt of P tokens and
    N titles of T tokens costs at most P + N (T - 1) tokens, not N (P + T).

    Args:
        model: A causal model whose attention takes a mask of four dimensions, and that looks back on all of it.
        groups: Several of one pack each, or one of several packs, which take a pass each over the same cache.
        switch: The length at which rotary positions change, if they do: all prefixes are on one side of it.

    Returns:
        For each group the log-probabilities of the scored tokens of each branch.
    """
    # A plain cache drops nothing, also where a model looks back on less: what is packed is within that.
    cache = DynamicCache()
    prefixes = [group.prefix for group in groups]
    last = _read_prefixes(model, prefixes, cache, head=shared_head(prefixes, switch=switch))
    lengths = torch.tensor([len(group.prefix) for group in groups], device=model.device)
    width = max(len(group.prefix) for group in groups)
    found: list[list[list[float]]] = [[] for _ in groups]
    for packs in zip(*(group.packs for group in groups), strict=True):
        batch = PackBatch(packs, model.device)
        logits = None
        if batch.rows:
            logits = row_logits(
                model,
                batch.scored,
                input_ids=batch.inputs,
                position_ids=batch.depths + lengths[:, None],
                attention_mask=batch.mask(lengths, width, model.dtype),
                use_cache=True,
                **{cache_argument(model): cache},
            )
            cache.crop(-batch.rows)  # back to the prefixes
        for all_values, new in zip(found, batch.read(last, logits), strict=True):
            all_values.extend(new)
    return found


def score_plain(
    model: "PreTrainedModel", tokens: Tokenized, *, batch_tokens: int, one_length: bool = False
) -> list[list[float]]:
    """Score each distinct suffix in a sequence of its own behind the whole prefix, in batches padded on the right.

    Padding comes after all that is scored, so causal attention never sees it and needs no mask; logits are only
    made for the rows that score a suffix. Suffixes that differ in their last token alone are one sequence. Correct
    for every causal model; about N (P + T) tokens.

    Args:
        model: Causal.
        tokens: A prompt and its suffixes.
        batch_tokens: The most tokens of a batch, or of one sequence that takes more.
        one_length: Whether a batch may only hold sequences as long as that of a whole suffix, its last token counted:
            for a model that rotates positions by the length of what it reads.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    inputs = sorted({suffix[:-1] for suffix in tokens.distinct}, key=lambda ids: (len(ids), ids))
    size = max(1, batch_tokens // (len(tokens.prefix) + tokens.longest - 1))
    found: dict[Ids, list[float]] = {}
    for some in cut(inputs, fits=lambda some: len(some) <= size and not (one_length and len(some[0]) < len(some[-1]))):
        padded = pad_right([tokens.prefix + ids + (0,) * one_length for ids in some], 0).to(model.device)
        rows = suffix_rows(some, padded.shape[1], len(tokens.prefix) - 1).to(model.device)
        logits = row_logits(model, rows, input_ids=padded, use_cache=False)
        found |= read_suffixes(logits, some, tokens.distinct)
    return [found[suffix] for suffix in tokens.distinct]


def score_behind(model: "PreTrainedModel", tokens: Tokenized) -> list[list[float]]:
    """Score each distinct suffix alone behind the cache of its prefix, without mask or positions of our own.

    The arithmetic of `score_plain` in other portions: the numbers that rounding makes of it are others.

    Args:
        model: Causal, with a cache of keys and values that sees the whole prompt.
        tokens: A prompt and its suffixes.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    cache = DynamicCache()
    first = _read_prefixes(model, [tokens.prefix], cache)
    found = []
    for suffix in tokens.distinct:
        logits = first
        if len(suffix) > 1:
            inputs = torch.tensor([suffix[:-1]], device=model.device)
            rows = torch.arange(len(suffix) - 1, device=model.device)
            behind = row_logits(model, rows, input_ids=inputs, use_cache=True, **{cache_argument(model): cache})
            cache.crop(1 - len(suffix))
            logits = torch.cat([first, behind])
        found.append(edge_logprobs(logits, list(enumerate(suffix))))
    return found


def suffix_rows(inputs: Sequence[Ids], width: int, first: int) -> Tensor:
    """Return the rows that score suffixes, counted through a batch of (inputs, width).

    Args:
        inputs: The tokens of each suffix but its last.
        width: Of the batch.
        first: Where in a sequence the row is that scores the first token of a suffix.
    """
    starts = [number * width + first for number in range(len(inputs))]
    return torch.tensor([start + row for start, ids in zip(starts, inputs, strict=True) for row in range(len(ids) + 1)])


def read_suffixes(logits: Tensor, inputs: Sequence[Ids], suffixes: Sequence[Ids]) -> dict[Ids, list[float]]:
    """Return the log-probabilities of those suffixes whose tokens but the last are one of `inputs`.

    Args:
        logits: (n, vocabulary) of the n rows of `suffix_rows`.
        inputs: The tokens that were read, without the prefix.
        suffixes: What to look for.
    """
    starts = dict(zip(inputs, accumulate((len(ids) + 1 for ids in inputs), initial=0), strict=False))
    wanted = [suffix for suffix in suffixes if suffix[:-1] in starts]
    edges = [(starts[suffix[:-1]] + row, token) for suffix in wanted for row, token in enumerate(suffix)]
    values = iter(edge_logprobs(logits, edges))
    return {suffix: [next(values) for _ in suffix] for suffix in wanted}


def cache_argument(model: "PreTrainedModel") -> str:
    """Return what the model's forward pass calls the cache: `cache` from transformers 5.20 on, before that another."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


def _read_prefixes(model: "PreTrainedModel", prefixes: Sequence[Ids], cache: DynamicCache, *, head: int = 0) -> Tensor:
    """Fill the cache, and return the logits (prefixes, vocabulary) of the last token of each prefix.

    Args:
        model: Causal.
        prefixes: One or more.
        cache: Empty.
        head: How many tokens of all prefixes are the same and are read once, in a pass of their own.
    """
    if head:
        none = torch.tensor([], dtype=torch.long, device=model.device)
        ids = torch.tensor([prefixes[0][:head]], device=model.device)
        row_logits(model, none, input_ids=ids, use_cache=True, **{cache_argument(model): cache})
        cache.batch_repeat_interleave(len(prefixes))
    padded = pad_right([prefix[head:] for prefix in prefixes], 0).to(model.device)
    lasts = [number * padded.shape[1] + len(prefix) - head - 1 for number, prefix in enumerate(prefixes)]
    rows = torch.tensor(lasts, device=model.device)
    return row_logits(model, rows, input_ids=padded, use_cache=True, **{cache_argument(model): cache})


if TYPE_CHECKING:
    from transformers import PreTrainedModel


def start_token(model: "PreTrainedModel") -> int:
    """Return the token that a decoder's text begins with."""
    return int(model.config.decoder_start_token_id)


def score_chains(model: "PreTrainedModel", groups: Sequence[Group]) -> list[list[list[float]]]:
    """Score the choices of several prompts as one decoder sequence for each prompt, whose encoder runs once.

    Each choice is a chain of neighbouring rows that sees itself alone, so distances between its tokens are right;
    the decoder must know no other positions. One sequence, for the decoder takes keys and values of the prompt
    for each sequence it has.

    Args:
        model: An encoder-decoder model whose decoder knows relative positions only, such as T5.
        groups: Several of one pack each, or one of several packs; made of chains.

    Returns:
        For each group the log-probabilities of the tokens of each choice.
    """
    output, states, mask = _encode(model, [group.prefix for group in groups])
    nothing = torch.zeros(len(groups), dtype=torch.long, device=model.device)
    found: list[list[list[float]]] = [[] for _ in groups]
    for packs in zip(*(group.packs for group in groups), strict=True):
        batch = PackBatch(packs, model.device)
        logits = row_logits(
            model,
            batch.scored,
            encoder_outputs=output(last_hidden_state=states),
            attention_mask=mask,
            decoder_input_ids=batch.inputs,
            decoder_attention_mask=batch.mask(nothing, 0, model.dtype),
            use_cache=False,
        )
        for all_values, new in zip(found, batch.read(None, logits), strict=True):
            all_values.extend(new)
    return found


def score_targets(model: "PreTrainedModel", tokens: Tokenized, *, batch_tokens: int) -> list[list[float]]:
    """Score each distinct suffix as a decoder sequence of its own; the encoder reads the prompt once.

    Returns:
        For each of `tokens.distinct` the log-probabilities of its tokens.
    """
    output, states, mask = _encode(model, [tokens.prefix])
    start, distinct = start_token(model), tokens.distinct
    size = max(1, batch_tokens // (len(tokens.prefix) + tokens.longest))
    found: dict[Ids, list[float]] = {}
    for begin in range(0, len(distinct), size):
        suffixes = distinct[begin : begin + size]
        inputs = [suffix[:-1] for suffix in suffixes]
        padded = pad_right([(start, *ids) for ids in inputs], 0).to(model.device)
        logits = row_logits(
            model,
            suffix_rows(inputs, padded.shape[1], 0).to(model.device),
            encoder_outputs=output(last_hidden_state=states.expand(len(suffixes), -1, -1)),
            attention_mask=mask.expand(len(suffixes), -1),
            decoder_input_ids=padded,
            use_cache=False,
        )
        found |= read_suffixes(logits, inputs, suffixes)
    return [found[suffix] for suffix in distinct]


def _encode(model: "PreTrainedModel", prompts: Sequence[Ids]) -> tuple[Callable[..., Any], Tensor, Tensor]:
    """Return the kind of an encoder's output, its states (B, width, size) of padded prompts, and the mask (B, width).

    Prompts are padded at their ends.
    """
    inputs = pad_right(prompts, 0).to(model.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    mask = (torch.arange(inputs.shape[1], device=model.device)[None, :] < lengths[:, None]).long()
    found = model.get_encoder()(input_ids=inputs, attention_mask=mask, return_dict=True)
    return type(found), found.last_hidden_state, mask


if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
_PACKED = "Use `-O packed=false`, which scores each title in a sequence of its own, and report this."
_ALONE = "Use `-O batch_tokens=1`, which computes each title alone, and report this."

ScoreGroups: TypeAlias = Callable[["PreTrainedModel", Sequence[Group]], list[list[list[float]]]]


class Scorer:
    """Scores the choices of prompts, packed where the model's architecture allows that, else plainly.

    Packed scoring presumes attention that sees the whole prompt and positions that can be given. Three things decide:
    the configuration, where it names what does not fit; the self-check for kinds of models that are not known to
    pack, which are scored plainly from there on if their packed scores fail or differ; and the length of a prompt,
    for one beyond a sliding window or across a switch of rotary positions. What is scored plainly is counted, and the
    reason is given once.

    Going over to plain scoring could hide an error of packed scoring in a kind that is not known to pack: the run is
    slower then, but plain scores are right. It hides no error of a kind that is known to pack: there a difference
    stops the run. Nor does it hide one in plain scoring: that is compared with itself between two batch sizes first.
    Neither comparison sees what is wrong with the tokens of a prompt or with the weights, such as an adapter that is
    not applied at all, for that changes all ways of scoring alike.

    Args:
        model: Causal or encoder-decoder.
        memory: Bounds the batches.
        packed: Whether to pack at all.
        self_check: How many prompts to score in both ways, on each side of a length at which the architecture changes.
    """

    def __init__(self, model: "PreTrainedModel", memory: Memory, *, packed: bool, self_check: int) -> None:
        self.model = model
        self.memory = memory
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.self_check = SelfCheck(self_check)
        self.boundary_moved = 0
        self.scored_plainly = 0
        self.architecture = read_architecture(model)
        causal = partial(score_groups, switch=self.architecture.switch or 0)
        self.score_groups: ScoreGroups = score_chains if self.encoder_decoder else causal
        self.obstacle = self.architecture.obstacle if packed else None
        if packed and self.obstacle is None and not self.architecture.proven and not self_check:
            self.obstacle = "it is not known to allow that, and `-O self_check=0` turns the test off"
        self._packed = packed and self.obstacle is None
        self._untold = packed  # why is a title scored plainly?
        self._rows = worthwhile_rows(model)

    @property
    def dtype(self) -> str:
        """Return the name of the model's number format."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def checked(self) -> bool:
        """Return whether no prompt is to be compared any more."""
        return self.self_check.complete(len(self.architecture.limits) + 1)

    def pick(self, jobs: Sequence[Job]) -> list[Job]:
        """Return those of the jobs that are to be compared now."""
        asked = [job for job in jobs if job.tokens.suffixes]
        return self.self_check.pick(asked, lambda job: self.architecture.side(job.tokens))

    def check(self, picked: Sequence[Job], beside: Sequence[Job]) -> None:
        """Compare plain scoring between two batch sizes, and packed scoring with it.

        Args:
            picked: The jobs to compare.
            beside: These and others, which are packed with them as in the run.

        Raises:
            EngineError: If plain scores depend on the size of a batch, or packed ones of a kind that is known to
                pack differ from them, by more than rounding explains.
        """
        trial = Memory(self.memory.tokens, deterministic=self.memory.deterministic)
        plain = {}
        for job in picked:
            some = sampled(job)
            together, alone = next(iter(trial.run([some], lambda jobs: [self._plain_twice(jobs[0])])))
            plain[job.prompt.prompt_id] = (some, together, alone)
        both = [pair for _, together, alone in plain.values() for pair in zip(together, alone, strict=True)]
        noise = difference([one for one, _ in both], [other for _, other in both])
        self.self_check.note(noise=noise)
        if not is_noise(noise, self.dtype):
            raise EngineError(f"plain scores of a title differ between two batch sizes by {noise}", hint=_ALONE)
        log.info("self-check: plain scores differ between two batch sizes by %s", noise)
        packed = self._packed_scores(beside, trial) if self._packed else None
        self.memory.tokens = min(self.memory.tokens, trial.tokens)
        for name, values in (packed or {}).items():
            if name not in plain or not self._packed:
                continue
            some, together, _ = plain[name]
            found = difference(of_suffixes(*values, some.tokens.distinct), together)
            if not agrees(found, noise, self.dtype):
                self._differs(f"packed and plain scores of a title differ by {found}")
                continue
            self.self_check.note(found=found)
            log.info("self-check: packed and plain scores differ by %s", found)

    def batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Cut jobs into what `score` computes together, given each of these parts alone."""
        packed = [job for job in jobs if job.tokens.suffixes and self._packs(job)]
        for batch in self._batches(packed):
            yield [job for group in batch for job in group.jobs]
        yield from ([job] for job in jobs if not job.tokens.suffixes or not self._packs(job))

    def score(self, jobs: Sequence[Job]) -> Iterator[Response]:
        """Score each job with choices once, the longest first.

        Raises:
            EngineError: If the device fails.
        """
        self.boundary_moved += sum(job.tokens.moved for job in jobs)
        yield from (choices_response(job, []) for job in jobs if not job.tokens.suffixes)
        asked = [job for job in jobs if job.tokens.suffixes]
        for batch in self._batches([job for job in asked if self._packs(job)]):
            for responses in self.memory.run(batch, self._score_groups):
                yield from responses
        for job in asked:
            if not self._packs(job):
                self._tell(job)
                self.scored_plainly += 1
                yield from self.memory.run([job], self._score_plainly)

    def _batches(self, jobs: Sequence[Job], padding: float = 0.125) -> Iterator[list[Group]]:
        """Yield groups to compute together, those on the same side of a switch."""

        def together(batch: Sequence[Group]) -> bool:
            return not self.memory.deterministic and fits(batch, tokens=self.memory.tokens, padding=padding)

        switch = self.architecture.switch or 0
        for beyond in (True, False):
            side = [job for job in jobs if (len(job.tokens.prefix) > switch) == beyond]
            yield from cut(self._groups(side, least=switch + 1 if beyond else 1), fits=together)

    def _groups(self, jobs: Sequence[Job], *, least: int) -> list[Group]:
        rows = min(self._rows, self.memory.tokens)
        if not self.encoder_decoder:
            return group_jobs(jobs, rows=rows, least=least)
        start = start_token(self.model)
        return [chain_group(job, start=start, rows=rows) for job in jobs]

    def _score_groups(self, groups: Sequence[Group]) -> list[list[Response]]:
        """Return the responses of each group."""
        scored = self.score_groups(self.model, groups)
        values = [group.assign(found) for group, found in zip(groups, scored, strict=True)]
        return [
            [
                choices_response(job, found, cached=cached)
                for job, found, cached in zip(group.jobs, rows, group.cached(), strict=True)
            ]
            for group, rows in zip(groups, values, strict=True)
        ]

    def _score_plainly(self, jobs: Sequence[Job]) -> list[Response]:
        return [choices_response(job, self._plain(job, self.memory.tokens)) for job in jobs]

    def _plain(self, job: Job, batch_tokens: int) -> list[list[float]]:
        if self.encoder_decoder:
            return score_targets(self.model, job.tokens, batch_tokens=batch_tokens)
        switched = self.architecture.switch is not None
        return score_plain(self.model, job.tokens, batch_tokens=batch_tokens, one_length=switched)

    def _plain_twice(self, job: Job) -> tuple[list[list[float]], list[list[float]]]:
        """Score a job plainly in batches, and each choice alone: behind the prompt's cache if that is known to suit."""
        together = self._plain(job, self.memory.tokens)
        if self.architecture.proven and self._packs(job) and not self.encoder_decoder:
            return together, score_behind(self.model, job.tokens)
        return together, self._plain(job, 1)

    def _packs(self, job: Job) -> bool:
        return self._packed and self.architecture.packs(job.tokens)

    def _packed_scores(self, jobs: Sequence[Job], trial: Memory) -> dict[str, tuple[Job, list[list[float]]]]:
        """Return by prompt id each job that packs and its scores, or nothing if the model's own code fails on them."""

        def score(groups: Sequence[Group]) -> list[list[tuple[Job, list[list[float]]]]]:
            scored = self.score_groups(self.model, groups)
            values = [group.assign(found) for group, found in zip(groups, scored, strict=True)]
            return [list(zip(group.jobs, rows, strict=True)) for group, rows in zip(groups, values, strict=True)]

        def attempt(groups: Sequence[Group]) -> list[list[tuple[Job, list[list[float]]]]]:
            try:
                return score(groups)
            except Exception as error:
                if (isinstance(error, RuntimeError) and exhausted(error)) or raised_here(error):
                    raise
                log.debug("self-check: packed scoring failed", exc_info=True)
                self._differs("its code does not accept packed titles")
                return []

        found: dict[str, tuple[Job, list[list[float]]]] = {}
        for batch in self._batches([job for job in jobs if self._packs(job)], padding=inf):
            for pairs in trial.run(batch, attempt):
                found |= {job.prompt.prompt_id: (job, values) for job, values in pairs}
        return found

    def _differs(self, why: str) -> None:
        """Score plainly from now on.

        Raises:
            EngineError: If the model is of a kind that is known to pack.
        """
        if self.architecture.proven:
            kind = self.model.config.get_text_config().model_type
            raise EngineError(f"{why}, though models of the kind {kind!r} can be packed", hint=_PACKED)
        self._packed, self._untold, self.obstacle = False, True, why
        self._tell()

    def _tell(self, job: Job | None = None) -> None:
        """Say once why titles are not packed: those of no prompt, or those of a job."""
        if not self._untold:
            return
        self._untold = False
        if self.obstacle is not None:
            log.warning(
                "titles are scored one by one, which is slower, since this model does not allow packing: %s",
                self.obstacle,
            )
        elif job is not None:
            log.warning(
                "titles of some prompts are scored one by one, which is slower: %s",
                self.architecture.hindrance(job.tokens),
            )
