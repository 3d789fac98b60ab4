"""How many requests a second can everything around a model handle, and how much memory does that take?

Prepares data sets of made-up events with 10,000, 100,000 and 200,000 requests, renders their prompts, and lets the mock
engine answer them: what remains is the work of reading prompts, keeping answers, parsing and ranking. Then it evaluates
and compares the runs. Each command runs in a process of its own. Prints a Markdown table: wall and CPU seconds,
requests a second, peak memory, and the load before. With `--starts` it times instead how long each command takes to
show its help, and to find that there is nothing to do, or that it cannot: a data set is missing, or all is done.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from commands import run

ITEMS, EVENTS = 2000, 6


def write_source(folder: Path, users: int) -> None:
    """Write atomic files of `users` users with six events each, over 2,000 items."""
    folder.mkdir(parents=True)
    with (folder / "made.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user in range(users):
            file.writelines(f"u{user}\ti{(user * 31 + step * 17) % ITEMS}\t{step}\n" for step in range(EVENTS))
    with (folder / "made.item").open("w") as file:
        file.write("item_id:token\ttitle:token_seq\n")
        file.writelines(f"i{number}\tThe Film of {number} Days\n" for number in range(ITEMS))


def starts(data: list[str]) -> dict[str, list[str]]:
    """Return a call of each command that has nothing to compute, or cannot."""
    absent, listwise = ["--dataset", "absent"], ["--template", "listwise"]
    return {
        "prepare": [*data, "--users", "all"],
        "prompt": [*data, *listwise],
        "infer": [*data, *listwise, "--model", "mock"],
        "tune": [*absent, "--template", "label", "--model", "smollm2-135m-instruct"],
        "fuse": [*absent, "--run", "one", "--run", "other"],
        "import": ["absent.trec", *absent, "--name", "theirs"],
        "evaluate": data,
        "compare": data,
        "probe": [*absent, "--model", "smollm2-135m-instruct"],
        "fairness": [*absent, "--neutral", "plain", "--run", "one", "--run", "other"],
        "judge": [*absent, "--model", "smollm2-135m-instruct", "--run", "explained"],
        "export": [*absent, "--format", "trec", "--to", "exported"],
        "run": ["absent.toml"],
        "recipe": ["absent.parquet"],
        "list": ["runs", *data],
        "show": ["popularity", *data],
        "rm": ["absent", *data],
        "du": [],
    }


def time_starts(command: str, data: list[str], home: list[str], runs: int) -> None:
    """Print the least and the most seconds of `--help` and of a call that has nothing to do, for each command."""
    print("| command | `--help`, s | CPU s | short call, s | CPU s | MB |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, options in starts(data).items():
        calls = ([command, name, "--help"], [command, name, *options, *home])
        costs = [[run(call, fails=True) for _ in range(runs)] for call in calls]
        cells = [
            f"{min(cost[part] for cost in found):.2f} to {max(cost[part] for cost in found):.2f}"
            for found in costs
            for part in (0, 2)
        ]
        print(f"| `{name}` | {' | '.join(cells)} | {max(cost.memory for cost in costs[1]):.0f} |", flush=True)


def main() -> int:
    """Time all sizes and print the table."""
    parser = argparse.ArgumentParser(description="Requests a second of the whole path with a model that costs nothing.")
    parser.add_argument("--requests", type=int, nargs="+", default=[10_000, 100_000, 200_000])
    parser.add_argument("--templates", nargs="+", default=["listwise", "likelihood", "label"])
    parser.add_argument("--no-boards", action="store_true", help="Do not evaluate and compare.")
    parser.add_argument("--starts", type=int, default=0, metavar="RUNS", help="Time starts of commands instead.")
    parser.add_argument("--command", default="llmrs-bench")
    args = parser.parse_args()
    if not args.starts:
        print("| command | requests | s | CPU s | requests/s | MB | load before |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        home = ["--home", folder]
        for requests in args.requests:
            name, source = f"made{requests}", Path(folder, "source", str(requests))
            write_source(source, requests)
            data = ["--dataset", name]
            prepare = [args.command, "prepare", *data, *home, "--users", "all", "--source", str(source)]
            subprocess.run(prepare, check=True, capture_output=True)
            commands = [
                [command, "--template", template, *(("--model", "mock") if command == "infer" else ())]
                for template in args.templates
                for command in ("prompt", "infer")
            ]
            if not args.no_boards:
                commands += [["infer", "--model", "popularity"], ["evaluate"], ["compare"]]
            for command in commands:
                load = os.getloadavg()[0]
                cost = run([args.command, *command, *data, *home])
                words = " ".join(part for part in command if not part.startswith("--"))
                cells = [f"`{words}`", f"{requests:,}", f"{cost.seconds:.1f}", f"{cost.cpu:.1f}"]
                cells += [f"{requests / cost.seconds:,.0f}", f"{cost.memory:.0f}", f"{load:.1f}"]
                if not args.starts:
                    print(f"| {' | '.join(cells)} |", flush=True)
            if args.starts:
                time_starts(args.command, data, home, args.starts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
