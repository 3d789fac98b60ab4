"""Which files a model is: folders, GGUF files, adapters and their bases."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.llm.identity import find_files, identify
from llmrs_bench.llm.model_aliases import ModelSpec


def model(folder: Path, *names: str) -> Path:
    """Write a folder with a configuration and files of the given names."""
    folder.mkdir()
    for name in ("config.json", *names):
        (folder / name).write_text("{}")
    return folder


def adapter(folder: Path, base: str | None, **settings: Any) -> Path:
    """Write a folder that looks like an adapter."""
    folder.mkdir()
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "base_model_name_or_path": base, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def test_a_gguf_file_is_its_bytes_wherever_it_lies(tmp_path: Path) -> None:
    one, other = tmp_path / "tiny.Q8_0.gguf", tmp_path / "elsewhere" / "TINY.GGUF"
    other.parent.mkdir()
    for path in (one, other):
        path.write_bytes(b"GGUF and more")
    files = find_files(str(one))
    assert (files.folder, files.gguf) == (tmp_path, "tiny.Q8_0.gguf")
    known = identify(ModelSpec("m", str(one)))
    assert known == identify(ModelSpec("m", str(other))) == identify(ModelSpec("m", str(other.parent)))
    (other.parent / "tokenizer_config.json").write_text("{}")  # not read beside a GGUF file
    assert known == identify(ModelSpec("m", str(other)))
    other.write_bytes(b"GGUF and less")
    assert known != identify(ModelSpec("m", str(other)))


def test_of_several_gguf_files_one_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "a.Q4_0.gguf").write_bytes(b"a")
    assert find_files(str(tmp_path)).gguf == "a.Q4_0.gguf"
    (tmp_path / "b.Q8_0.gguf").write_bytes(b"b")
    with pytest.raises(ModelError, match=r"2 GGUF files: a\.Q4_0\.gguf, b\.Q8_0\.gguf") as caught:
        find_files(str(tmp_path))
    assert "-O gguf_file=a.Q4_0.gguf" in caught.value.hint
    assert find_files(str(tmp_path), gguf_file="b.Q8_0.gguf").gguf == "b.Q8_0.gguf"
    with pytest.raises(OptionError, match="no such file") as absent:
        find_files(str(tmp_path), gguf_file="c.gguf")
    assert "a.Q4_0.gguf, b.Q8_0.gguf" in absent.value.hint
    with pytest.raises(OptionError, match="already"):
        find_files(str(tmp_path / "a.Q4_0.gguf"), gguf_file="b.Q8_0.gguf")


def test_weights_of_transformers_come_before_a_gguf_file_beside_them(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", "model.safetensors", "m.gguf")
    assert find_files(str(folder)).gguf is None
    assert find_files(str(folder), gguf_file="m.gguf").gguf == "m.gguf"
    (folder / "model.safetensors").unlink()
    assert find_files(str(folder)).gguf == "m.gguf"


def test_a_missing_gguf_file_is_a_missing_file() -> None:
    for name in ("absent.gguf", "some/absent.gguf"):
        with pytest.raises(ModelError, match=f"no file '{name}'"):
            find_files(name)


def test_an_adapter_brings_its_base(tmp_path: Path) -> None:
    base = model(tmp_path / "base", "model.safetensors")
    folder = adapter(tmp_path / "tuned", str(base))
    files = find_files(str(folder))
    assert files.folder == base
    assert files.adapter is not None
    assert files.adapter.folder == folder
    assert find_files(str(base), lora=folder) == files
    hub = find_files(str(adapter(tmp_path / "b", "owner/base", revision="v1")))
    assert (hub.source, hub.revision, hub.folder) == ("owner/base", "v1", None)


def test_the_bytes_of_an_adapter_are_part_of_the_model(tmp_path: Path) -> None:
    base = model(tmp_path / "base", "model.safetensors")
    folder = adapter(tmp_path / "tuned", str(base))
    alone = identify(ModelSpec("m", str(base)))
    known = identify(ModelSpec("m", str(folder)))
    assert known == identify(ModelSpec("m", str(base)), lora=folder)
    assert known["content"] == alone["content"]
    (folder / "README.md").write_text("How it was made")
    (folder / "trainer_state.json").write_text("{}")
    assert known == identify(ModelSpec("m", str(folder)))
    (folder / "adapter_model.safetensors").write_bytes(b"others")
    assert known != identify(ModelSpec("m", str(folder)))


@pytest.mark.parametrize(
    ("base", "message", "hint"),
    [(None, "does not name its base", "-O lora=FOLDER"), ("./gone", "no such folder", "--model")],
)
def test_an_adapter_without_a_base_says_how_to_give_one(
    tmp_path: Path, base: str | None, message: str, hint: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        find_files(str(adapter(tmp_path / "tuned", base)))
    assert hint in caught.value.hint


def test_a_model_and_an_adapter_in_one_folder_are_told_apart_by_the_user(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "both", "owner/base")
    (folder / "config.json").write_text("{}")
    assert find_files(str(folder)).source == "owner/base"
    (folder / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelError, match="a model and a LoRA adapter"):
        find_files(str(folder))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task_type": "SEQ_CLS"}, "task SEQ_CLS"),
        ({"peft_type": "IA3"}, "type IA3"),
        ({"r": "many"}, "can be read"),
    ],
)
def test_adapters_for_something_else_are_refused(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        find_files(str(adapter(tmp_path / "tuned", "owner/base", **settings)))


def test_an_adapter_without_weights_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "tuned", "owner/base")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(OptionError, match=r"no adapter_model\.safetensors"):
        find_files("owner/base", lora=folder)
