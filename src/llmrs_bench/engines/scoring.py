"""Which prompts with choices are scored together by a transformers model, and the check that this is exact."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from llmrs_bench.engines import causal, encoder_decoder
from llmrs_bench.engines.groups import Group, chain_group, fits, group_jobs, worthwhile_rows
from llmrs_bench.engines.jobs import Job, choices_response, cut, largest_difference
from llmrs_bench.engines.memory import Memory, exhausted
from llmrs_bench.engines.options import TOLERANCE
from llmrs_bench.errors import EngineError
from llmrs_bench.types import Response

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
_PLAIN = "Use `-O packed=false`, which suits every model and is slower."

ScoreGroups: TypeAlias = Callable[["PreTrainedModel", Sequence[Group]], list[list[list[float]]]]


class Scorer:
    """Scores the choices of prompts, packed or plainly.

    Packed scoring presumes attention that sees the whole prompt and positions that can be given. The first answers
    are compared with plain scoring; a model that packs badly fails there. Prompts beyond a sliding window are
    scored plainly, and counted.

    Args:
        model: Causal or encoder-decoder.
        memory: Bounds the batches.
        packed: Whether to pack at all.
        self_check: How many prompts to score in both ways.
    """

    def __init__(self, model: "PreTrainedModel", memory: Memory, *, packed: bool, self_check: int) -> None:
        self.model = model
        self.memory = memory
        self.packed = packed
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.to_check = self_check if packed else 0
        self.difference: float | None = None
        self.boundary_moved = 0
        self.scored_plainly = 0
        self.score_groups: ScoreGroups = encoder_decoder.score_chains if self.encoder_decoder else causal.score_groups
        self._window = causal.sliding_window(model)
        self._rows = worthwhile_rows(model)

    def batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Cut jobs into what `score` computes together, given each of these parts alone."""
        packed = [job for job in jobs if job.tokens.suffixes and self._packs(job)]
        for batch in cut(self._groups(packed), fits=self._fits):
            yield [job for group in batch for job in group.jobs]
        yield from ([job] for job in jobs if not job.tokens.suffixes or not self._packs(job))

    def score(self, jobs: Sequence[Job]) -> Iterator[Response]:
        """Score each job with choices once, the longest first.

        Raises:
            EngineError: If the device fails, or packed and plain scoring differ.
        """
        self.boundary_moved += sum(job.tokens.moved for job in jobs)
        yield from (choices_response(job, []) for job in jobs if not job.tokens.suffixes)
        asked = [job for job in jobs if job.tokens.suffixes]
        for batch in cut(self._groups([job for job in asked if self._packs(job)]), fits=self._fits):
            for responses in self.memory.run(batch, self._score_groups):
                yield from responses
        for job in asked:
            if not self._packs(job):
                self.scored_plainly += 1
                yield from self.memory.run([job], self._score_plainly)

    def _groups(self, jobs: Sequence[Job]) -> list[Group]:
        rows = min(self._rows, self.memory.tokens)
        if not self.encoder_decoder:
            return group_jobs(jobs, rows=rows)
        start = encoder_decoder.start_token(self.model)
        return [chain_group(job, start=start, rows=rows) for job in jobs]

    def _fits(self, batch: Sequence[Group]) -> bool:
        return not self.memory.deterministic and fits(batch, tokens=self.memory.tokens)

    def _score_groups(self, groups: Sequence[Group]) -> list[list[Response]]:
        """Return the responses of each group."""
        scored = self._checked(groups) if self.to_check > 0 else self.score_groups(self.model, groups)
        values = [group.assign(found) for group, found in zip(groups, scored, strict=True)]
        return [
            [
                choices_response(job, found, cached=cached)
                for job, found, cached in zip(group.jobs, rows, group.cached(), strict=True)
            ]
            for group, rows in zip(groups, values, strict=True)
        ]

    def _score_plainly(self, jobs: Sequence[Job]) -> list[Response]:
        return [choices_response(job, self._plain(job)) for job in jobs]

    def _plain(self, job: Job) -> list[list[float]]:
        if self.encoder_decoder:
            return encoder_decoder.score_targets(self.model, job.tokens, batch_tokens=self.memory.tokens)
        return causal.score_plain(self.model, job.tokens, batch_tokens=self.memory.tokens)

    def _packs(self, job: Job) -> bool:
        within = self._window is None or len(job.tokens.prefix) + job.tokens.longest <= self._window
        return self.packed and within

    def _checked(self, groups: Sequence[Group]) -> list[list[list[float]]]:
        """Score groups, and compare some of their prompts with plain scoring.

        Raises:
            EngineError: If a choice's log-probabilities differ by more than the arithmetic explains.
        """
        try:
            scored = self.score_groups(self.model, groups)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
            if isinstance(error, RuntimeError) and exhausted(error):
                raise
            raise EngineError(f"this model cannot score packed choices: {error}", hint=_PLAIN) from error
        # The groups that are padded most and least, and of each the prompts at both ends.
        ends = {(n, m) for n in (len(groups) - 1, 0) for m in (len(groups[n].jobs) - 1, 0)}
        for number, place in sorted(ends, reverse=True)[: self.to_check]:
            self._compare(groups[number].assign(scored[number])[place], groups[number].jobs[place])
        return scored

    def _compare(self, packed: Sequence[Sequence[float]], job: Job) -> None:
        difference = largest_difference(packed, self._plain(job))
        dtype = str(self.model.dtype).removeprefix("torch.")
        if not difference <= TOLERANCE[dtype]:
            raise EngineError(
                f"packed and plain scoring of one choice differ by {difference:.2g} nat, more than {TOLERANCE[dtype]}: "
                "this model's attention does not allow packing",
                hint=_PLAIN,
            )
        self.difference = max(difference, self.difference or 0.0)
        self.to_check -= 1
        log.info("self-check: packed and plain scoring differ by %.2g nat at most", difference)
