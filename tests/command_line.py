"""The command line on a small data set, for tests."""

import shutil
from pathlib import Path

import polars as pl
from typer.testing import CliRunner, Result

from llmrs_bench.cli.main import app

USERS, ITEMS = 30, 60


def write_small(folder: Path) -> Path:
    """Write atomic files of 30 users, 60 items and 12 events each into `folder`, and return it."""
    events = [
        f"u{user}\ti{(user * 7 + step * (1 + user % 3)) % ITEMS}\t{3 + (user + step) % 3}\t{1000 + step}"
        for user in range(USERS)
        for step in range(12)
    ]
    (folder / "small.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "\n".join(events)
    )
    films = [f"i{number}\tThe Film of {number} Days\t{1950 + number}\tDrama" for number in range(ITEMS)]
    (folder / "small.item").write_text(
        "item_id:token\ttitle:token_seq\tyear:float\tclass:token_seq\n" + "\n".join(films)
    )
    return folder


class Bench:
    """The command line with a home of its own."""

    def __init__(self, home: Path, source: Path) -> None:
        self.home, self.source = home, source

    def run(self, *arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [*arguments, "--home", str(self.home)])
        assert result.exit_code == code, f"{result.output}{result.stderr}{result.exception!r}"
        return result

    def prepare(self, *arguments: str, code: int = 0, dataset: str = "small") -> Result:
        return self.run("prepare", "--dataset", dataset, "--source", str(self.source), *arguments, code=code)

    def prepared(self) -> None:
        """Have what `prepare()` makes: prepared once for the source, and copied since."""
        made = self.source.with_name(f"{self.source.name}-prepared")
        if not made.exists():
            Bench(made, self.source).prepare()
        shutil.copytree(made, self.home, dirs_exist_ok=True)

    def name(self, *arguments: str) -> str:
        return self.run(*arguments).stdout.strip()

    def files(self) -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in self.home.rglob("*") if path.is_file()
        }


def table(bench: Bench, pattern: str) -> pl.DataFrame:
    """Read the one table below the home that fits `pattern`."""
    found = sorted(bench.home.glob(pattern))
    assert len(found) == 1, found
    return pl.read_parquet(found[0])
