"""How long do prompts take: rendered, tokenised, with items found and with examples of similar users?

Prepares MovieLens-1M with all 6,040 users and 20 candidates, runs `prompt` for each set of options in a process of its
own, and has the tokenizer of demo-lm read what was rendered. Prints a Markdown table: minimum and maximum of wall
seconds, and the peak memory.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commands import run

OPTIONS = {
    "listwise": [],
    "yes-no": ["--template", "yes-no"],
    "items found by BM25 for the candidates": ["-T", "interest=recent-relevant", "-T", "relevant=10"],
    "an example of a similar user": ["-T", "shots=1", "-T", "shots_from=similar"],
    "three orders": ["--candidate-orders", "3"],
}


def tokenise(folder: Path, tokenizer: str) -> float:
    """Return the seconds in which a tokenizer reads all prompts of an artifact, as an engine does."""
    from transformers import AutoTokenizer

    from llmrs_bench.core.artifacts import open_artifact
    from llmrs_bench.llm.tokenization import PromptReader
    from llmrs_bench.prompts.frames import read_prompts

    reader = PromptReader(AutoTokenizer.from_pretrained(tokenizer), chat=None, encoder_decoder=False)
    artifact = open_artifact(folder, hint="Run prompt.")
    started = time.perf_counter()
    for part in artifact.parts("prompts", 2000):
        for prompt in read_prompts(part):
            reader.read(prompt)
    return time.perf_counter() - started


def main() -> int:
    """Time each set of options and print the table."""
    parser = argparse.ArgumentParser(description="Seconds of the stage prompt on MovieLens-1M.")
    parser.add_argument("archive", type=Path, help="ml-1m.zip")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--command", default="llmrs-bench")
    parser.add_argument("--tokenizer", help="Folder of a model; also times its tokenizer on the listwise prompts.")
    args = parser.parse_args()
    print("| prompts | s, min | max | peak MB |")
    print("| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as home:
        data = ["--dataset", "ml1m", "--home", home]
        prepare = [args.command, "prepare", *data, "--source", str(args.archive), "--users", "all"]
        subprocess.run(prepare, check=True, capture_output=True)
        prompts = next(Path(home).glob("ml1m/*")) / "prompts"
        for name, options in OPTIONS.items():
            found = []
            for _ in range(args.runs):
                subprocess.run(["rm", "-rf", str(prompts)], check=True)
                found.append(run([args.command, "prompt", *data, *options]))
            seconds, memory = [cost.seconds for cost in found], max(cost.memory for cost in found)
            print(f"| {name} | {min(seconds):.1f} | {max(seconds):.1f} | {memory:.0f} |", flush=True)
            if name == "listwise" and args.tokenizer:
                seconds = [tokenise(next(prompts.glob("listwise-*")), args.tokenizer) for _ in range(args.runs)]
                print(f"| listwise, tokenised besides | {min(seconds):.1f} | {max(seconds):.1f} | |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
