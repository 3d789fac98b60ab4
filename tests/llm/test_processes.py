import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from llmrs_bench.core.errors import OptionError
from llmrs_bench.llm.processes import Group, check_launch, fails_first, join_processes, layers
from llmrs_bench.llm.training_memory import training_memory
from llmrs_bench.llm.tune_options import TuneOptions
from tiny_models import tiny_llama, tiny_t5

CASES = (("llama", "lora"), ("llama", "full"), ("t5", "full"))
SCRIPT = """
import json, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from safetensors.torch import save_file
from test_tuning import SAMPLES, checkpoint, CPU, unseen
from llmrs_bench.core.training_checkpoint import Resume, seeded
from llmrs_bench.llm.processes import join_processes
from llmrs_bench.llm.tune_options import TuneOptions
from llmrs_bench.llm.tuning import Validation, load_trainable, mean_loss, plain_model, tune

group, told = join_processes("cpu"), {{}}
for kind, method in {cases!r}:
    # Of three samples to a batch one process has two passes, and the other has one.
    options = TuneOptions(
        rank=4, lr=0.01, epochs=4, batch=3, batch_tokens=6, evaluate_every=2, dtype="float32", dropout=0,
        checkpointing=True,
    )
    with seeded(0, CPU) as order:
        model = load_trainable(checkpoint(Path({models!r}) / kind), method, options, CPU, group)
        plain = plain_model(model)
        validation = Validation("loss", lambda: mean_loss(plain, SAMPLES, tokens=512), lower=True)
        resume = Resume(None, "-", order)
        found = tune(
            model, lambda epoch: SAMPLES, validation, options, seed=0, progress=unseen, resume=resume, group=group
        )
    held = sum(getattr(weight, "_local_tensor", weight).numel() for weight in plain.parameters())
    trained = {{name: weight for name, weight in model.named_parameters() if weight.requires_grad}}
    whole = {{name: group.whole(weight.detach()).clone() for name, weight in trained.items()}}
    told[f"{{kind}}-{{method}}"] = {{
        "losses": found["loss_curve"], "curve": found["valid_curve"], "held": held, "all": found["all_weights"]
    }}
    save_file(whole, f"{out}-{{kind}}-{{method}}-{{group.rank}}.safetensors")
Path(f"{out}-{{group.rank}}").write_text(json.dumps(told))
"""
_ACCELERATE = "-m accelerate.commands.launch --num_processes 2 --main_process_port 0"
LAUNCHES = {
    "alone": [],
    "data parallel": f"{_ACCELERATE} --multi_gpu".split(),
    "FSDP": f"{_ACCELERATE} --use_fsdp --fsdp_sharding_strategy SHARD_GRAD_OP".split(),
}


