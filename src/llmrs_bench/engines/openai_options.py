"""How an OpenAI-compatible server is reached and asked."""

import json
import os
from math import ceil
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from llmrs_bench.config import Options
from llmrs_bench.errors import OptionError

PUBLIC = "https://api.openai.com/v1"
_OWN = frozenset(
    [
        "model",
        "messages",
        "prompt",
        "temperature",
        "seed",
        "max_tokens",
        "max_completion_tokens",
        "reasoning_effort",
        "logprobs",
        "top_logprobs",
        "echo",
        "n",
        "stream",
        "continue_final_message",
        "add_generation_prompt",
        "logprob_token_ids",
        "allowed_token_ids",
        "return_token_ids",
        "return_tokens_as_token_ids",
    ]
)


def _listed(value: Any) -> Any:
    return [part for part in value.replace(" ", "").split(",") if part] if isinstance(value, str) else value


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error}") from error


Omitted: TypeAlias = Annotated[tuple[Literal["temperature", "seed"], ...], BeforeValidator(_listed)]
Fields: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_parsed)]


class OpenAIOptions(Options):
    """How the server is reached and asked.

    Args:
        base_url: Where the API begins, such as `http://localhost:8000/v1`; without it OPENAI_BASE_URL, else OpenAI.
        key_env: The variable that holds the key; a server of one's own may need none.
        model: What the server calls the model, if that is not its name or id here.
        api: `chat` sends messages, `completions` the text that the model continues.
        concurrency: The most requests in flight.
        timeout: Seconds that a reply may take, and the longest wait for a part of it. A request that takes longer is
            sent again, and from then on half as many as were under way are sent at a time.
        retries: How often a request is sent again that met trouble which passes: 408, 425, 429, 5xx, a time-out, or a
            connection that broke off.
        unanswered: How many prompts may stay without an answer while the server answers others, as a number or as a
            share of the prompts, rounded up; they count as empty answers.
        answer_tokens: The longest answer, in tokens; more is cut off.
        temperature: Of texts that are sampled; 0 asks for the likeliest tokens.
        max_tokens_field: The field of a chat request that bounds the answer.
        reasoning_effort: How long a reasoning model thinks, in the server's words.
        omit: Fields that the server refuses: `temperature`, `seed`, or both with a comma. Answers may then vary.
        fields: More fields of each request as JSON, such as `{"repetition_penalty": 1}` where a server has another
            default.
        top_logprobs: How many of the likeliest tokens a label is looked up among; servers bound it.
        continue_assistant: The server continues a last message of the assistant, as vLLM and SGLang do. Otherwise
            such a prefix ends the user's last message.
        tokenizer: Folder or Hugging Face id of the served model; with `api=completions` prompts are then sent as token
            ids and choices read exactly, from servers that echo log-probabilities, as vLLM does.
        context: How many tokens the model takes; without it the server's word counts, and nothing is clipped.
        price_in: USD for a million tokens read.
        price_out: USD for a million tokens written.
    """

    neutral: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "model", "key_env", "concurrency", "timeout", "retries", "unanswered", "price_in", "price_out"}
    )  # base_url and model are part of the identity

    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    model: str | None = None
    api: Literal["chat", "completions"] = "chat"
    concurrency: int = Field(default=16, ge=1)
    timeout: float = Field(default=120.0, gt=0)
    retries: int = Field(default=6, ge=0)
    unanswered: str = Field(default="1%", pattern=r"^[0-9]+(\.[0-9]+)?%$|^[0-9]+$")
    answer_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    reasoning_effort: str | None = None
    omit: Omitted = ()
    fields: Fields = Field(default={})
    top_logprobs: int = Field(default=20, ge=1)
    continue_assistant: bool = False
    tokenizer: str | None = None
    context: int | None = Field(default=None, ge=2)
    price_in: float | None = Field(default=None, ge=0)
    price_out: float | None = Field(default=None, ge=0)

    @field_validator("fields")
    @classmethod
    def no_own_fields(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Refuse fields that the engine writes."""
        if taken := sorted(_OWN & set(fields)):
            raise ValueError(f"the engine itself writes {', '.join(taken)}")
        return fields

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that the chosen API does not read."""
        idle = {
            "chat": {"tokenizer": "completions", "context": "completions"},
            "completions": {"continue_assistant": "chat", "max_tokens_field": "chat", "reasoning_effort": "chat"},
        }
        for name, other in idle[self.api].items():
            if name in self.model_fields_set:
                raise ValueError(f"{name} means nothing to api={self.api}; it is for api={other}")
        if "temperature" in self.omit and self.temperature:
            raise ValueError("temperature is left out of requests by omit, so it means nothing")
        if self.context is not None and self.tokenizer is None:
            raise ValueError("context means nothing without tokenizer, which counts the tokens")
        return self

    def allowed(self, prompts: int) -> int:
        """Return how many of so many prompts may stay without an answer."""
        number, share, _ = self.unanswered.partition("%")
        return ceil(float(number) / 100 * prompts) if share else int(number)

    @property
    def address(self) -> str:
        """Return the URL that the API begins at.

        Raises:
            OptionError: If it is no such URL, or holds a password or a query.
        """
        url = (self.base_url or os.environ.get("OPENAI_BASE_URL") or PUBLIC).strip().rstrip("/")
        parts = urlsplit(url)
        hint = "Give it as `-O base_url=http://localhost:8000/v1` or in OPENAI_BASE_URL; the key goes into a variable."
        if parts.username or parts.password or parts.query or parts.fragment:
            raise OptionError("the base URL holds more than host and path", hint=hint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError(f"{url!r} is no base URL of an API", hint=hint)
        return url
