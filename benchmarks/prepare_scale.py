"""How long does `prepare` take on large data, and how much memory?

Makes up interactions of the size and shape of known data sets, writes them as RecBole atomic files, and prepares each
in a process of its own. Prints a Markdown table with wall time, CPU time of the process and its largest memory.

    ml10m  about MovieLens-10M: 69,878 users, 10,677 items, 10,000,054 events, short numbers as ids
    books  about the books of Amazon Reviews 2023, all of them (0-core): 10,297,355 users, 4,446,065 items, 29,139,329
           events, ids of 28 and 10 characters, times in milliseconds
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", dtype=np.uint8)


@dataclass(frozen=True)
class Shape:
    """Size of a data set, and how it writes ids and times.

    Args:
        user_letters: Characters of a user id; 0: a number.
        item_letters: The same of items.
        per_second: Units of time in a second.
        skew: Exponents of the popularity of users and of items, by Zipf.
    """

    users: int
    items: int
    events: int
    user_letters: int = 0
    item_letters: int = 0
    per_second: int = 1
    skew: tuple[float, float] = (0.4, 0.5)

    def smaller(self, share: float) -> "Shape":
        """Return a share of it."""
        users, items, events = (max(1, int(size * share)) for size in (self.users, self.items, self.events))
        return replace(self, users=users, items=items, events=events)

    @property
    def sizes(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Users with their skew, and items with theirs."""
        return (self.users, self.skew[0]), (self.items, self.skew[1])


SHAPES = {
    "ml10m": Shape(69_878, 10_677, 10_000_054),
    "books": Shape(10_297_355, 4_446_065, 29_139_329, 28, 10, 1000, (0.6, 0.7)),
}


def names(count: int, letters: int, rng: np.random.Generator) -> pl.Series:
    """Return so many different ids."""
    if not letters:
        return pl.Series(np.arange(1, count + 1)).cast(pl.String)
    drawn = LETTERS[rng.integers(0, len(LETTERS), (count, letters), dtype=np.uint8)]
    drawn[:, :7] = LETTERS[(np.arange(count)[:, None] >> np.arange(0, 35, 5)) & 31]  # no two are alike
    return pl.Series(drawn.view(f"S{letters}").ravel().astype(str))


def pairs(shape: Shape, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return numbers of different pairs of a user and an item, in which every user and every item is; about as many."""
    everyone = np.arange(max(shape.users, shape.items))
    sure = (everyone % shape.users) * shape.items + rng.permutation(len(everyone)) % shape.items
    more = 2 * max(shape.events - len(sure), 0)
    users, items = ((size * rng.random(more) ** (1 / (1 - skew))).astype(np.int64) for size, skew in shape.sizes)
    others = np.setdiff1d(users * shape.items + items, sure)
    drawn = others[rng.random(len(others)) < (shape.events - len(sure)) / max(len(others), 1)]
    return rng.permutation(np.concatenate([sure, drawn]))


def write(shape: Shape, folder: Path) -> None:
    """Write `scale.inter` of a shape, drawn from a seed."""
    rng = np.random.default_rng(0)
    drawn = pairs(shape, rng)
    users, items = drawn // shape.items, drawn % shape.items
    seconds = np.sort(rng.integers(900_000_000, 1_700_000_000, len(drawn)))
    frame = pl.DataFrame(
        {
            "user_id:token": names(shape.users, shape.user_letters, rng).gather(users),
            "item_id:token": names(shape.items, shape.item_letters, rng).gather(items),
            "rating:float": rng.integers(1, 6, len(drawn), dtype=np.uint8),
            "timestamp:float": seconds * shape.per_second,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_csv(folder / "scale.inter", separator="\t", quote_style="never")


def measure(source: Path, home: Path, options: list[str]) -> tuple[float, float, float, float]:
    """Prepare a source in a process of its own; return wall and CPU seconds, peak GB, and GB of the source."""
    code = "import sys; from llmrs_bench.cli.main import main; main()"
    read = ["--source", str(source), "--allow-untitled", "--home", str(home)]
    typed = ["prepare", "--dataset", "scale", *read, *options]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *typed], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"prepare ended with {process.returncode}")
    size = sum(file.stat().st_size for file in source.iterdir())
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6, size / 1e9


def main() -> None:
    """Make the data that are not there, prepare each, and print the table."""
    parser = argparse.ArgumentParser(description="Seconds and memory of `prepare` on large data.")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--folder", type=Path, help="Where the data go, and stay; else they are deleted.")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="Of users, items and events.")
    args, options = parser.parse_known_args()
    print("| data | file, GB | s | CPU s | peak GB |\n| --- | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.shapes:
            source = (args.folder or Path(scratch)) / name
            if not (source / "scale.inter").exists():
                subprocess.run([sys.executable, __file__, "--write", name, str(source), str(args.share)], check=True)
            for _ in range(args.repeat):
                with tempfile.TemporaryDirectory() as home:
                    wall, cpu, peak, size = measure(source, Path(home), options)
                print(f"| {name} | {size:.2f} | {wall:.1f} | {cpu:.1f} | {peak:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(SHAPES[sys.argv[2]].smaller(float(sys.argv[4])), Path(sys.argv[3]))
    else:
        main()
