"""How many requests a second can everything around a model handle, and how much memory does that take?

Prepares data sets of made-up events with 10,000 and 200,000 requests, renders their prompts, and lets the mock engine
answer them: what remains is the work of reading prompts, keeping answers, parsing and ranking. Each command runs in a
process of its own. Prints a Markdown table: seconds and requests a second of `prompt` and `infer`, and peak memory.
"""

import argparse
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


def main() -> int:
    """Time both sizes and print the table."""
    parser = argparse.ArgumentParser(description="Requests a second of the whole path with a model that costs nothing.")
    parser.add_argument("--requests", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--templates", nargs="+", default=["listwise", "likelihood", "label"])
    parser.add_argument("--command", default="llmrs-bench")
    args = parser.parse_args()
    print("| template | requests | prompt, s | requests/s | MB | infer, s | requests/s | MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as home:
        for requests in args.requests:
            name, source = f"made{requests}", Path(home, "source", str(requests))
            write_source(source, requests)
            data = ["--dataset", name, "--home", home]
            prepare = [args.command, "prepare", *data, "--users", "all", "--source", str(source)]
            subprocess.run(prepare, check=True, capture_output=True)
            for template in args.templates:
                cells = [template, f"{requests:,}"]
                for command in ("prompt", "infer"):
                    model = ["--model", "mock"] if command == "infer" else []
                    seconds, memory = run([args.command, command, *data, "--template", template, *model])
                    cells += [f"{seconds:.1f}", f"{requests / seconds:,.0f}", f"{memory:.0f}"]
                print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
