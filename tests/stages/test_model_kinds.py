"""Files that are a model: what its row is called, and which answers are kept for which of them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import LanguageModelConfig
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import no_progress
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.stages.forecast import forecast
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.serving import Served, is_language_model, label_of
from llmrs_bench.stages.workspace import Data


def run(data: Data, model: Path | str, *, from_cache: bool = False, **options: str) -> Artifact:
    config = LanguageModelConfig(model=str(model), engine="transformers", template="likelihood", options=options)
    return infer(data, config, no_progress, from_cache=from_cache).artifact


def stores(data: Data) -> int:
    return len(list(data.place.answers.iterdir()))


def label(model: Path | str, **options: str) -> str:
    return label_of(LanguageModelConfig(model=str(model), options=options))


def test_a_gguf_file_is_called_by_its_stem(tmp_path: Path) -> None:
    path = tmp_path / "tiny.Q8_0.gguf"
    path.write_bytes(b"GGUF")
    assert label(path) == label(tmp_path) == label("owner/tiny", gguf_file="deep/tiny.Q8_0.gguf") == "tiny.Q8_0"
    (tmp_path / "tiny.Q4_0.gguf").write_bytes(b"GGUF")
    assert label(tmp_path, gguf_file="tiny.Q4_0.gguf") == "tiny.Q4_0"
    assert is_language_model("absent.gguf")


def test_the_run_of_a_gguf_file_belongs_to_its_bytes(data: Data, llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    from tiny_gguf import write_gguf

    gguf = write_gguf(tmp_path / "tiny.F32.gguf", llama)
    look = forecast(data, LanguageModelConfig(model=str(gguf), engine="transformers", template="likelihood"))
    made = run(data, gguf)
    cost = made.facts
    assert (look.prompt_tokens, look.cached_tokens) == (cost["prompt_tokens"], cost["cached_tokens"])
    assert look.choice_tokens == cost["completion_tokens"]
    assert (look.per_token, look.counted) == (None, "counted by the tokenizer")
    assert made.facts["model"]["name"] == "tiny.F32"
    moved = tmp_path / "elsewhere" / "tiny.F32.gguf"
    moved.parent.mkdir()
    shutil.move(tmp_path / "tiny.F32.gguf", moved)
    assert run(data, moved).path == made.path
    assert stores(data) == 1
    moved.unlink()
    assert run(data, moved, from_cache=True).path == made.path


def test_answers_belong_to_what_a_chat_template_says_and_not_to_its_path(llama: Path, tmp_path: Path) -> None:
    def files(path: Path) -> Any:
        options = ENGINES.options_of("transformers").parse({"chat_template": str(path)}, owner="infer")
        return Served(ModelSpec("llama", str(llama)), "llama", "transformers", options, "cpu", 0).identity["files"]

    first, second = tmp_path / "a.jinja", tmp_path / "b.jinja"
    first.write_text("{{ messages }}")
    second.write_text("{{ messages[0] }}")
    before = files(first)
    assert before != files(second)
    first.write_text("{{ messages[0] }}")
    assert before != files(first) == files(second)


def test_a_row_names_base_and_adapter(data: Data, llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from lora_adapters import write_adapter

    folder = write_adapter(tmp_path / "tuned", llama)
    made = run(data, folder)
    assert made.facts["model"]["name"] == "llama+tuned" == label(llama, lora=str(folder))
    run(data, llama)
    assert stores(data) == 2
    shutil.rmtree(folder)
    write_adapter(folder, llama, seed=1)
    run(data, folder)
    assert stores(data) == 3
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="no folder"):
        run(data, folder)


def test_an_adapter_is_no_answer_of_its_base(data: Data, llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from lora_adapters import write_adapter

    with pytest.raises(ModelError, match="changes nothing"):
        run(data, llama, lora=str(write_adapter(tmp_path / "zeros", llama, scale=0.0)))
    assert not data.place.runs.exists()
    with pytest.raises(OptionError, match="no LoRA adapter"):
        run(data, llama, lora=str(llama))


def test_a_context_is_part_of_the_run_only_where_it_is_given(data: Data, llama: Path) -> None:
    run(data, llama)
    run(data, llama, context="300")
    assert stores(data) == 2


def test_a_look_counts_once_what_prompts_of_a_request_share(data: Data, llama: Path) -> None:
    config = LanguageModelConfig(model=str(llama), engine="transformers", template="yes-no", limit=2)
    look = forecast(data, config)
    cost = infer(data, config, no_progress).artifact.facts
    assert look.cached_tokens == cost["cached_tokens"] > 0
    assert (look.prompt_tokens, look.choice_tokens) == (cost["prompt_tokens"], cost["completion_tokens"])
    assert look.tokens_to_ask == cost["prefill_tokens"]
    after = forecast(data, config.model_copy(update={"limit": 4}))
    assert after.per_token is not None
    computed = cost["prefill_tokens"] + cost["completion_tokens"]
    assert after.per_token * computed == pytest.approx(cost["seconds"], rel=0.05, abs=0.001)  # said in milliseconds
    assert after.seconds == pytest.approx(after.per_token * (after.tokens_to_ask + after.choices_to_ask))
    text = forecast(data, config.model_copy(update={"template": "listwise"}))
    assert (text.kept_answers, text.others_kept, text.seconds) == (0, True, None)
