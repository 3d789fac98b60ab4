"""Tokens counted with the files of a tokenizer alone, next to those that transformers counts."""

import json
from pathlib import Path

import pytest

from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Message, Prompt
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import PromptReader
from llmrs_bench.llm.tokenizer_file import TokenizerFile, open_tokenizer_file
from tiny_models import train_tokenizer

ASKED = [
    Prompt("1", "1", (Message("user", "Which movie comes after Heat?"),), ()),
    Prompt("2", "2", (Message("user", "Which?"), Message("assistant", "The next movie is: Amélie ")), ()),
    Prompt("3", "3", (Message("text", "The Matrix\n- Alien"),), ()),
]


def opened(folder: Path) -> TokenizerFile:
    found = open_tokenizer_file(ModelSpec("m", str(folder)))
    assert found is not None
    return found


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("wanted", [None, False])
def test_counts_are_those_of_transformers(tmp_path: Path, chat: bool, wanted: bool | None) -> None:
    tokenizer = train_tokenizer(chat=chat)
    tokenizer.save_pretrained(tmp_path)
    reader = PromptReader(tokenizer, chat=wanted, encoder_decoder=False)
    assert opened(tmp_path).count(ASKED, chat=wanted) == [len(reader.read(asked).tokens.prefix) for asked in ASKED]


def test_an_encoder_s_prompts_keep_the_token_at_their_end(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(eos=True)
    tokenizer.save_pretrained(tmp_path)
    reader = PromptReader(tokenizer, chat=False, encoder_decoder=True)
    assert opened(tmp_path).count(ASKED, chat=False) == [len(reader.read(asked).tokens.prefix) for asked in ASKED]


def test_templates_beside_the_tokenizer_or_in_its_settings_are_found(tmp_path: Path) -> None:
    train_tokenizer(chat=True).save_pretrained(tmp_path)
    template = tmp_path / "chat_template.jinja"
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert settings["bos_token"] == "<s>"
    counts = opened(tmp_path).count(ASKED, chat=True)
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": template.read_text("utf-8")}]
    bos = {"content": "<s>", "special": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": bos, "chat_template": named}))
    template.unlink()
    assert opened(tmp_path).count(ASKED, chat=True) == counts


def test_what_a_template_refuses_is_said(tmp_path: Path) -> None:
    train_tokenizer(chat=True).save_pretrained(tmp_path)
    system = Prompt("1", "1", (Message("system", "You are."), Message("user", "Which?")), ())
    with pytest.raises(ModelError, match="the chat template refuses these messages: no system role"):
        opened(tmp_path).count([system], chat=None)


def test_files_that_need_more_are_left_to_transformers(tmp_path: Path) -> None:
    model = ModelSpec("m", str(tmp_path))
    assert open_tokenizer_file(model) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    assert open_tokenizer_file(model) is None
    assert open_tokenizer_file(ModelSpec("m", "nobody/has-this-here")) is None
