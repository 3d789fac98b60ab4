"""Messages to the text a model reads: through its own chat template, or joined as plain text."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEMPLATE_HINT = "Give one with `-O chat_template=PATH` (a Jinja file)"


def render(
    messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", chat: bool | None, *, thinking: bool = False
) -> tuple[str, bool]:
    """Return the text of `messages`, and whether it holds its special tokens already.

    A chat model's own template writes the special tokens, the beginning of the sequence among them, so such a
    text is tokenised without adding any. Other models read the contents joined by line breaks.

    Args:
        messages: A last one of the assistant is a prefix that the model continues.
        tokenizer: Holds the chat template.
        chat: Whether to use the template; None: if there is one.
        thinking: Whether a reasoning model is to think first; templates of other models take no notice.

    Raises:
        ModelError: If a template is wanted and there is none, or it refuses the messages.
    """
    if chat is False or (chat is None and tokenizer.chat_template is None):
        return "\n".join(message.content for message in messages), False
    if tokenizer.chat_template is None:
        raise ModelError("the tokenizer of this chat model has no chat template", hint=f"{_TEMPLATE_HINT}.")
    continued = bool(messages) and messages[-1].role == "assistant"
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
            enable_thinking=thinking,
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise ModelError(f"the chat template refuses these messages: {error}", hint=f"{_TEMPLATE_HINT}.") from error
    return str(text), True


def read_template(path: Path) -> str:
    """Return the text of a chat template file.

    Raises:
        OptionError: If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"chat_template: cannot read {path}: {error}", hint=f"{_TEMPLATE_HINT}.") from error


def template_digest(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return the SHA-256 of the chat template, or None if the tokenizer has none."""
    template = tokenizer.chat_template
    return None if template is None else sha256(str(template).encode()).hexdigest()
