"""Models in GGUF files: the same answers as the folder they were made from, and what cannot be read."""

import importlib.util
from pathlib import Path

import pytest

from llmrs_bench.core.errors import ModelError
from llmrs_bench.llm import loading
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import PromptReader
from llmrs_bench.llm.tokenizer_file import open_tokenizer_file
from tiny_models import TITLES, choice_prompt, text_prompt, tiny_llama
from transformers_cases import answers, engine, scores

pytest.importorskip("gguf")
pytest.importorskip("accelerate")
from tiny_gguf import write_gguf


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama", chat=True)


@pytest.fixture(scope="module")
def gguf(llama: Path) -> Path:
    return write_gguf(llama.parent / "tiny.F32.gguf", llama)


def test_a_gguf_file_answers_like_the_folder_it_was_made_from(llama: Path, gguf: Path) -> None:
    read, ordinary = engine(gguf), engine(llama)
    prompt = choice_prompt(history=12)
    assert read.reader.read(prompt).tokens == ordinary.reader.read(prompt).tokens
    for found, known in zip(scores(read, prompt), scores(ordinary, prompt), strict=True):
        assert found == pytest.approx(known, abs=1e-4)
    text = text_prompt()
    assert answers(read, text)["p"].text == answers(ordinary, text)["p"].text
    assert read.context == ordinary.context


def test_tokens_are_counted_from_the_header_of_the_file(gguf: Path) -> None:
    counting = open_tokenizer_file(ModelSpec("m", str(gguf)))
    assert counting is not None
    prompts = [choice_prompt(history=12), text_prompt()]
    for chat in (None, False):
        reader = PromptReader(engine(gguf).reader.tokenizer, chat=chat, encoder_decoder=False)
        assert counting.read(prompts, chat=chat) == [reader.read(prompt).tokens for prompt in prompts]


def test_the_chat_template_in_the_file_is_used_and_texts_begin_once(llama: Path, gguf: Path) -> None:
    read = engine(gguf).reader
    job = read.read(choice_prompt())
    assert job.text.startswith("<s><|user|>A user chose")
    assert job.tokens.prefix.count(read.tokenizer.bos_token_id) == 1
    for title in TITLES:
        assert read.tokenizer(title)["input_ids"] == engine(llama).reader.tokenizer(title)["input_ids"]


def test_what_was_unpacked_is_an_ordinary_model(gguf: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "llmrs_bench"):
        made = engine(gguf, dtype="bfloat16")
    assert f"loading {gguf} as torch.bfloat16" in caplog.text
    assert made.facts()["dtype"] == "bfloat16"
    assert {str(weights.dtype) for weights in made.weights.parameters()} == {"torch.bfloat16"}
    assert not hasattr(made.weights.config, "quantization_config")


def test_a_tokenizer_beside_the_file_is_not_mixed_in(llama: Path, gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ 'another' }}")
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<pad>"}')
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(gguf.read_bytes())
    tokenizer = engine(copy).reader.tokenizer
    assert tokenizer.bos_token == "<s>"
    assert tokenizer.chat_template == engine(llama).reader.tokenizer.chat_template


@pytest.mark.parametrize("architecture", ["clip", "unheard-of"])
def test_an_architecture_that_is_not_read_names_a_server_that_does(
    llama: Path, tmp_path: Path, architecture: str
) -> None:
    path = write_gguf(tmp_path / "other.gguf", llama, architecture=architecture)
    with pytest.raises(ModelError, match=r"other\.gguf.*not supported") as caught:
        engine(path)
    assert "llama-server -m other.gguf" in caught.value.hint
    assert "--engine openai" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not one at all"])
def test_a_broken_file_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        engine(path)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_without_its_packages_the_extra_is_named(gguf: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(ModelError, match=package) as caught:
        engine(gguf)
    assert "llmrs-bench[gguf]" in caught.value.hint


def test_vllm_without_its_plugin_says_what_to_use(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrs_bench.llm.backends import vllm
    from llmrs_bench.llm.base import ModelOptions
    from llmrs_bench.llm.loading import Checkpoint
    from llmrs_bench.llm.model_aliases import ModelSpec

    checkpoint = Checkpoint(ModelSpec("tiny", str(gguf)), ModelOptions())
    monkeypatch.setattr(vllm, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="does not read GGUF") as caught, vllm.model_arguments(checkpoint):
        pass
    assert "--engine transformers" in caught.value.hint
    monkeypatch.setattr(vllm, "find_spec", lambda name: object())
    with vllm.model_arguments(checkpoint) as place:
        assert place["model"] == str(gguf)
        assert (Path(place["tokenizer"]) / "config.json").is_file()
        assert (Path(place["tokenizer"]) / "tokenizer.json").is_file()
    assert not Path(place["tokenizer"]).exists()
