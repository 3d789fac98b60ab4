"""What does `run` add to the time of the engine, and how long does a look before it take?

A recipe with a grid of 12 variants of a prompt on the mock engine, which pauses before each answer as a model would
compute, and a dry run of 6,040 requests with 20 candidates, in a process of its own. Prints Markdown tables.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from commands import run
from llmrs_bench.core.types import no_progress
from llmrs_bench.stages.recipe import study_of
from llmrs_bench.stages.run import boards, run_study
from orchestration import write_source

GRID = {"history": [0, 1, 2, 3, 4, 5], "template_options": {"role": ["none", "recommender"]}}


def grid(users: int, pause: float) -> None:
    """Run 12 variants on data that are prepared, and print the seconds of the engine and of all else."""
    with tempfile.TemporaryDirectory() as folder:
        home, source = Path(folder, "home"), Path(folder, "source")
        write_source(source, users)
        data = {"dataset": "made", "source": str(source), "users": users, "n_candidates": 20}
        first = study_of({"data": data, "rows": [{"model": "mock", "template": "yes-no", "limit": 1}]}, "first")
        run_study(home, first, first.rows, no_progress, lambda text: None)  # prepares, and imports what all rows need
        study = study_of({"data": data, "rows": [{"model": "mock", "options": {"pause": pause}, **GRID}]}, "grid")
        began, cpu = time.perf_counter(), time.process_time()
        made = run_study(home, study, study.rows, no_progress, lambda text: None)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        engine = sum(float(done.facts["seconds"]) for done in made.runs.values())
        began = time.process_time()
        assert len(list(boards(study, made))) == 1
        board = time.process_time() - began
    prompts = len(made.runs) * users
    print(
        "| rows | prompts | answers, s | run, s | CPU of run, s | ms a prompt | of the answers | CPU of the board, s |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    print(
        f"| {len(made.runs)} | {prompts:,} | {engine:.1f} | {wall:.1f} | {cpu:.2f} | {1000 * cpu / prompts:.2f} | "
        f"{100 * cpu / engine:.1f} % | {board:.1f} |",
        flush=True,
    )


def look(command: str) -> None:
    """Time a dry run with one prompt a request, which counts all, and with 380, which looks at a sample."""
    with tempfile.TemporaryDirectory() as folder:
        home, source, recipe = Path(folder, "home"), Path(folder, "source"), Path(folder, "look.toml")
        write_source(source, 6040)
        data = f'[data]\ndataset = "made"\nsource = "{source}"\nusers = "all"\nn_candidates = 20\n'
        run([command, "prepare", "-d", "made", "--source", str(source), "--users", "all", "--home", str(home)])
        print("| dry run of 6,040 requests with 20 candidates | s | MB |\n| --- | ---: | ---: |")
        for template in ("listwise", "pairwise"):
            recipe.write_text(f'{data}[[rows]]\nmodel = "llama-2-7b"\ntemplate = "{template}"\n')
            seconds, memory = run([command, "run", str(recipe), "--dry-run", "--home", str(home)])
            print(f"| {template} | {seconds:.1f} | {memory:.0f} |", flush=True)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="What `run` adds to the time of the engine.")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds of an answer")
    parser.add_argument("--command", default="llmrs-bench")
    args = parser.parse_args()
    grid(args.users, args.pause)
    look(args.command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
