import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.llm.processes import Group, join_processes
from tiny_models import tiny_llama

SCRIPT = """
import json, os, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_tuning import SAMPLES, checkpoint, CPU, unseen
from llmrs_bench.core.training_checkpoint import Resume, seeded
from llmrs_bench.llm.processes import join_processes
from llmrs_bench.llm.tune_options import TuneOptions
from llmrs_bench.llm.tuning import Validation, load_trainable, mean_loss, plain_model, tune

group = join_processes("cpu")
options = TuneOptions(rank=4, lr=0.01, epochs=4, batch=3, evaluate_every=2, dtype="float32", dropout=0)
with seeded(0, CPU) as order:
    model = load_trainable(checkpoint(Path({model!r})), {method!r}, options, CPU)
    validation = Validation("loss", lambda: mean_loss(plain_model(model), SAMPLES, tokens=512), lower=True)
    found = tune(
        model, lambda epoch: SAMPLES, validation, options, seed=0, progress=unseen,
        resume=Resume(None, "-", order), group=group,
    )
weights = [weight.double().sum().item() for weight in model.parameters() if weight.requires_grad]
told = {{"rank": group.rank, "losses": found["loss_curve"], "curve": found["valid_curve"], "weights": weights}}
Path({out!r} + f"-{{group.size}}-{{group.rank}}").write_text(json.dumps(told))
"""


def run(folder: Path, model: Path, method: str, processes: int) -> list[dict[str, object]]:
    here = Path(__file__).parent
    script = SCRIPT.format(
        paths=[str(here), str(here.parent)], model=str(model), method=method, out=str(folder / "told")
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(folder / "train.py")]
    (folder / "train.py").write_text(script)
    if processes > 1:
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return [json.loads((folder / f"told-{processes}-{rank}").read_text()) for rank in range(processes)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_processes_train_as_one_does_on_the_same_batches(tmp_path: Path, method: str) -> None:
    model = tiny_llama(tmp_path / "model")
    alone = run(tmp_path, model, method, 1)[0]
    first, second = run(tmp_path, model, method, 2)
    assert (first["rank"], second["rank"]) == (0, 1)
    for name in ("losses", "curve", "weights"):
        assert first[name] == second[name]
        assert first[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-4)


def test_one_process_is_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert join_processes("cpu") == Group(0, 1)
    assert Group().first(lambda: 3) == 3


@pytest.mark.parametrize(
    ("set_", "words"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, r"divides weights among 2 processes \(FSDP\)"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
        ({"RANK": "first"}, "are numbers"),
    ],
)
def test_what_a_launcher_may_not_ask_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, set_: dict[str, str], words: str
) -> None:
    for name, value in ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"} | set_).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match=words):
        join_processes("cpu")
