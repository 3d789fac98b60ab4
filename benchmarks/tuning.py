"""What tuning is worth and what it takes: 0, 16, 64 and 256 samples, on clicks and on rankings, on a CPU or a GPU.

python benchmarks/tuning.py --source ml-1m.zip --model smollm2-135m-instruct
python benchmarks/tuning.py --source ml-1m.zip --model smollm2-135m-instruct --device cuda --users all
python benchmarks/tuning.py --source ml-100k.zip --dataset ml100k --task label --model smollm2-135m-instruct

Without a model there is one of random weights: `--shape qwen2-1.5b` makes a Llama of that size, which learns little and
takes as long.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.cli.progress import lines
from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import LanguageModelConfig, PrepareConfig
from llmrs_bench.metrics.clicks import ClickRows
from llmrs_bench.metrics.labelled import value as value_of
from llmrs_bench.stages.infer import infer
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.tune import TuneConfig, tune
from llmrs_bench.stages.workspace import Data, open_data

# Layers, width, heads, heads of keys, width of the middle.
SHAPES = {"tiny": (2, 64, 4, 4, 128), "smollm2-135m": (30, 576, 9, 3, 1536), "qwen2-1.5b": (28, 1536, 12, 2, 8960)}
RESAMPLES = 1000


def random_model(folder: Path, shape: str) -> Path:
    """Write a Llama of random weights with a tokenizer of bytes and a chat template, unless it is there."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    if (folder / "config.json").is_file():
        return folder
    layers, width, heads, keys, middle = SHAPES[shape]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["A user liked these movies, the latest one last:"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = (
        "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
        "{% if not loop.last or message.role != 'assistant' %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        intermediate_size=middle,
        max_position_embeddings=2048,
        eos_token_id=0,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve; NaN where one class is missing."""
    return value_of(ClickRows(np.zeros(len(labels), dtype=np.intp), 1, labels, scores), "auc")


def tested(data: Data, run: Artifact) -> pl.DataFrame:
    """Return user_id, request_id, item_id, label, rank and score of the test requests."""
    requests = data.artifact.table("requests").filter(pl.col("part") == "test").select("request_id", "user_id")
    truth = data.artifact.table("truth").join(requests, on="request_id")
    return truth.join(run.table("rankings"), on=["request_id", "item_id"], how="left").sort("request_id")


def quality(data: Data, rows: pl.DataFrame) -> float:
    """Return the AUC of clicks, or the mean NDCG@10 of rankings of one target."""
    if data.task == "click":
        return auc(rows["score"].fill_null(-1e9).to_numpy(), (rows["label"] > 0).to_numpy())
    return float(np.mean(_gains(rows)))


def _gains(rows: pl.DataFrame) -> NDArray[np.float64]:
    ranks = rows["rank"].fill_null(10**6).to_numpy()
    return np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)


def difference(data: Data, rows: pl.DataFrame, other: pl.DataFrame) -> tuple[float, float, float]:
    """Return the 95 % interval of how much better `rows` are than `other`, and p, by a bootstrap over users."""
    users = rows.with_row_index("at").group_by("user_id", maintain_order=True).agg("at")["at"].to_list()
    places, random = [np.array(some) for some in users], np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        at = np.concatenate([places[user] for user in random.integers(len(places), size=len(places))])
        found.append(quality(data, rows[at]) - quality(data, other[at]))
    low, high = np.nanquantile(found, [0.025, 0.975])
    tails = [(1 + sum(value <= 0 for value in found)), (1 + sum(value >= 0 for value in found))]
    return float(low), float(high), min(1.0, 2 * min(tails) / (1 + RESAMPLES))


def show(samples: int, facts: Mapping[str, Any], row: str) -> None:
    """Print one row of the table."""
    if not samples:
        print(f"| 0 | | | | {row}", flush=True)
        return
    took = f"{facts['seconds']:.0f} | {facts['samples_per_second']:.2f} | {facts['peak_memory_gb']:.1f}"
    print(f"| {samples} | {took} | {row}", flush=True)


def main() -> None:
    """Tune, ask and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--dataset", default="ml1m", help="ml1m, ml100k or demo")
    parser.add_argument("--task", default="like", help="like (CoLLM's split of ml1m), label, listwise or likelihood")
    parser.add_argument("--model", default=None)
    parser.add_argument("--shape", choices=SHAPES, default="tiny", help="of random weights, without --model")
    parser.add_argument("--samples", type=int, nargs="+", default=[0, 16, 64, 256])
    parser.add_argument("--users", default="100", help="test users, or all")
    parser.add_argument("--valid-requests", type=int, default=1000, help="rows of clicks to validate on and to ask")
    parser.add_argument("--n-candidates", type=int, default=20, help="of a ranking")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--method", default="lora", choices=["lora", "full"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, default=Path("benchmark-tuning"))
    parser.add_argument("-O", dest="options", action="append", default=[], help="KEY=VALUE of tune")
    asked = parser.parse_args()
    protocol = "collm" if asked.dataset == "ml1m" else None
    click: dict[str, object] = {"task": "click", "valid_requests": asked.valid_requests}
    click |= {"protocol": protocol} if protocol else {"like_from": 4.0}
    kind = click if asked.task == "like" else {"n_candidates": asked.n_candidates}
    config = PrepareConfig.parse({"dataset": asked.dataset, "users": asked.users, **kind}, owner="prepare")
    done = prepare(asked.home, f"{asked.dataset}@{asked.task}", config, Origin(asked.source), lines)
    data = open_data(asked.home, done.name)
    model = asked.model or str(random_model(asked.home / f"random-{asked.shape}", asked.shape))
    options = dict(option.split("=", 1) for option in asked.options)
    print(f"{data.place.reference}, {asked.task}, {model}, {asked.device}", file=sys.stderr)
    name = "AUC" if data.task == "click" else "NDCG@10"
    print(f"| samples | s | samples/s | GB | {name} | against 0, 95 % | p | s to ask |")
    print("| ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |", flush=True)
    before: pl.DataFrame | None = None
    for samples in asked.samples:
        tuning = TuneConfig(
            model=model, template=asked.task, samples=samples, method=asked.method, device=asked.device,
            seed=asked.seed, options=options,
        )  # fmt: skip
        made = tune(data, tuning, lines)
        assert made is not None, "only further processes of a launcher make nothing"
        run = infer(
            data,
            LanguageModelConfig(model=made.name, template=asked.task, device=asked.device, engine="transformers"),
            lines,
        ).artifact
        rows = tested(data, run)
        value = quality(data, rows)
        row = f"{value:.4f} |  |  | "
        if before is not None:
            low, high, p = difference(data, rows, before)
            row = f"{value:.4f} | {low:+.4f} to {high:+.4f} | {p:.3f} | "
        before = rows if samples == 0 else before
        show(samples, made.artifact.facts, f"{row}{run.facts['scoring_seconds']:.0f} |")


if __name__ == "__main__":
    main()
