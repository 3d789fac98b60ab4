"""A ranking that was made elsewhere, as a run: read, matched with the requests, and ordered by the tie rule of all."""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import polars as pl
from pydantic import field_validator

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import DEPTH, Options
from llmrs_bench.core.environment import expanded
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.data.files import require_file
from llmrs_bench.exchange.reading import LAYOUT, Field, Matched, match, read_rankings
from llmrs_bench.stages.ties import ranked, tie_parts
from llmrs_bench.stages.workspace import Data

FILE = "file:"
# Bumped when the same file gives other rankings: older runs are then recomputed.
FORMAT = "1"
KIND = "import"
# Rows of the board that mean something by their name.
_RESERVED = ("chance", "oracle", "popularity", "random")


class FileOptions(Options):
    """Options of `import`.

    Args:
        name: What the run is called; None: as the file, without its suffix.
    """

    name: str | None = None

    @field_validator("name")
    @classmethod
    def is_a_plain_name(cls, name: str | None) -> str | None:
        """Refuse what is no name of a folder and of a row."""
        if name is None or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            return name
        raise ValueError(f"a run cannot be called {name!r}: use letters, digits and, after the first character, . _ -")


def import_run(data: Data, path: Path, typed: Mapping[str, str]) -> StageResult:
    """Make the run of a ranking that was made elsewhere; its content decides the fingerprint, not its path.

    Requests that the file does not name are unanswered, and counted. Of a whole catalogue no more than what the file
    lists is ranked.

    Raises:
        DataError: If the file cannot be read, or does not fit the requests.
        OptionError: If an option is unknown, or the name is taken by a model of this tool.
    """
    options = FileOptions.parse(typed, owner="import")
    path = expanded(path)
    require_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=f"Check the path. {LAYOUT}") from error
    recipe = Recipe(
        "infer",
        _name(options, path),
        {"model": FILE},
        {"file": sha256(content).hexdigest(), **{name: data.artifact.digest(name) for name in ("requests", "items")}},
        {"format": FORMAT, **tie_parts(data)},
    )

    def fill(draft: Draft) -> None:
        requests = data.artifact.table("requests")
        matched = match(read_rankings(content, name=path.name), _field(data, requests))
        rankings = ranked(data, matched.scores, requests)
        draft.write("rankings", rankings)
        draft.facts.update(
            kind=KIND,
            requests=requests.height,
            seconds=None,
            seed=None,
            typed={"file": path.name},
            file=str(path.resolve()),
            rows=matched.scores.height,
            requests_silent=matched.unanswered,
            users_not_tested=matched.untested,
            warnings=_warnings(data, path.name, requests, matched),
        )

    return get_or_create(recipe.place(data.place.runs), recipe, fill)


def _name(options: FileOptions, path: Path) -> str:
    """Return the run's name: as typed, or from that of the file."""
    plain = re.sub(r"\.(gz|parquet|pq|csv|tsv|trec|run|txt)$", "", re.sub(r"\.gz$", "", path.name))
    name = options.name or re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.") or "file"
    if name in _RESERVED:
        raise OptionError(
            f"an imported ranking cannot be called {name!r}: the leaderboard has a row of that name",
            hint="Give it another name: -O name=NAME.",
        )
    return name


def _field(data: Data, requests: pl.DataFrame) -> Field:
    items, users = data.artifact.table("items")["item_id"], data.artifact.table("interactions")["user_id"]
    return Field(requests, items, users, data.include_seen)


def _warnings(data: Data, name: str, requests: pl.DataFrame, matched: Matched) -> list[str]:
    total, said = requests.height, []
    if matched.unanswered:
        said.append(f"{name} has no ranking for {matched.unanswered:,} of {total:,} requests: they count as unanswered")
    if matched.untested:
        said.append(f"rankings for {matched.untested:,} users who are not among the {total:,} test users are left out")
    if data.whole_catalogue:
        what = f"fewer than the {DEPTH} items that are kept: a target that is not listed counts as missed"
        seen = pl.col("history").list.n_unique() if not data.include_seen else 0
        size = pl.min_horizontal(DEPTH, data.artifact.manifest.tables["items"].rows - seen)
    else:
        what = "not all candidates: the others come last, in the order of the tie rule"
        size = pl.col("candidates").list.len()
    given = matched.scores.group_by("request_id").len("given")
    short = (
        requests.select("request_id", size=size).join(given, on="request_id").filter(pl.col("given") < pl.col("size"))
    )
    if short.height:
        said.append(f"in {short.height:,} of {total:,} requests, {name} ranks {what}")
    return said
