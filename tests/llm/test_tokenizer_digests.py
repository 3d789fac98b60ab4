"""What engines say of their tokenizer is computed once: facts are asked for with each shard of answers."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmrs_bench.llm.backends import vllm


def test_the_facts_of_vllm_hold_a_digest_that_was_computed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def digested(tokenizer: object) -> str:
        raise AssertionError("a tokenizer of 10 MB is digested again")

    monkeypatch.setattr(vllm, "tokenizer_digest", digested)
    known = ("self_check", "scorer", "adapter", "block", "capacity", "moved", "requests", "dtype", "device")
    engine: dict[str, Any] = dict.fromkeys((f"_{name}" for name in known), None)
    engine |= {"_identity": {}, "_versions": {}, "_self_check": SimpleNamespace(facts=dict), "context": 8, "seed": 0}
    engine |= {"_scorer": SimpleNamespace(reruns=0), "_tokenizer_digest": "d1"}
    options = SimpleNamespace(quantization=None, tensor_parallel_size=1, deterministic=False)
    tokenizer = SimpleNamespace(chat_template=None)
    made = SimpleNamespace(**engine, options=options, reader=SimpleNamespace(tokenizer=tokenizer))
    facts = vllm.VllmEngine.facts(cast(vllm.VllmEngine, made))
    assert facts["tokenizer_sha256"] == "d1"
