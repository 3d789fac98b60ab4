"""Engine behind any OpenAI-compatible server: texts, labels, and exact likelihoods where the server echoes them."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from llmrs_bench import config
from llmrs_bench.catalog import ModelSpec
from llmrs_bench.engines.identity import identify
from llmrs_bench.engines.jobs import PromptReader, choices_response
from llmrs_bench.engines.openai_http import Client
from llmrs_bench.engines.openai_options import OpenAIOptions
from llmrs_bench.engines.options import ModelOptions
from llmrs_bench.engines.permutation import permutation
from llmrs_bench.errors import EngineError
from llmrs_bench.types import Json, Prompt, Response

_CONTEXT = 200  # characters before an answer that may say how its first number is written
_UNKNOWN = 10**9  # tokens: the server says what it takes
_NO_LOGPROBS = "Use a template that generates text, such as listwise, or a server that returns log-probabilities."


class OpenAIEngine:
    """Asks a server, many prompts at a time, and yields answers as they come.

    Through the chat API a label is looked up among the likeliest next tokens; one that is not among them stays
    without a log-probability, which is never made up. With `api=completions` and a tokenizer the server echoes the
    log-probabilities of prompt and choice, so that likelihoods and labels are exact.
    """

    Options: ClassVar[type[config.Options]] = OpenAIOptions
    packages: ClassVar[tuple[str, ...]] = ()
    window: ClassVar[int | None] = None

    @staticmethod
    def identity(model: ModelSpec, options: OpenAIOptions) -> dict[str, str]:
        """Return where the model is served, under which name and API, and the tokenizer that prompts are read with.

        What a server has under a name is for the server to say: no digest of weights is known.
        """
        named = {"base_url": options.address, "served": options.model or model.source, "api": options.api}
        tokenizer = _tokenizer_of(model, options)
        found = {} if tokenizer is None else identify(tokenizer)
        return {**named, **{f"tokenizer_{name}": value for name, value in found.items()}}

    def __init__(self, model: ModelSpec, options: OpenAIOptions, *, device: str, seed: int) -> None:
        self.options = options
        self.model = options.model or model.source
        self.seed = seed
        self.context = options.context or _UNKNOWN
        self.client = Client(
            options.address,
            key=os.environ.get(options.key_env),
            key_env=options.key_env,
            timeout=options.timeout,
            retries=options.retries,
            connections=options.concurrency,
        )
        self.reader = _read_with(model, options)
        self._served: set[str] = set()

    def needs(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt and its answer; 0 where no tokenizer counts them."""
        if self.reader is None:
            return [0] * len(prompts)
        jobs = [self.reader.read(prompt) for prompt in prompts]
        return [
            len(job.tokens.prefix) + (self.options.answer_tokens if job.prompt.choices is None else job.tokens.longest)
            for job in jobs
        ]

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt once, `concurrency` of them at a time.

        Raises:
            EngineError: If the server cannot be reached, stays busy, or refuses a prompt.
        """
        left = iter(prompts)
        with ThreadPoolExecutor(self.options.concurrency) as pool:
            running = {pool.submit(self._ask, prompt) for prompt in islice(left, self.options.concurrency)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                failed = [future for future in done if future.exception() is not None]
                if not failed:
                    running |= {pool.submit(self._ask, prompt) for prompt in islice(left, len(done))}
                yield from (future.result() for future in done - set(failed))
                if failed:
                    yield from _rest(running)
                    failed[0].result()

    def forget(self) -> None:
        """Do nothing: what the server keeps is its own."""

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def facts(self) -> dict[str, Json]:
        """Return where answers came from, and how often the server was busy."""
        return {
            "engine": "openai",
            "base_url": self.client.base_url,
            "api": self.options.api,
            "model_source": self.model,
            "served_as": ", ".join(sorted(self._served)),
            "seed": self.seed,
            "retries": self.client.retried,
            "rate_limited": self.client.rate_limited,
        }

    def _ask(self, prompt: Prompt) -> Response:
        if prompt.choices is not None and self.reader is not None:
            return self._score(prompt, self.reader)
        if prompt.mode == "likelihood":
            raise EngineError(
                "this server is not asked for likelihoods of titles: that takes token ids",
                hint="Add `-O api=completions -O tokenizer=MODEL` if the server echoes log-probabilities, as vLLM "
                "does; or use the template label, yes-no or listwise.",
            )
        if prompt.grammar is not None:
            if self.reader is None:
                raise EngineError(
                    f"the grammar {prompt.grammar!r} is not known to OpenAI-compatible servers",
                    hint="Use --engine vllm or transformers; add `-O api=completions -O tokenizer=MODEL` where vLLM "
                    "serves; or leave out `-T grammar=true`.",
                )
            return self._spell(prompt, self.reader)
        return self._look_up(prompt) if prompt.choices is not None else self._write(prompt)

    def _write(self, prompt: Prompt) -> Response:
        reply = self._post(prompt, self._limit(self.options.answer_tokens))
        choice = _first_choice(reply, prompt)
        message = choice.get("message") or choice
        text = message.get("content") if "message" in choice else choice.get("text")
        thought = message.get("reasoning_content") or message.get("reasoning")
        reason = "length" if choice.get("finish_reason") == "length" else "stop"
        told = f"<think>{thought}</think>{text or ''}" if thought else text or ""
        return self._response(prompt, reply, text=told, finish_reason=reason)

    def _look_up(self, prompt: Prompt) -> Response:
        """Read the labels of a prompt from the likeliest next tokens."""
        count = self.options.top_logprobs
        chat = {"logprobs": True, "top_logprobs": count}
        asked = self._limit(1) | (chat if self.options.api == "chat" else {"logprobs": count})
        reply = self._post(prompt, asked)
        likeliest = _likeliest(_first_choice(reply, prompt), prompt)
        found = tuple(_label(likeliest, label) for label in prompt.choices or ())
        return self._response(prompt, reply, choice_logprobs=found, finish_reason="choices")

    def _score(self, prompt: Prompt, reader: PromptReader) -> Response:
        """Read the exact log-probabilities of the choices, one request for each."""
        job = reader.read(prompt)
        start, scored, cached = len(job.tokens.prefix), [], 0
        for suffix in job.tokens.distinct:
            ids = [*job.tokens.prefix, *suffix]
            asked = {"model": self.model, "prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
            reply = self._sent("completions", asked, prompt)
            logprobs = (_first_choice(reply, prompt).get("logprobs") or {}).get("token_logprobs") or []
            values = logprobs[start : len(ids)]
            if len(values) != len(suffix) or None in values:
                raise EngineError("the server does not echo the log-probabilities of a prompt", hint=_NO_LOGPROBS)
            scored.append([float(value) for value in values])
            cached = max(cached, _usage(reply)["cached_tokens"])
        return choices_response(job, scored, cached=min(cached, start))

    def _spell(self, prompt: Prompt, reader: PromptReader) -> Response:
        """Write an answer that obeys a grammar, a request for each token that is not forced, as vLLM's server can."""
        job, written = reader.read(prompt), list[int]()
        stops = (reader.tokenizer.eos_token_id,)
        grammar = permutation(reader.tokenizer, job.text[-_CONTEXT:], len(prompt.shown), stops)
        first: dict[str, Any] = {}
        while allowed := grammar.advance(written):
            body = {
                "model": self.model,
                "prompt": [*job.tokens.prefix, *written],
                "temperature": 0,
                "max_tokens": 1,
                "allowed_token_ids": allowed,
                "return_token_ids": True,
            }
            reply = self._sent("completions", body, prompt)
            first = first if written else reply
            token = next(iter(_first_choice(reply, prompt).get("token_ids") or []), None)
            if token not in allowed:
                raise EngineError(
                    "the server does not obey `allowed_token_ids`, or does not return token ids",
                    hint="Use --engine vllm or transformers, or leave out `-T grammar=true`.",
                )
            written.append(token)
        usage = _usage(first) | {"prompt_tokens": len(job.tokens.prefix), "completion_tokens": len(written)}
        text = reader.tokenizer.decode(written, skip_special_tokens=True)
        return self._response(prompt, {}, text=text, finish_reason="stop", **usage)

    def _post(self, prompt: Prompt, asked: dict[str, Any]) -> dict[str, Any]:
        body = {"model": self.model, "temperature": 0, "seed": self.seed, **asked}
        if self.options.api == "chat":
            return self._sent("chat/completions", body | self._chat(prompt), prompt)
        if self.reader is not None:
            return self._sent("completions", body | {"prompt": list(self.reader.read(prompt).tokens.prefix)}, prompt)
        text = "\n".join(message.content for message in prompt.messages)
        return self._sent("completions", body | {"prompt": text}, prompt)

    def _sent(self, path: str, body: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
        reply = self.client.post(path, body, about=f"prompt {prompt.prompt_id!r}")
        self._served.add(" ".join(str(reply[key]) for key in ("model", "system_fingerprint") if reply.get(key)))
        return reply

    def _chat(self, prompt: Prompt) -> dict[str, Any]:
        """Return the messages; a prefix of the answer is continued, or ends what the user says."""
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        if turns[-1]["role"] != "assistant":
            return {"messages": turns}
        if self.options.continue_assistant:
            return {"messages": turns, "continue_final_message": True, "add_generation_prompt": False}
        *before, asked, prefix = turns
        return {"messages": [*before, asked | {"content": f"{asked['content']}\n{prefix['content']}"}]}

    def _limit(self, tokens: int) -> dict[str, Any]:
        return {self.options.max_tokens_field: tokens}

    def _response(self, prompt: Prompt, reply: dict[str, Any], **said: Any) -> Response:
        fields: dict[str, Any] = {"text": None, "choice_logprobs": None, **_usage(reply), **said}
        return Response(prompt_id=prompt.prompt_id, **fields)


def _tokenizer_of(model: ModelSpec, options: OpenAIOptions) -> ModelSpec | None:
    return None if options.tokenizer is None else ModelSpec(model.name, options.tokenizer, chat=model.chat)


def _read_with(model: ModelSpec, options: OpenAIOptions) -> PromptReader | None:
    tokenizer = _tokenizer_of(model, options)
    if tokenizer is None:
        return None
    from llmrs_bench.engines.loading import Checkpoint

    return PromptReader(
        Checkpoint(tokenizer, ModelOptions()).tokenizer(), chat=model.chat, encoder_decoder=False, thinking=False
    )


def _rest(running: set[Future[Response]]) -> Iterator[Response]:
    """Yield what is still answered after a failure: it was asked and, maybe, paid for."""
    done, _ = wait(running)
    yield from (future.result() for future in done if future.exception() is None)


def _first_choice(reply: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    choices = reply.get("choices")
    if not choices:
        raise EngineError(
            f"the server answered prompt {prompt.prompt_id!r} without a choice: {str(reply)[:200]}",
            hint="It may not be OpenAI-compatible: check `-O base_url` and `-O api`.",
        )
    found: dict[str, Any] = choices[0]
    return found


def _likeliest(choice: dict[str, Any], prompt: Prompt) -> list[tuple[str, float]]:
    """Return the likeliest next tokens as texts with their log-probabilities."""
    logprobs = choice.get("logprobs") or {}
    if content := logprobs.get("content"):
        return [(entry["token"], float(entry["logprob"])) for entry in content[0].get("top_logprobs") or []]
    if top := logprobs.get("top_logprobs"):
        return [(token, float(value)) for token, value in top[0].items()]
    raise EngineError(f"the server answered prompt {prompt.prompt_id!r} without log-probabilities", hint=_NO_LOGPROBS)


def _label(likeliest: Sequence[tuple[str, float]], label: str) -> tuple[float, ...]:
    """Return the log-probability of a label: of all tokens that are it up to spaces; nothing if there is none."""
    values = [value for token, value in likeliest if token.strip() == label.strip()]
    return (float(np.logaddexp.reduce(values)),) if values else ()


def _usage(reply: dict[str, Any]) -> dict[str, int]:
    usage = reply.get("usage") or {}
    return {
        "prompt_tokens": int(usage.get("prompt_tokens") or 0),
        "cached_tokens": int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        "completion_tokens": int(usage.get("completion_tokens") or 0),
        "thinking_tokens": int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0),
    }
