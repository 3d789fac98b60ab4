"""Stage `tune`: a language model tuned on prompts of the training part, as a model that `infer` takes."""

import gc
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import (
    LARGEST_SEED,
    LanguageModelConfig,
    Options,
    PromptConfig,
    with_own_tokens,
)
from llmrs_bench.core.device import pick_device
from llmrs_bench.core.environment import prints_on_stderr
from llmrs_bench.core.errors import DataError, ModelError, OptionError
from llmrs_bench.core.hashing import file_digest, fingerprint
from llmrs_bench.core.types import Progress, no_progress
from llmrs_bench.llm.adapters import CARD, CONFIG, LEAST_CHANGE, WEIGHTS, ProbePrompt, TunedModel
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.metrics.clicks import ClickRows
from llmrs_bench.metrics.labelled import value as value_of
from llmrs_bench.prompts.strategies.base import Normalization
from llmrs_bench.stages.prompt import PromptPlan, open_plan, shown_history, source_digest
from llmrs_bench.stages.serving import (
    TUNED,
    file_name,
    label_of,
    learned_from,
    locate,
    probe_prompts,
    probe_scores,
    specify,
)
from llmrs_bench.stages.tune_samples import Example, Examples, SampleMaker, check_tunable
from llmrs_bench.stages.tuned_models import check_tunable_model
from llmrs_bench.stages.workspace import Data

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmrs_bench.llm.processes import Group
    from llmrs_bench.llm.tokenization import PromptReader
    from llmrs_bench.llm.tuning import Sample, Validation

# Bumped when the same data and options lead to other weights.
FORMAT = "2"
_PROBES, _PROBE_CHOICES = 8, 4
_DEPTH = 10  # of the ranking that validation looks at


class TuneConfig(Options):
    """A language model tuned on `samples` prompts of the training part: by which method, with which `options`."""

    model: str
    template: str
    template_options: dict[str, str] = Field(default_factory=dict)
    history: int | None = Field(default=None, ge=0)
    method: Literal["lora", "full"] = "lora"
    samples: Annotated[int, Field(ge=0, le=2**31 - 1)] | Literal["all"] = 256
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    options: dict[str, str] = Field(default_factory=dict)

    @property
    def prompt(self) -> PromptConfig:
        """What of it decides the prompts."""
        options = with_own_tokens(self.template_options, self.model)
        return PromptConfig(template=self.template, options=options, history=self.history)


def tune(data: Data, config: TuneConfig, progress: Progress) -> StageResult | None:
    """Make the artifact `model` of a tuned model: adapter or weights, tokenizer, and what it is.

    A tuning that was interrupted goes on after its last validation. Of several processes that a launcher started the
    first one makes it; the others share its samples, and return None.

    Raises:
        OptionError: If the model, the template or an option does not fit.
        DataError: If there are fewer samples than asked for, or their answers are all the same.
        LeakError: If a held-out event is in a sample.
        ModelError: If the model cannot be had or trained, or tuning left it as it was.
    """
    from llmrs_bench.llm.processes import join_processes

    group = join_processes(config.device)
    job = TuneJob(data, config, group)
    place, kept = job.place, job.kept
    if group.rank:  # the first process says whether there is anything to do, and writes it
        if group.first(lambda: True) and config.samples:
            job.train(no_progress, kept)
        group.first(lambda: True)
        return None
    told: list[bool] = []

    def fill(draft: Draft) -> None:
        told.append(group.first(lambda: True))
        with prints_on_stderr():
            job.fill(draft, progress=progress, kept=kept)

    done = get_or_create(place, job.recipe, fill)
    if not told:
        group.first(lambda: False)
    kept.unlink(missing_ok=True)
    group.first(lambda: True)
    return done


@dataclass
class _Trained:
    """What a tuning came to; `model` and `weights` are let go of once they are written."""

    model: Any
    reader: "PromptReader"
    made: Examples
    valid: Examples
    facts: dict[str, Any]
    weights: dict[str, Any] | None  # whole, where the model holds a part of each


