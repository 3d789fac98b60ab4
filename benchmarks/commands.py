"""How long do whole commands take, and how much memory?

Times `llmrs-bench --help`, and `prepare` of MovieLens-1M into an empty home, for 1,000 users and for all; the first run
of each is not counted. Prints a Markdown table: minimum, median and maximum of wall seconds, and the peak memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple


class Cost(NamedTuple):
    """What one process took: wall seconds, peak resident memory in MB, and CPU seconds."""

    seconds: float
    memory: float
    cpu: float


def run(command: list[str], *, fails: bool = False) -> Cost:
    """Return what a process takes; it may fail only where that is said."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not fails:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(seconds, usage.ru_maxrss / 1000, usage.ru_utime + usage.ru_stime)


def main() -> int:
    """Time each command and print the table."""
    parser = argparse.ArgumentParser(description="Wall time and memory of whole commands.")
    parser.add_argument("archive", type=Path, help="ml-1m.zip")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--command", default="llmrs-bench")
    args = parser.parse_args()
    prepare = [args.command, "prepare", "--dataset", "ml1m", "--source", str(args.archive)]
    commands = {
        "--help": [args.command, "--help"],
        "prepare": prepare,
        "prepare --users all": [*prepare, "--users", "all"],
    }
    print("| command | s, min | median | max | peak MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, command in commands.items():
        found = []
        for _ in range(args.runs + 1):
            with tempfile.TemporaryDirectory() as home:
                found.append(run([*command, "--home", home] if "prepare" in command else command))
        seconds = [cost.seconds for cost in found[1:]]
        memory = max(cost.memory for cost in found)
        print(f"| `{name}` | {min(seconds):.2f} | {median(seconds):.2f} | {max(seconds):.2f} | {memory:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
