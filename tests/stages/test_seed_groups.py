"""Which runs of a language model share a row: those that differ by the seed of sampled texts alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.stages.compare import _group
from llmrs_bench.stages.workspace import Data


def group(folder: Path, seed: int, temperature: float, weights: str = "w") -> str:
    store = folder / f"{weights}-{seed}-{temperature}"
    store.mkdir()
    served = {"seed": seed, "options": {"temperature": temperature}, "model": weights}
    (store / "store.json").write_text(json.dumps(served), "utf-8")
    facts = {"kind": "language model", "answers": store.name}
    inputs = {"answers": store.name, "prompts": "p"}
    manifest: Any = SimpleNamespace(facts=facts, fingerprint=store.name, inputs=inputs, config={}, parts={})
    data = SimpleNamespace(place=SimpleNamespace(answers=folder))
    return _group(cast("Data", data), cast("Artifact", SimpleNamespace(manifest=manifest)))


@pytest.mark.parametrize(("temperature", "shared"), [(0.7, True), (0.0, False)])
def test_seeds_of_sampled_texts_share_a_row(tmp_path: Path, temperature: float, shared: bool) -> None:
    one, two = (group(tmp_path, seed, temperature) for seed in (0, 1))
    assert (one == two) == shared
    assert group(tmp_path, 0, temperature, "others") != one