def run(folder: Path, launch: str) -> list[tuple[dict[str, Any], dict[str, dict[str, Tensor]]]]:
    """Train every case, and return for each process what it told, and its weights."""
    here, out = Path(__file__).parent, folder / launch.replace(" ", "-")
    paths = [str(here), str(here.parent)]
    script = out.with_suffix(".py")
    script.write_text(SCRIPT.format(paths=paths, cases=CASES, models=str(folder), out=out))
    known = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE", "FSDP"))}
    command = [sys.executable, *LAUNCHES[launch], str(script)]
    ended = subprocess.run(
        command, env={**known, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [
        (
            json.loads(Path(f"{out}-{rank}").read_text()),
            {f"{kind}-{method}": load_file(f"{out}-{kind}-{method}-{rank}.safetensors") for kind, method in CASES},
        )
        for rank in range(2 if LAUNCHES[launch] else 1)
    ]


@pytest.mark.slow
def test_two_processes_train_as_one_does_on_the_same_batches(tmp_path: Path) -> None:
    """With the whole model in each, and with half of every weight; three samples to a batch, of unequal answers."""
    tiny_llama(tmp_path / "llama")
    settings = tiny_t5(tmp_path / "t5") / "config.json"
    # Its own dropout, which leaves out other numbers in each process.
    settings.write_text(settings.read_text().replace('"dropout_rate": 0.1', '"dropout_rate": 0.0'))
    assert '"dropout_rate": 0.0' in settings.read_text()
    told, weights = run(tmp_path, "alone")[0]
    for launch in ("data parallel", "FSDP"):
        for found, trained in run(tmp_path, launch):
            for case, facts in told.items():
                # Probably AdamW makes a whole step, here .01, of a gradient that is 0 but for rounding; T5 has some.
                near, most = (1e-3, 2e-3) if case == "t5-full" else (1e-6, 1e-5)
                assert found[case]["losses"] == pytest.approx(facts["losses"], rel=near, abs=1e-5), (launch, case)
                assert found[case]["curve"] == pytest.approx(facts["curve"], rel=near, abs=1e-5), (launch, case)
                held = found[case]["held"] / facts["all"]
                assert held == 1 if launch == "data parallel" else 0.45 < held < 0.55, (launch, case)
                assert trained[case].keys() == weights[case].keys()
                changes = torch.cat(
                    [(trained[case][name] - weight).abs().ravel() for name, weight in weights[case].items()]
                )
                assert changes.max() <= most, (launch, case)


def test_one_process_is_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert join_processes("cpu") == Group(0, 1)
    assert Group().first(lambda: 3) == 3


FSDP = {"ACCELERATE_USE_FSDP": "true"}


@pytest.mark.parametrize(
    ("set_", "words"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "divides weights among 2 processes by DeepSpeed"),
        (FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, "asks for --fsdp_offload_params true"),
        (FSDP | {"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "asks for --fsdp_activation_checkpointing true"),
        (FSDP | {"FSDP_IGNORED_MODULES": "lm_head"}, "asks for --fsdp_ignored_modules"),
        (FSDP | {"FSDP_SHARDING_STRATEGY": "NO_SHARD"}, "every process holds the whole model"),
        (FSDP | {"FSDP_SHARDING_STRATEGY": "HYBRID_SHARD"}, "sharding_strategy=HYBRID_SHARD"),
        ({"RANK": "first"}, "are numbers"),
    ],
)
def test_what_a_launcher_may_not_ask_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, set_: dict[str, str], words: str
) -> None:
    for name, value in ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"} | set_).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match=words) as caught:
        join_processes("cpu")
    assert caught.value.hint


def test_a_launcher_that_starts_one_process_in_place_of_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert join_processes("cpu") == Group()
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
    with pytest.raises(OptionError, match="has started one") as caught:
        join_processes("cpu")
    assert "--multi_gpu" in caught.value.hint


@pytest.mark.parametrize(
    ("set_", "options", "words"),
    [
        ({}, {"quantization": "nf4"}, "packed weights cannot be divided"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {}, "--mixed_precision bf16, but here -O dtype=auto"),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, {"dtype": "bfloat16"}, "--mixed_precision fp16"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, {}, "--dynamo_backend inductor"),
    ],
)
def test_what_a_launcher_and_the_options_ask_for_together_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, set_: dict[str, str], options: dict[str, str], words: str
) -> None:
    group: Any = Group(0, 2, 0, 2, mesh=object())  # type: ignore[arg-type]  # as if weights were divided
    cpu, bfloat16 = torch.device("cpu"), TuneOptions(dtype="bfloat16")
    check_launch(group, bfloat16, cpu)
    for name, value in set_.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match=words):
        check_launch(group, TuneOptions.parse(options, owner="tune"), cpu)
    if set_ == {"ACCELERATE_MIXED_PRECISION": "bf16"}:
        check_launch(group, bfloat16, cpu)


def test_layers_are_the_members_of_the_outermost_lists(tmp_path: Path) -> None:
    llama = AutoModelForCausalLM.from_pretrained(tiny_llama(tmp_path / "llama"))
    t5 = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5(tmp_path / "t5"))
    assert [type(layer).__name__ for layer in layers(llama)] == ["LlamaDecoderLayer"] * 2
    assert [type(layer).__name__ for layer in layers(t5)] == ["T5Block"] * 4


def test_a_process_needs_memory_for_its_part_and_for_what_a_pass_gathers(tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_llama(tmp_path))
    cpu, options, needed = torch.device("cpu"), TuneOptions(), {}
    for size in (1, 2, 4):
        group: Any = Group(0, size, 0, size, mesh=object() if size > 1 else None)  # type: ignore[arg-type]
        needed[size] = training_memory(config, "full", options, longest=10, device=cpu, group=group)
    assert needed[2].fixed == pytest.approx(needed[1].fixed / 2)
    assert needed[4].fixed == pytest.approx(needed[1].fixed / 4)
    assert needed[2].passes == needed[4].passes > needed[1].passes
    assert needed[1].fixed == pytest.approx(16 * needed[1].weights / 1e9)


def test_the_first_to_fail_is_the_first_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as the launcher has one
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    for name, value in (given | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    assert [fails_first() for _ in range(3)] == [True, False, False]
    monkeypatch.delenv("MASTER_ADDR")  # nobody can be asked
    assert fails_first()
