"""What does `run` add to the time of the engine, and how long does a look before it take?

A recipe with a grid of 12 variants of a prompt on the mock engine, which pauses before each answer as a model would
compute, or on a real one (`--model`), and a dry run of 6,040 requests with 20 candidates, in a process of its own.
Prints Markdown tables. The grid takes more than two minutes; `--rows 4 --no-look` takes 45 s. Wall times say nothing
beside other jobs; the CPU time of `run` has that of the engine in it, of the mock about .2 ms a prompt.

python benchmarks/studies.py
python benchmarks/studies.py --model SMOLLM2 --template likelihood --users 40 --no-look
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from commands import run
from llmrs_bench.core.types import no_progress
from llmrs_bench.llm.base import Engine
from llmrs_bench.stages.recipe import study_of
from llmrs_bench.stages.run import boards, run_study
from llmrs_bench.stages.serving import Served
from orchestration import write_source

ROLES = ["none", "recommender"]


@contextmanager
def timed_engines() -> Iterator[list[float]]:
    """Note what an engine takes beside its answers: to load a model, to check what it computes, and to tokenise."""
    seconds: list[float] = []
    start = Served.start

    def timed(act: Callable[..., Any], *given: Any) -> Any:
        began = time.perf_counter()
        try:
            return act(*given)
        finally:
            seconds.append(time.perf_counter() - began)

    def started(served: Served) -> Engine:
        engine: Any = timed(start, served)
        engine.check, engine.count_tokens = partial(timed, engine.check), partial(timed, engine.count_tokens)
        return cast("Engine", engine)

    with patch.object(Served, "start", started):
        yield seconds


def grid(users: int, rows: int, asked: dict[str, object]) -> None:
    """Run variants on data that are prepared, and print the seconds of the engine and of all else."""
    varied = {"history": list(range(rows // len(ROLES))), "template_options": {"role": ROLES}}
    with tempfile.TemporaryDirectory() as folder:
        home, source = Path(folder, "home"), Path(folder, "source")
        write_source(source, users)
        data = {"dataset": "made", "source": str(source), "users": users, "n_candidates": 20}
        first = study_of({"data": data, "rows": [{**asked, "template": "yes-no", "limit": 1}]}, "first")
        run_study(home, first, first.rows, no_progress, lambda text: None)  # prepares, and imports what all rows need
        study = study_of({"data": data, "rows": [{**asked, **varied}]}, "grid")
        with timed_engines() as loads:
            began, cpu = time.perf_counter(), time.process_time()
            made = run_study(home, study, study.rows, no_progress, lambda text: None)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        engine = sum(float(done.facts["seconds"]) for done in made.runs.values())
        began = time.process_time()
        assert len(list(boards(study, made))) == 1
        board = time.process_time() - began
    prompts = len(made.runs) * users
    added = wall - engine - sum(loads)
    names = ["rows", "prompts", "loading, self-check, tokeniser, s", "answers, s", "run, s", "added, s", "ms a prompt"]
    names += ["of the answers", "CPU, s", "of the board"]
    print(f"| {' | '.join(names)} |\n| {' | '.join(['---:'] * len(names))} |")
    print(
        f"| {len(made.runs)} | {prompts:,} | {sum(loads):.1f} | {engine:.1f} | {wall:.1f} | "
        f"{added:.2f} | {1000 * added / prompts:.2f} | "
        f"{100 * added / engine:.1f} % | {cpu:.2f} | {board:.1f} |",
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
            cost = run([command, "run", str(recipe), "--dry-run", "--home", str(home)])
            print(f"| {template} | {cost.seconds:.1f} | {cost.memory:.0f} |", flush=True)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="What `run` adds to the time of the engine.")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--model", default="mock", help="a folder or GGUF file of a language model")
    parser.add_argument("--template", default="listwise")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds of an answer of the mock engine")
    parser.add_argument("--rows", type=int, default=12, help="an even number")
    parser.add_argument("--look", action=argparse.BooleanOptionalAction, default=True, help="time dry runs, too")
    parser.add_argument("--command", default="llmrs-bench")
    args = parser.parse_args()
    asked: dict[str, object] = {"model": args.model, "template": args.template}
    grid(args.users, args.rows, asked | ({"options": {"pause": args.pause}} if args.model == "mock" else {}))
    if args.look:
        look(args.command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
