"""Servers that speak the protocol of OpenAI: written answers, and likelihoods where logprobs are shown."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from llmrs_bench.core import config
from llmrs_bench.core.errors import EngineError
from llmrs_bench.core.types import Json, Prompt, Response
from llmrs_bench.llm.backends.openai_http import Client, RefusedError, UnansweredError, spread
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.backends.openai_replies import (
    ABOUT_THE_PROMPT,
    FILTERED,
    NO_LOGPROBS,
    NOTHING,
    PERHAPS_ABOUT_THE_PROMPT,
    NoAnswerError,
    billed,
    by_token_id,
    finish_of,
    first_choice,
    known_logprob,
    label_logprobs,
    least_of,
    likeliest,
    reading,
    response_of,
    text_of,
    unanswered_response,
    usage,
)
from llmrs_bench.llm.base import Engine, ModelOptions, asked_text, sample_seed
from llmrs_bench.llm.constrained import lead_in, permutation
from llmrs_bench.llm.identity import identify
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import Ids, Job, PromptReader, choices_response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
_MOST_IDS = 128  # vLLM's bound on `logprob_token_ids`
_ONE_TOKEN = 16  # characters: without an echo no more than the one token that is written comes back

Ask: TypeAlias = Callable[[dict[str, Any], Prompt], dict[str, Any]]  # a request for a completion: the reply


class TokenIds:
    """Asks for completions of token ids.

    Choices are scored by an echo of prompt and choice, a request for each, which every server that echoes
    log-probabilities can do. Choices of one token each are asked for by their ids in a single request where the
    server can, as vLLM's can; that request reads the server's prefix cache.

    Args:
        tokenizer: That of the served model; a sample is compared with what the server makes of the same ids.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        self._lock = Lock()
        self._checked = False
        self._picks = True  # until the server shows that it does not

    @property
    def picks(self) -> bool:
        """Return whether the server gives the log-probabilities of tokens of one's choice, as far as is known."""
        return self._picks

    def check(self, job: Job, ask: Ask) -> None:
        """Compare the tokenizer with the server's, once.

        Raises:
            EngineError: If the server reads another text from the ids, or does not echo it.
        """
        with self._lock:
            if self._checked:
                return
            ids = job.tokens.prefix
            reply = ask({"prompt": list(ids), "echo": True, "max_tokens": 1}, job.prompt)
            told = _squeezed(text_of(first_choice(reply, job.prompt)))
            read = [
                _squeezed(str(self.tokenizer.decode(list(ids), skip_special_tokens=skip))) for skip in (True, False)
            ]
            if len(told) <= _ONE_TOKEN < len(read[0]):
                raise EngineError(
                    f"the server ignores `echo`: it returned only {told[:80]!r}, without the prompt",
                    hint="Exact likelihoods and labels by token ids need a server that echoes log-probabilities, as "
                    "vLLM does and llama.cpp does not. Leave out `-O tokenizer` and `-O api`, and use the template "
                    "label with `-O top_logprobs=100`, or listwise; or run the model with --engine transformers.",
                )
            if not any(text in told for text in read):
                raise EngineError(
                    f"the server reads {told[:80]!r} where the tokenizer wrote {read[0][:80]!r}",
                    hint="Give the tokenizer of the served model with `-O tokenizer`; leave it out where a server "
                    "takes no token ids or does not echo them.",
                )
            self._checked = True

    def score(self, job: Job, ask: Ask) -> Response:
        """Read the exact log-probabilities of the choices."""
        distinct = job.tokens.distinct
        if self._picks and job.tokens.longest == 1 and len(distinct) <= _MOST_IDS:
            picked = self._pick(job, ask)
            if picked is not None:
                return picked
        return choices_response(job, [self._echo(job, suffix, ask) for suffix in distinct])

    def write(self, job: Job, ask: Ask) -> tuple[str, int]:
        """Write an answer that obeys a grammar, a request for each token that is not forced.

        Returns:
            The text, and how many tokens it has.
        """
        tokenizer, written = self.tokenizer, list[int]()
        count = len(job.prompt.shown)
        grammar = permutation(tokenizer, lead_in(job.text), count, (tokenizer.eos_token_id,))
        while allowed := grammar.advance(written):
            asked = {
                "prompt": [*job.tokens.prefix, *written],
                "max_tokens": 1,
                "allowed_token_ids": allowed,
                "return_token_ids": True,
            }
            reply = ask(asked, job.prompt)
            token = next(iter(first_choice(reply, job.prompt).get("token_ids") or []), None)
            if token not in allowed:
                raise EngineError(
                    "the server does not obey `allowed_token_ids`, or does not return token ids",
                    hint="Use --engine vllm or transformers, or leave out `-T grammar=true`.",
                )
            written.append(token)
        return str(tokenizer.decode(written, skip_special_tokens=True)), len(written)

    def _pick(self, job: Job, ask: Ask) -> Response | None:
        """Ask for the log-probabilities of choices of one token each; None if the server cannot be asked so."""
        distinct = job.tokens.distinct
        asked = {
            "prompt": list(job.tokens.prefix),
            "max_tokens": 1,
            "logprobs": 1,
            "logprob_token_ids": [suffix[0] for suffix in distinct],
            "return_tokens_as_token_ids": True,
        }
        try:
            reply = ask(asked, job.prompt)
        except RefusedError as refusal:
            if refusal.status not in (400, 422):
                raise
            log.info("labels are scored by echoes, since the server takes no logprob_token_ids: %s", refusal.message)
            self._picks = False
            return None
        found = by_token_id(first_choice(reply, job.prompt))
        if any(suffix[0] not in found for suffix in distinct):
            log.info("labels are scored by echoes, since the server ignores logprob_token_ids")
            self._picks = False
            return None
        return choices_response(job, [[found[suffix[0]]] for suffix in distinct])

    def _echo(self, job: Job, suffix: Ids, ask: Ask) -> list[float]:
        """Return the log-probabilities of one choice."""
        ids = [*job.tokens.prefix, *suffix]
        reply = ask({"prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 1}, job.prompt)
        if (counted := usage(reply)["prompt_tokens"]) not in (0, len(ids)):
            raise EngineError(
                f"the server counts {counted} tokens where {len(ids)} were sent",
                hint="It adds tokens of its own; use `-O api=chat` with the template label, yes-no or listwise.",
            )
        told = (first_choice(reply, job.prompt).get("logprobs") or {}).get("token_logprobs") or []
        values = told[len(job.tokens.prefix) : len(ids)]
        if len(values) != len(suffix) or None in values:
            raise NoAnswerError("the server does not echo the log-probabilities of a prompt", hint=NO_LOGPROBS)
        return [known_logprob(value, "logprobs.token_logprobs") for value in values]


def _squeezed(text: str) -> str:
    """Return a text without spaces, which tokenizers write in different ways."""
    return "".join(text.split())


_MOST_NAMES, _LONGEST_NAME = 20, 200  # under which a server answers; characters of each
_UNKNOWN = 10**9  # tokens: the server says what it takes


@dataclass(frozen=True, slots=True)
class _Task:
    """A prompt, and its tokens if there is a tokenizer."""

    prompt: Prompt
    job: Job | None


class OpenAIEngine(Engine):
    """Asks a server, many prompts at a time, and yields answers as they come.

    Through the chat API a label is looked up among the likeliest next tokens; one that is not among them stays
    without a log-probability, which is never made up: `least_shown` bounds it. With `api=completions` and a tokenizer
    the server is asked by token ids, so that likelihoods and labels are exact. A prompt that the server's content
    filter refuses has an empty answer: that is what the model says to it. So has one that the server answers in no way
    while it answers others, as far as the option `unanswered` allows; it is kept once all other prompts are answered.
    """

    Options: ClassVar[type[config.Options]] = OpenAIOptions

    @staticmethod
    def identity(model: ModelSpec, options: OpenAIOptions) -> dict[str, str]:
        """Return where the model is served, under which name and API, and the tokenizer that prompts are read with.

        What a server has under a name is for the server to say: no digest of weights is known.
        """
        named = {"base_url": options.server, "served": options.model or model.source, "api": options.api}
        tokenizer = _tokenizer_of(model, options)
        found = {} if tokenizer is None else identify(tokenizer)
        return {**named, **{f"tokenizer_{name}": value for name, value in found.items()}}

    def __init__(self, model: ModelSpec, options: OpenAIOptions, *, device: str, seed: int) -> None:
        self.options = options
        self.model = options.model or model.source
        self.seed = seed
        self.client = Client(options, seed=seed)
        self.reader = _read_with(model, options)
        self.ids = None if self.reader is None else TokenIds(self.reader.tokenizer)
        self._served: set[str] = set()
        self._lock = Lock()
        self._given = 0  # prompts so far
        self._found = 0  # prompts of the same run that were answered before
        self._answered = False
        self._unanswered = 0
        self._failures: dict[str, tuple[Prompt, EngineError]] = {}  # of prompts that this call leaves unanswered
        if options.api == "completions" and self.reader is None:
            log.warning(
                "api=completions without a tokenizer: no chat template is applied, the model reads the bare text of a "
                "prompt, which suits a base model; for a chat model use `-O api=chat`, or add `-O tokenizer=MODEL`"
            )

    @property
    def context(self) -> int:
        """The tokens that the model can take, as far as that was said."""
        return self.options.context or _UNKNOWN

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt and its answer; 0 where no tokenizer counts them."""
        if self.reader is None:
            return [0] * len(prompts)
        jobs = [self.reader.read(prompt) for prompt in prompts]
        answer = self.options.answer_tokens
        # A server that scores a choice writes one token more.
        return [
            len(job.tokens.prefix) + (answer if job.prompt.choices is None else job.tokens.longest + 1) for job in jobs
        ]

    def answer_batches(self, batches: Iterable[Sequence[Prompt]]) -> Iterator[Sequence[Response]]:
        """Answer prompts, `concurrency` of them at a time."""
        return ([response] for response in self.answer(list(chain.from_iterable(batches))))

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Response]:
        """Answer each prompt once, `concurrency` of them at a time.

        Raises:
            EngineError: If the server cannot be reached, stays busy, or has no answer to more prompts than is allowed.
        """
        self._given += len(prompts)
        self._failures.clear()
        # Read in this thread: not every version of the tokenizers may be called from several at once.
        tasks = (_Task(prompt, self._read(prompt)) for prompt in prompts)
        for response in spread(self._ask_within, tasks, workers=self.options.concurrency):
            if response is not None:
                self._answered = True
                yield response
        if self._failures and not (self._answered or self._found):  # the server answers nothing at all
            raise next(iter(self._failures.values()))[1]
        for prompt, error in self._failures.values():
            log.warning("prompt %r is left without an answer: %s", prompt.prompt_id, error.message)
            self._unanswered += 1
            yield unanswered_response(prompt, "unanswered")

    def found(self, prompts: int) -> None:
        """Take how many prompts of the run were answered before, for the share that may stay unanswered."""
        self._found = prompts

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
            "served_as": ", ".join(sorted(self._served)[:_MOST_NAMES]),
            "seed": None if "seed" in self.options.omit else self.seed,
            "labels_by_id": None if self.ids is None else self.ids.picks,
            **self.client.counts(),
        }

    def _read(self, prompt: Prompt) -> Job | None:
        """Return the prompt as tokens, if there is a tokenizer.

        Raises:
            EngineError: If the server cannot be asked such a prompt.
        """
        if self.reader is not None:
            return self.reader.read(prompt)
        if prompt.mode == "likelihood":
            raise EngineError(
                "likelihoods of titles need token ids, which are not sent to this server",
                hint="Add `-O api=completions -O tokenizer=MODEL` if the server echoes log-probabilities, as vLLM "
                "does; or use the template label, yes-no or listwise.",
            )
        if prompt.grammar is not None:
            raise EngineError(
                f"the grammar {prompt.grammar!r} is not known to OpenAI-compatible servers",
                hint="Use --engine vllm or transformers; add `-O api=completions -O tokenizer=MODEL` where vLLM "
                "serves; or leave out `-T grammar=true`.",
            )
        return None

    def _ask_within(self, task: _Task, stopped: Event) -> Response | None:
        """Return the answer to a prompt, None where it stays without one and that is allowed."""
        prompt = task.prompt
        try:
            return self._ask(task, stopped)
        except (RefusedError, UnansweredError, NoAnswerError) as error:
            if not _may_answer_others(error):
                raise
            with self._lock:
                self._failures[prompt.prompt_id] = (prompt, error)
                if self._unanswered + len(self._failures) <= self.options.allowed(self._found + self._given):
                    return None
            hint = f"{error.hint} To continue without such answers, allow some with `-O unanswered=N` or `N%`."
            raise EngineError(error.message, hint=hint) from error

    def _ask(self, task: _Task, stopped: Event) -> Response:
        prompt = task.prompt
        replies: list[dict[str, Any]] = []

        def complete(asked: dict[str, Any], about: Prompt) -> dict[str, Any]:
            replies.append(self._send("completions", asked, about, stopped))
            return replies[-1]

        with reading(prompt):
            if task.job is not None and self.ids is not None:
                self.ids.check(task.job, complete)
                replies.clear()
                if prompt.choices is not None:
                    return billed(self.ids.score(task.job, complete), replies)
                if prompt.grammar is not None:
                    text, written = self.ids.write(task.job, complete)
                    counted = {**NOTHING, "prompt_tokens": len(task.job.tokens.prefix), "completion_tokens": written}
                    return billed(response_of(prompt, {**counted, "text": text}), replies)
            return self._talk(task, stopped)

    def _talk(self, task: _Task, stopped: Event) -> Response:
        """Let the server write, or look the labels up among what it would write first."""
        prompt = task.prompt
        asked = self._limit(self.options.answer_tokens if prompt.choices is None else 1)
        if prompt.choices is not None:
            count = self.options.top_logprobs
            asked |= {"logprobs": True, "top_logprobs": count} if self.options.api == "chat" else {"logprobs": count}
        try:
            reply = self._post(task, asked, stopped)
        except RefusedError as refusal:
            if refusal.code != FILTERED:
                raise
            return unanswered_response(prompt, "filtered")
        choice = first_choice(reply, prompt)
        finish = finish_of(choice)
        if finish == "filtered" and prompt.choices is not None and not choice.get("logprobs"):
            return billed(unanswered_response(prompt, "filtered"), [reply])
        if prompt.choices is not None:
            shown = likeliest(choice, prompt)
            found = {
                "choice_logprobs": label_logprobs(shown, prompt.choices),
                "least_shown": least_of(shown, self.options.top_logprobs),
            }
            return response_of(prompt, {**usage(reply), **found, "finish_reason": "choices"})
        return response_of(prompt, {**usage(reply), "text": text_of(choice), "finish_reason": finish})

    def _post(self, task: _Task, asked: dict[str, Any], stopped: Event) -> dict[str, Any]:
        prompt = task.prompt
        if self.options.api == "chat":
            return self._send("chat/completions", asked | self._chat(prompt), prompt, stopped)
        text = "\n".join(message.content for message in prompt.messages)
        body = {"prompt": text if task.job is None else list(task.job.tokens.prefix)}
        return self._send("completions", asked | body, prompt, stopped)

    def _send(self, path: str, asked: dict[str, Any], prompt: Prompt, stopped: Event) -> dict[str, Any]:
        warm, seed = self.options.temperature if prompt.choices is None else 0.0, self.seed
        if prompt.sample:
            seed = sample_seed(seed, prompt.sample, asked_text(prompt))
        fixed = {"temperature": warm, "seed": seed}
        kept = {name: value for name, value in fixed.items() if name not in self.options.omit}
        body = {"model": self.model, **kept, **self.options.fields, **asked}
        reply = self.client.post(path, body, about=f"prompt {prompt.prompt_id!r}", stopped=stopped)
        named = " ".join(str(reply[key]) for key in ("model", "system_fingerprint") if reply.get(key))
        self._served.add(named[:_LONGEST_NAME])
        return reply

    def _chat(self, prompt: Prompt) -> dict[str, Any]:
        """Return the messages; a prefix of the answer is continued, or ends what the user says."""
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        effort = {} if self.options.reasoning_effort is None else {"reasoning_effort": self.options.reasoning_effort}
        if turns[-1]["role"] != "assistant":
            return {"messages": turns, **effort}
        if self.options.continue_assistant:
            return {"messages": turns, "continue_final_message": True, "add_generation_prompt": False, **effort}
        *before, asked, prefix = turns
        return {"messages": [*before, asked | {"content": f"{asked['content']}\n{prefix['content']}"}], **effort}

    def _limit(self, tokens: int) -> dict[str, Any]:
        return {self.options.max_tokens_field: tokens}


def _tokenizer_of(model: ModelSpec, options: OpenAIOptions) -> ModelSpec | None:
    return None if options.tokenizer is None else ModelSpec(model.name, options.tokenizer, chat=model.chat)


def _read_with(model: ModelSpec, options: OpenAIOptions) -> PromptReader | None:
    tokenizer = _tokenizer_of(model, options)
    if tokenizer is None:
        return None
    from llmrs_bench.llm.loading import Checkpoint

    return PromptReader(
        Checkpoint(tokenizer, ModelOptions()).tokenizer(), chat=model.chat, encoder_decoder=False, thinking=False
    )


def _may_answer_others(error: EngineError) -> bool:
    """Say whether a server that failed at a prompt may yet answer others."""
    return not isinstance(error, RefusedError) or error.status in (*ABOUT_THE_PROMPT, *PERHAPS_ABOUT_THE_PROMPT)
