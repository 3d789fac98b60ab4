"""Exact log-probabilities and grammars through a server that takes token ids, as vLLM's does."""

import logging
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

from llmrs_bench.engines.jobs import Job, choices_response
from llmrs_bench.engines.openai_http import RefusedError
from llmrs_bench.engines.openai_replies import NO_LOGPROBS, by_token_id, first_choice, logprob, text_of, usage
from llmrs_bench.engines.permutation import permutation
from llmrs_bench.engines.tokens import Ids
from llmrs_bench.errors import EngineError
from llmrs_bench.types import Prompt, Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
_CONTEXT = 200  # characters before an answer that may say how its first number is written
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
                    f"the server ignores `echo`: it returned {told[:80]!r} alone, and not the prompt in front of it",
                    hint="Exact likelihoods and labels by token ids need a server that echoes log-probabilities, as "
                    "vLLM does and llama.cpp does not. Leave out `-O tokenizer` and `-O api`, and use the template "
                    "label with `-O top_logprobs=100`, or listwise; or read the model with --engine transformers.",
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
        grammar = permutation(tokenizer, job.text[-_CONTEXT:], count, (tokenizer.eos_token_id,))
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
            log.info("labels are scored by echoes, since the server takes no notice of logprob_token_ids")
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
            raise EngineError("the server does not echo the log-probabilities of a prompt", hint=NO_LOGPROBS)
        return [logprob(value, "logprobs.token_logprobs") for value in values]


def _squeezed(text: str) -> str:
    """Return a text without spaces, which tokenizers write in different ways."""
    return "".join(text.split())
