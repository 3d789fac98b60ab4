"""Which prompts with choices are scored together by a transformers model, and the check that this is exact."""

import logging
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from llmrs_bench.engines import causal, encoder_decoder
from llmrs_bench.engines.architecture import read_architecture
from llmrs_bench.engines.groups import Group, chain_group, fits, group_jobs, worthwhile_rows
from llmrs_bench.engines.jobs import Job, choices_response, cut
from llmrs_bench.engines.memory import Memory, exhausted
from llmrs_bench.engines.self_check import SelfCheck, agrees, difference, is_noise, of_suffixes, sampled
from llmrs_bench.errors import EngineError, raised_here
from llmrs_bench.types import Response

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
    reason is told once.

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
        self.score_groups: ScoreGroups = encoder_decoder.score_chains if self.encoder_decoder else causal.score_groups
        self.architecture = read_architecture(model)
        self.obstacle = self.architecture.obstacle if packed else None
        if packed and self.obstacle is None and not self.architecture.proven and not self_check:
            self.obstacle = "it is not known to allow that, and `-O self_check=0` keeps from finding out"
        self._packed = packed and self.obstacle is None
        self._untold = self.obstacle is not None
        self._rows = worthwhile_rows(model)

    def batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Cut jobs into what `score` computes together, given each of these parts alone."""
        packed = [job for job in jobs if job.tokens.suffixes and self._packs(job)]
        for batch in self._batches(packed):
            yield [job for group in batch for job in group.jobs]
        yield from ([job] for job in jobs if not job.tokens.suffixes or not self._packs(job))

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
                self._tell()
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
        start = encoder_decoder.start_token(self.model)
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
            return encoder_decoder.score_targets(self.model, job.tokens, batch_tokens=batch_tokens)
        switched = self.architecture.switch is not None
        return causal.score_plain(self.model, job.tokens, batch_tokens=batch_tokens, one_length=switched)

    def _plain_twice(self, job: Job) -> tuple[list[list[float]], list[list[float]]]:
        """Score a job plainly in batches, and each choice alone: behind the prompt's cache if that is known to suit."""
        together = self._plain(job, self.memory.tokens)
        if self.architecture.proven and self._packs(job) and not self.encoder_decoder:
            return together, causal.score_behind(self.model, job.tokens)
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
                self._differs("its code does not take titles that are packed")
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

    def _tell(self) -> None:
        """Say once why titles are not packed."""
        if self._untold:
            log.warning(
                "titles are scored one by one, which is slower, for this model does not allow more: %s", self.obstacle
            )
            self._untold = False