class TuneJob:
    """One tuning: its data, its model and its options."""

    def __init__(self, data: Data, config: TuneConfig, group: "Group | None" = None) -> None:
        from llmrs_bench.llm.base import ModelOptions
        from llmrs_bench.llm.loading import Checkpoint
        from llmrs_bench.llm.processes import Group, check_launch
        from llmrs_bench.llm.tune_options import TuneOptions

        self.data, self.config, self.group = data, config, group or Group()
        check_tunable_model(config.model)
        self.plan: PromptPlan = open_plan(config.prompt)
        check_tunable(data, self.plan)
        self.options: TuneOptions = TuneOptions.parse(config.options, owner="tune")
        if idle := sorted(TuneOptions.of_lora & set(config.options)):
            self._refuse_idle(idle)
        if self.options.redraw and (data.labelled or not self.plan.template.prompt_template.uses("candidates")):
            raise OptionError(
                f"-O redraw has no effect on template {self.plan.name}: its prompts show no drawn candidates",
                hint="Leave it out.",
            )
        asked = locate(data, LanguageModelConfig(model=config.model))
        self.spec: ModelSpec = specify(data, asked, no_progress)
        self.base_label = label_of(asked)
        self.checkpoint: Checkpoint = Checkpoint(
            self.spec, ModelOptions(trust_remote_code=self.options.trust_remote_code)
        )
        if self.checkpoint.files.adapter is not None and set(config.options) & {"rank", "alpha", "modules"}:
            raise OptionError(
                f"{config.model} is an adapter: tuning continues with its own rank and modules",
                hint="Leave out -O rank, alpha and modules.",
            )
        self.device = pick_device(config.device)
        check_launch(self.group, self.options, self.device)
        self.history = shown_history(data, config.prompt)
        packed = "" if self.options.quantization == "none" else f"-{self.options.quantization}"
        self.label = f"{self.base_label}+{config.method}{packed}-{config.samples}"

    def _refuse_idle(self, idle: Sequence[str]) -> None:
        if self.config.method == "full":
            raise OptionError(f"-O {idle[0]} has no effect with --method full", hint="Leave it out.")

    @property
    def recipe(self) -> Recipe:
        """What decides the weights; `--samples all` and the number of all samples are the same."""
        data, config = self.data, self.config
        tables = ["items", "interactions", "requests", "truth", *(["samples"] if data.labelled else [])]
        return Recipe(
            "tune",
            f"{TUNED}{file_name(self.base_label)}-{self.plan.name}-{config.method}-{config.samples}",
            {
                "method": config.method,
                "samples": config.samples,
                "seed": config.seed,
                "device": self.device.type,
                "options": self.options.result_options,
                "template": self.plan.name,
                **self.plan.config,
                "history": self.history,
                "item_word": data.item_word,
                "chat": self.spec.chat,
                **self.group.facts,
            },
            {
                **{table: data.artifact.digest(table) for table in tables},
                "model": fingerprint(dict(self.checkpoint.identity)),
                "template": self.plan.source.digest,
            },
            {"format": FORMAT, "prompts": source_digest(self.plan.template)},
        )

    @property
    def place(self) -> Path:
        """The folder of the model."""
        return self.recipe.place(self.data.place.models)

    @property
    def kept(self) -> Path:
        """Where the training is kept as long as it is not finished."""
        return self.place.with_name(f"{self.place.name}.training")

    def reader(self) -> "PromptReader":
        """Return the reader of the model's prompts."""
        from llmrs_bench.llm.tokenization import PromptReader

        config = self.checkpoint.config()
        return PromptReader(
            self.checkpoint.tokenizer(), chat=self.spec.chat, encoder_decoder=bool(config.is_encoder_decoder)
        )

    def maker(self, reader: "PromptReader") -> SampleMaker:
        """Return what makes samples for the model."""
        from llmrs_bench.llm.loading import context_length, stated_limits
        from llmrs_bench.llm.tuning import end_of_turn

        model = self.checkpoint.config()
        return SampleMaker(
            self.data,
            self.plan,
            history=self.history,
            reader=reader,
            end=end_of_turn(reader),
            context=context_length(self.spec, model, reader.tokenizer, wanted=self.options.context),
            seed=self.config.seed,
            limit=min(stated_limits(self.spec, model), default=None),
        )

    def samples(self, maker: SampleMaker) -> Examples:
        """Return the samples of the training part.

        Raises:
            DataError: If there are fewer than asked for, or all have the same answer.
        """
        wanted, there = self.config.samples, maker.size("train")
        if wanted != "all" and 0 < there < wanted:
            raise DataError(
                f"{wanted:,} samples were asked for, but the training part has {there:,}",
                hint=f"Write --samples {there}, or --samples all.",
            )
        made = maker.make("train", 2**31 if wanted == "all" else wanted)
        count = len(made.examples)
        if maker.asks_one and count and made.facts["yes"] in (0, count):
            raise DataError(
                f"all {count:,} samples have the answer {'Yes' if made.facts['yes'] else 'No'}: nothing can be learned",
                hint="Raise --samples, or take another --seed.",
            )
        return made

    def train(self, progress: Progress, kept: Path) -> "_Trained":
        """Tune the model, with what else there is of its group."""
        from llmrs_bench.core.training_checkpoint import Resume, seeded
        from llmrs_bench.llm.training_memory import check_memory
        from llmrs_bench.llm.tuning import load_trainable, plain_model, tune

        config, options, group = self.config, self.options, self.group
        reader = self.reader()
        maker = self.maker(reader)
        made, valid = self.samples(maker), self.valid(maker)
        samples = [maker.sample(example) for example in made.examples]
        longest = max(sample.size for sample in samples)

        @lru_cache(maxsize=1)
        def seen(epoch: int) -> list["Sample"]:
            if not (epoch and options.redraw):
                return samples
            return [maker.sample(example) for example in maker.make("train", len(samples), epoch=epoch).examples]

        estimate = check_memory(
            self.checkpoint.config(), config.method, options, longest=longest, device=self.device, group=group
        )
        with seeded(config.seed, self.device) as order:
            model = load_trainable(self.checkpoint, config.method, options, self.device, group)
            trained = tune(
                model,
                seen,
                self._validation(plain_model(model), maker, valid),
                options,
                seed=config.seed,
                progress=partial(progress, f"tuning {self.label}"),
                resume=Resume(kept, self.recipe.fingerprint, order, group.whole, group.part, writes=group.rank == 0),
                group=group,
            )
        facts = {
            "estimated_gb": estimate,
            **trained,
            **counts_of(made, samples),
            "valid": _counts(valid),
            "sample_ids": [sample.sample_id for sample in samples],
            "warnings": _warnings(trained, made, valid),
        }
        return _Trained(model, reader, made, valid, facts, group.weights(model))

    def fill(self, draft: Draft, *, progress: Progress, kept: Path) -> None:
        """Tune the model, write it, and see that it can be loaded and answers otherwise than its base."""
        from llmrs_bench.llm.tokenization import template_digest
        from llmrs_bench.llm.tuning import save_tuned

        config, commit = self.config, self.checkpoint.identity.get("commit")
        facts: dict[str, Any] = {"label": self.label, "model": {**asdict(self.spec), "name": self.label}}
        card = {
            "label": self.label,
            "dataset": self.data.place.root.parent.name,
            "data": learned_from(self.data),
            "template": self.plan.name,
            "method": config.method,
            "samples": 0,
            "spec": {**asdict(self.spec), "source": self.checkpoint.source, "revision": commit},
            "base": {name: value for name, value in self.checkpoint.identity.items() if name != "adapter"},
            "typed": {**config.options, **({"tune_seed": str(config.seed)} if config.seed else {})},
            "options": self._options_read,
        }
        if config.samples == 0:
            draft.facts.update(facts, cost={"seconds": 0.0, "joules": 0.0})
            self._write(draft, card, chat_template=None, probe=(), cost=draft.facts["cost"])
            return
        done = self.train(progress, kept)
        save_tuned(done.model, done.reader, draft.path, done.weights)
        done.model = done.weights = None
        gc.collect()
        examples = [*done.valid.examples, *done.made.examples][:_PROBES]
        probe = self._probe(draft.path, examples, self._probe_device(done.facts["all_weights"]))
        draft.facts.update(facts, **done.facts)
        cost = {name: done.facts[name] for name in ("seconds", "joules", "samples_per_second", "peak_memory_gb")}
        card["samples"] = len(done.made.examples)
        self._write(draft, card, chat_template=template_digest(done.reader.tokenizer), probe=probe, cost=cost)

    @property
    def _options_read(self) -> dict[str, Any]:
        """Return the options that this tuning reads, with their defaults; an adapter has a rank of its own."""
        options, method = self.options, self.config.method
        chosen = {"alpha": options.alpha or 2 * options.rank, "lr": options.rate(method)}
        found = options.model_dump(mode="json") | chosen
        own = {"rank", "alpha", "modules"} if self.checkpoint.files.adapter is not None else set()
        idle = options.of_lora if method == "full" else own
        return {name: value for name, value in found.items() if name not in idle}

    def valid(self, maker: SampleMaker) -> Examples:
        """Return the validation examples; none where the data have none."""
        try:
            return maker.make("valid", self.options.valid)
        except DataError:
            return Examples([])

    def _validation(self, model: "PreTrainedModel", maker: SampleMaker, valid: Examples) -> "Validation":
        """Return what says when to stop: AUC of Yes, NDCG of a ranking, or the loss of the answer.

        Without validation events it is the loss on the samples themselves, which is said.
        """
        from llmrs_bench.llm.backends.likelihood import Scorer
        from llmrs_bench.llm.loading import Memory
        from llmrs_bench.llm.tuning import Validation, mean_loss

        tokens = self.options.batch_tokens
        one_class = maker.asks_one and valid.facts["yes"] in (0, len(valid.examples))
        if self.plan.template.mode == "generate" or one_class or not valid.examples:
            examples = valid.examples or self.samples(maker).examples
            told = [maker.sample(example) for example in examples]
            return Validation("loss", lambda: mean_loss(model, told, tokens=tokens), lower=True)
        memory = Memory(tokens, deterministic=False, alone=not self.group.sharded)
        scorer = Scorer(model, memory, packed=True, self_check=0)
        jobs = [maker.reader.read(example.prompt) for example in valid.examples]
        quality = auc if maker.asks_one else mean_ndcg

        def measure() -> float:
            answers = {answer.prompt_id: answer for answer in scorer.score(jobs)}
            scores = [
                self.plan.template.parse([one.prompt], [answers[one.prompt.prompt_id]], Normalization()).values
                for one in valid.examples
            ]
            return quality(valid.examples, scores)

        return Validation("auc" if maker.asks_one else f"ndcg@{_DEPTH}", measure)

    def _probe_device(self, weights: int) -> str:
        """Return where a model is asked whose weights were divided: on the CPU if one GPU does not take it whole."""
        from llmrs_bench.llm.training_memory import free_memory

        large = self.group.sharded and 5e-9 * weights > free_memory(self.device)  # float32, and something to work with
        return "cpu" if large else self.device.type

    def _probe(self, folder: Path, examples: Sequence[Example], device: str) -> tuple[ProbePrompt, ...]:
        """Load the tuned model and its base as `infer` does, in float32, and return what both say to some prompts.

        Raises:
            ModelError: If the tuned model cannot be loaded, or says the same as its base.
        """
        asked = [
            ProbePrompt(
                messages=tuple((message.role, message.content) for message in example.prompt.messages),
                choices=tuple(dict.fromkeys((example.answer, *(example.prompt.choices or ()))))[:_PROBE_CHOICES],
                labels=example.prompt.labels,
                tuned=(),
                base=(),
            )
            for example in examples
        ]
        tuned = self._scores(replace(self.spec, source=str(folder), revision=None), asked, device)
        base = self._scores(self.spec, asked, device)
        changes = [abs(a - b) for one, other in zip(tuned, base, strict=True) for a, b in zip(one, other, strict=True)]
        if not all(np.isfinite(changes)) or max(changes) <= LEAST_CHANGE:
            raise ModelError(
                f"the tuned model answers {len(asked)} prompts as its base does: tuning changed nothing",
                hint="Raise -O lr or -O epochs.",
            )
        return tuple(
            one.model_copy(update={"tuned": said, "base": before})
            for one, said, before in zip(asked, tuned, base, strict=True)
        )

    def _scores(self, spec: ModelSpec, asked: Sequence[ProbePrompt], device: str) -> list[tuple[float, ...]]:
        from llmrs_bench.llm.backends.transformers import TransformersEngine
        from llmrs_bench.llm.engine_options import TransformersOptions

        chosen = TransformersOptions(dtype="float32", self_check=0, trust_remote_code=self.options.trust_remote_code)
        engine = TransformersEngine(spec, chosen, device=device, seed=0)
        with closing(engine):
            return probe_scores(engine, probe_prompts(asked))

    def _write(self, draft: Draft, card: dict[str, Any], **more: Any) -> None:
        """Write what the folder is, last of its files."""
        names = [path.name for path in sorted(draft.path.iterdir()) if path.name in (*WEIGHTS, CONFIG, "config.json")]
        names += [path.name for path in sorted(draft.path.glob("model*.safetensors"))]
        files = {name: file_digest(draft.path / name) for name in names}
        text = TunedModel(**card, **more, files=files).model_dump_json(indent=1)
        (draft.path / CARD).write_text(text + "\n", "utf-8")


