"""Tokens counted with the files of a tokenizer alone, next to those that transformers counts."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from llmrs_bench.core.errors import ModelError
from llmrs_bench.core.types import Message, Prompt
from llmrs_bench.llm.gguf_file import tokenizer_of
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import PromptReader
from llmrs_bench.llm.tokenizer_file import TokenizerFile, open_tokenizer_file
from tiny_models import train_tokenizer

ASKED = [
    Prompt("1", "1", (Message("user", "Which movie comes after Heat?"),), ()),
    Prompt("2", "2", (Message("user", "Which?"), Message("assistant", "The next movie is: Amélie ")), ()),
    Prompt("3", "3", (Message("text", "The Matrix\n- Alien"),), ()),
    Prompt("4", "4", (Message("user", "Yes?"), Message("assistant", "It is:")), (), (" Heat", " Alien", " Heat")),
]


def opened(folder: Path) -> TokenizerFile:
    found = open_tokenizer_file(ModelSpec("m", str(folder)))
    assert found is not None
    return found


def lengths(folder: Path, prompts: Sequence[Prompt], chat: bool | None) -> list[int]:
    return [len(each.prefix) for each in opened(folder).read(prompts, chat=chat)]


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("wanted", [None, False])
def test_counts_are_those_of_transformers(tmp_path: Path, chat: bool, wanted: bool | None) -> None:
    tokenizer = train_tokenizer(chat=chat)
    tokenizer.save_pretrained(tmp_path)
    reader = PromptReader(tokenizer, chat=wanted, encoder_decoder=False)
    assert opened(tmp_path).read(ASKED, chat=wanted) == [reader.read(asked).tokens for asked in ASKED]


def test_an_encoder_s_prompts_keep_the_token_at_their_end(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(eos=True)
    tokenizer.save_pretrained(tmp_path)
    reader = PromptReader(tokenizer, chat=False, encoder_decoder=True)
    assert lengths(tmp_path, ASKED, False) == [len(reader.read(asked).tokens.prefix) for asked in ASKED]


def test_templates_beside_the_tokenizer_or_in_its_settings_are_found(tmp_path: Path) -> None:
    train_tokenizer(chat=True).save_pretrained(tmp_path)
    template = tmp_path / "chat_template.jinja"
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert settings["bos_token"] == "<s>"
    counts = lengths(tmp_path, ASKED, True)
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": template.read_text("utf-8")}]
    bos = {"content": "<s>", "special": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": bos, "chat_template": named}))
    template.unlink()
    assert lengths(tmp_path, ASKED, True) == counts


def test_what_a_template_refuses_is_said(tmp_path: Path) -> None:
    train_tokenizer(chat=True).save_pretrained(tmp_path)
    system = Prompt("1", "1", (Message("system", "You are."), Message("user", "Which?")), ())
    with pytest.raises(ModelError, match="the chat template refuses these messages: no system role"):
        opened(tmp_path).read([system], chat=None)


def test_files_that_need_more_are_left_to_transformers(tmp_path: Path) -> None:
    model = ModelSpec("m", str(tmp_path))
    assert open_tokenizer_file(model) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    assert open_tokenizer_file(model) is None
    assert open_tokenizer_file(ModelSpec("m", "nobody/has-this-here")) is None
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + bytes([3, 0, 0, 0]) + bytes([1] * 40))
    assert open_tokenizer_file(ModelSpec("m", str(tmp_path / "cut.gguf"))) is None


def test_pairs_of_sentencepiece_follow_from_the_scores_of_its_pieces() -> None:
    pieces = ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a", "<0x63>"]
    header = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, -5.0, -6.0, -7.0, -1.0, -2.0, 0.0],
        "tokenizer.ggml.token_type": [2, 3, 3, 1, 1, 1, 1, 1, 6],
        "tokenizer.ggml.bos_token_id": 1,
    }
    tokenizer = tokenizer_of(header)
    assert tokenizer is not None
    assert tokenizer.encode("ab a").tokens == ["<s>", "▁", "ab", "▁a"]  # the pair with the better score first
    assert tokenizer.encode("c</s>", add_special_tokens=False).tokens == ["▁", "<0x63>", "</s>"]
    assert tokenizer_of({**header, "tokenizer.ggml.model": "t5"}) is None
