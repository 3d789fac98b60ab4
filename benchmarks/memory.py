"""What a model knows by heart: lines planted in a real model are recalled, and no others.

    python benchmarks/memory.py MODEL [--items 40] [--users 20] [--epochs 20] [--others] [--device cuda]

MODEL is a folder or a GGUF file. The model is probed on the demo data, which it cannot know. A copy is then tuned, all
weights, on the lines of these questions (and on nothing else), and probed again: on the same items and users and, with
--others, on other ones. Everything lies in a folder that is deleted at the end, unless --home names one.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.types import no_progress
from llmrs_bench.report.memory import probe_lines
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.probe import ProbeConfig, lines_of, probe, trials_of
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.workspace import open_data

_BATCH = 20  # lines


def load(model: Path) -> tuple[AutoTokenizer, AutoModelForCausalLM]:
    """Return the tokenizer and the model in float32."""
    place, found = (model.parent, {"gguf_file": model.name}) if model.is_file() else (model, {})
    return (
        AutoTokenizer.from_pretrained(place, **found),
        AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **found),
    )


def plant(model: Path, lines: list[tuple[str, str]], to: Path, *, epochs: int, device: str) -> None:
    """Tune a model on lines, each given as its beginning and what follows, and write it into a folder."""
    torch.manual_seed(0)
    tokenizer, tuned = load(model)
    tuned.to(device).train()
    ids = [torch.tensor(tokenizer(prefix + rest)["input_ids"]) for prefix, rest in lines]
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=1e-4, weight_decay=0.0)
    for epoch in range(epochs):
        order, losses = torch.randperm(len(ids)).tolist(), []
        for start in range(0, len(ids), _BATCH):
            batch = [ids[place] for place in order[start : start + _BATCH]]
            inputs = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
            labels = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=-100)
            loss = tuned(input_ids=inputs.to(device), labels=labels.to(device)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(tuned.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}", flush=True)
    tuned.config.dtype = torch.float32
    tuned.config.quantization_config = None
    tuned.save_pretrained(to)
    tokenizer.save_pretrained(to)


def main() -> None:
    """Probe, plant, probe again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        home = given.home or Path(folder)
        prepare(home, "demo", PrepareConfig(dataset="demo"), Origin(), no_progress)
        data = open_data(home, "demo")
        config = ProbeConfig(model=str(given.model), items=given.items, users=given.users, device=given.device)
        trials, _ = trials_of(data, config, lines_of(data, "auto"))
        tuned = home / "planted"
        if not tuned.is_dir():
            started = time.perf_counter()
            plant(
                given.model,
                [(t.prefix, t.choices[t.true]) for t in trials],
                tuned,
                epochs=given.epochs,
                device=given.device,
            )
            print(f"planted {len(trials)} lines in {time.perf_counter() - started:.0f} s\n", flush=True)
        kinds: dict[str, dict[str, Any]] = {"tuned, planted lines": {"model": str(tuned)}, "untuned": {}}
        if given.others:
            kinds["tuned, other lines"] = {"model": str(tuned), "seed": 1}
        for name, changes in kinds.items():
            print(f"## {name}\n", flush=True)
            done = probe(data, config.model_copy(update=changes), no_progress)
            print("\n".join(probe_lines(done.artifact.facts)), "\n", flush=True)


if __name__ == "__main__":
    main()
