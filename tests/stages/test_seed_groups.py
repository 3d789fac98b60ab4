"""Which runs of a language model share a row: those that differ by the seed of sampled texts, or of tuning, alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.stages.compare import _group
from llmrs_bench.stages.workspace import Data


def group(
    folder: Path, seed: int, temperature: float, weights: str = "w", tuned: dict[str, Any] | None = None
) -> tuple[str, str]:
    store = folder / f"{weights}-{seed}-{temperature}"
    store.mkdir()
    served = {"seed": seed, "options": {"temperature": temperature}, "model": weights}
    (store / "store.json").write_text(json.dumps(served), "utf-8")
    facts = {"kind": "language model", "answers": store.name, "tuned": tuned}
    inputs = {"answers": store.name, "prompts": "p"}
    manifest: Any = SimpleNamespace(facts=facts, fingerprint=store.name, inputs=inputs, config={}, parts={})
    data = SimpleNamespace(place=SimpleNamespace(answers=folder))
    return _group(cast("Data", data), cast("Artifact", SimpleNamespace(manifest=manifest)))


@pytest.mark.parametrize(("temperature", "shared"), [(0.7, True), (0.0, False)])
def test_seeds_of_sampled_texts_share_a_row(tmp_path: Path, temperature: float, shared: bool) -> None:
    one, two = (group(tmp_path, seed, temperature) for seed in (0, 1))
    assert (one == two) == shared
    assert one[1] == ("sampling" if shared else "")
    assert group(tmp_path, 0, temperature, "others") != one


def test_trainings_of_a_tuned_model_share_a_row(tmp_path: Path) -> None:
    def tuned(weights: str, series: str | None, *, seed: int = 0, temperature: float = 0.0) -> tuple[str, str]:
        facts = {} if series is None else {"series": series}
        return group(tmp_path, seed, temperature, weights, tuned=facts)

    first, second = tuned("a", "s"), tuned("b", "s")
    assert first == second
    assert first[1] == "training"
    assert tuned("c", "other") != first  # tuned in another way
    assert tuned("a", "s", seed=1) != first  # served in another way
    assert tuned("d", None) == ("d-0-0.0", "")  # made before this was kept
    # Sampled texts: a row for each training, and the seeds of sampling share it.
    warm = [tuned(weights, "s", seed=seed, temperature=0.7) for weights, seed in (("a", 0), ("a", 1), ("b", 0))]
    assert warm[0] == warm[1] != warm[2]
    assert warm[0][1] == "sampling"