def auc(examples: Sequence[Example], scores: Sequence[Any]) -> float:
    """Return the probability that an item that was liked is scored above one that was not, ties counted half."""
    values = np.array([next(iter(found.values()), -np.inf) for found in scores], dtype=np.float64)
    labels = np.array([example.label for example in examples], dtype=np.bool_)
    return value_of(ClickRows(np.zeros(len(labels), dtype=np.intp), 1, labels, values), "auc")


def mean_ndcg(examples: Sequence[Example], scores: Sequence[Any]) -> float:
    """Return the mean NDCG@10 of one relevant item each: of tied items, the mean over their orders.

    An item without a score, or with one that is no number, has no rank and gains nothing.
    """
    gains = 1 / np.log2(2 + np.arange(_DEPTH))
    total = 0.0
    for example, found in zip(examples, scores, strict=True):
        own = found.get(example.target, np.nan)
        if np.isnan(own):
            continue
        higher = sum(value > own for value in found.values())
        tied = sum(value == own for value in found.values())
        total += gains[higher : higher + tied].sum() / tied
    return float(total / len(examples))


def counts_of(made: Examples, samples: Sequence["Sample"]) -> dict[str, Any]:
    """Return counts over all samples: their tokens, the share of these that is learned, and the longest."""
    tokens = sum(sample.size for sample in samples)
    return {
        **_counts(made),
        "tokens": tokens,
        "supervised": sum(len(sample.answer) for sample in samples) / max(tokens, 1),
        "longest": max((sample.size for sample in samples), default=0),
    }


def _counts(made: Examples) -> dict[str, Any]:
    """Return how many samples there are, the share of Yes, and how many were shortened."""
    count = len(made.examples)
    return {
        "samples": count,
        "share_yes": made.facts["yes"] / count if count else None,
        "n_truncated": made.facts["n_truncated"],
        "without_attributes": made.facts["without_attributes"],
    }


def _warnings(trained: Any, made: Examples, valid: Examples) -> list[str]:
    """Return what is doubtful about a tuning."""
    found = [*made.rules]
    lower = trained["metric"] == "loss"
    before, best = trained["valid_before"], trained["valid_best"]
    if best >= before if lower else best <= before:
        found.append(
            f"tuning did not help: {trained['metric']} on validation is {best:.4f} at best, {before:.4f} before tuning"
        )
    if not valid.examples:
        found.append("the data have no validation events, so the loss on the samples decided when to stop")
    elif lower and made.facts["yes"] not in (0, len(made.examples)):
        found.append("all validation events have the same answer, so their loss decided when to stop")
    if made.facts["n_truncated"]:
        found.append(f"{made.facts['n_truncated']:,} samples show less history, to fit their token budget")
    return found
