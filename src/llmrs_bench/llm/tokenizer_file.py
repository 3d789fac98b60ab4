"""The tokenizer of a model read from its files alone, for who counts tokens and loads no library of models."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrs_bench.core.types import Prompt
from llmrs_bench.llm.identity import ModelFiles, find_files
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import Tokenized, render

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer

TOKENIZER, SETTINGS, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TokenizerFile:
    """Counts the tokens of prompts as the tokenizer of the model reads them, with its chat template.

    Special tokens that stand in a title are not split, and those around a text without a chat template are those of
    `tokenizer.json`: counts are for an estimate.

    Args:
        tokenizer: Of `tokenizer.json` or of a GGUF file.
        chat_template: The Jinja template, or None.
        special: The texts of special tokens, by the names that templates have for them.
    """

    def __init__(self, tokenizer: "Tokenizer", chat_template: str | None, special: Mapping[str, str]) -> None:
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.special = special

    def read(self, prompts: Sequence[Prompt], *, chat: bool | None) -> list[Tokenized]:
        """Return the tokens of the messages and of the choices of each prompt.

        Choices are read alone: a token that spans the end of the prompt is counted as two.

        Args:
            prompts: The prompts.
            chat: Whether to use the chat template; None: if there is one.

        Raises:
            ModelError: If the template refuses the messages, or there is none and `chat` wants it.
        """
        own: Any = self  # what `render` needs of a tokenizer
        found = []
        for prompt in prompts:
            text, complete = render(prompt.messages, own, chat)
            prefix = self.tokenizer.encode(text, add_special_tokens=not complete).ids
            choices = self.tokenizer.encode_batch_fast(list(prompt.choices or ()), add_special_tokens=False)
            found.append(Tokenized(tuple(prefix), tuple(tuple(each.ids) for each in choices)))
        return found

    def apply_chat_template(
        self, turns: Sequence[Mapping[str, str]], *, continue_final_message: bool = False, **variables: Any
    ) -> str:
        """Return the text of the turns, as transformers renders it."""
        text = self._template.render(messages=list(turns), **self.special, **variables)
        if not continue_final_message:
            return text
        last = turns[-1]["content"]
        start = text.rindex(last.strip())
        kept = last.lstrip() if text.startswith(last.lstrip(), start) else last.strip()  # as the template wrote it
        return text[: start + len(kept)]

    @cached_property
    def _template(self) -> "Template":
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise TemplateError(message)

        machine = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        machine.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
        now = datetime.now
        machine.globals.update(raise_exception=refuse, strftime_now=lambda form: now().strftime(form))
        return machine.from_string(self.chat_template or "")


def open_tokenizer_file(model: ModelSpec) -> TokenizerFile | None:
    """Return the tokenizer of a model whose files are on this machine; the hub is not asked.

    None: there is no `tokenizer.json`, or it cannot be read without the model's library; the same of a GGUF file.

    Raises:
        ModelError: If the model is written as a path and nothing is there, or it is not clear which files are meant.
    """
    from tokenizers import Tokenizer

    files = find_files(model.source, revision=model.revision)
    if (gguf := _gguf_of(files)) is not None:
        return _described(gguf)
    folder = _folder_of(files)
    if folder is None or not (folder / TOKENIZER).is_file():
        return None
    try:
        settings = json.loads((folder / SETTINGS).read_text("utf-8")) if (folder / SETTINGS).is_file() else {}
        template = (folder / TEMPLATE).read_text("utf-8") if (folder / TEMPLATE).is_file() else None
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception:  # noqa: BLE001 - tokenizers raises nothing narrower; transformers then says what is wrong
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    named = settings.get("chat_template")
    if isinstance(named, list):  # several, by name
        named = {each.get("name"): each.get("template") for each in named}.get("default")
    special = {name: _text(settings[name]) for name in _SPECIAL if settings.get(name) is not None}
    return TokenizerFile(tokenizer, template or named, special)


def _described(gguf: Path) -> TokenizerFile | None:
    """Return the tokenizer that a GGUF file describes, or None if that is not of a kind that is read here."""
    from llmrs_bench.llm.gguf_file import read_header, tokenizer_of

    try:
        header = read_header(gguf)
        tokenizer = tokenizer_of(header)
    except Exception:  # noqa: BLE001 - as above; transformers then says what is wrong with the file
        return None
    if tokenizer is None:
        return None
    tokens = header["tokenizer.ggml.tokens"]
    numbers = {name: header.get(f"tokenizer.ggml.{name}_id") for name in ("bos_token", "eos_token")}
    special = {name: tokens[number] for name, number in numbers.items() if number is not None}
    return TokenizerFile(tokenizer, header.get("tokenizer.chat_template"), special)


def has_tokenizer(model: ModelSpec) -> bool:
    """Return whether files of a tokenizer, of whatever kind, are on this machine; the hub is not asked.

    Raises:
        ModelError: As `open_tokenizer_file`.
    """
    files = find_files(model.source, revision=model.revision)
    return files.folder is not None or _cached(files, SETTINGS) is not None


def _gguf_of(files: ModelFiles) -> Path | None:
    """Return the GGUF file that holds the tokenizer of a model on this machine."""
    apart = files.adapter is not None and files.adapter.has_tokenizer
    return None if apart or files.gguf is None or files.folder is None else files.folder / files.gguf


def _folder_of(files: ModelFiles) -> Path | None:
    if files.adapter is not None and files.adapter.has_tokenizer:
        return files.adapter.folder
    if files.gguf is not None:
        return None
    if files.folder is not None:
        return files.folder
    return _cached(files, TOKENIZER)


def _cached(files: ModelFiles, name: str) -> Path | None:
    """Return the folder in which the cache of the hub has a file of a model."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(files.source, name, revision=files.revision)
    return Path(cached).parent if isinstance(cached, str) else None


def _text(token: Any) -> str:
    """Return the text of a special token, which is written as a text or as a table."""
    return str(token["content"] if isinstance(token, dict) else token)
