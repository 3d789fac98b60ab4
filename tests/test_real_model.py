"""A real language model: its GGUF file and an ordinary folder of the same weights."""

from pathlib import Path


def test_x(smollm2_folder: Path) -> None:
    assert (smollm2_folder / "config.json").is_file()
