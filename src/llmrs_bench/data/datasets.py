"""The data sets that are built in: where their files are, what they hold, and what their owners state."""

import re
from dataclasses import dataclass, replace

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import SOURCES, unknown_name

ATOMIC = "atomic"  # the format of data sets without a name of their own
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Counts:
    """Published numbers of a data set: users, items with an interaction, interactions."""

    users: int
    items: int
    interactions: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set.

    Args:
        name: Also the name of its folder.
        sources: Names of data sources, tried in this order.
        url: Where the archive is, or None where nothing can be downloaded.
        md5: Checksum of the archive behind `url`.
        homepage: A page for people, with the licence.
        item_word: What one item is called in a prompt.
        published: Numbers its owner states, if any.
        natural_titles: Whether titles are stored with the article last ("Matrix, The").
    """

    name: str
    sources: tuple[str, ...]
    url: str | None = None
    md5: str | None = None
    homepage: str = ""
    item_word: str = "item"
    published: Counts | None = None
    natural_titles: bool = False


DATASETS: dict[str, Dataset] = {
    "ml1m": Dataset(
        name="ml1m",
        sources=("movielens-1m", "atomic"),
        url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        md5="c4d9eecfca2ab87c1945afe126590906",
        homepage="https://grouplens.org/datasets/movielens/1m/",
        item_word="movie",
        published=Counts(users=6040, items=3706, interactions=1_000_209),
        natural_titles=True,
    ),
    "ml100k": Dataset(
        name="ml100k",
        sources=("movielens-100k", "atomic"),
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        md5="0e33842e24a9c977be4e0107933c0723",
        homepage="https://grouplens.org/datasets/movielens/100k/",
        item_word="movie",
        published=Counts(users=943, items=1682, interactions=100_000),
        natural_titles=True,
    ),
    "demo": Dataset(name="demo", sources=("demo",), item_word="movie"),
}


def find_dataset(name: str, *, has_source: bool, format_name: str | None = None) -> Dataset:
    """Return the data set called `name`.

    Any other name than the known ones will do where files are given, or a format: it is then read in that format, or as
    RecBole atomic files.

    Args:
        name: Also the name of its folder.
        has_source: Whether files are given.
        format_name: A data source, in place of those that are tried for this data set.

    Raises:
        OptionError: If the name cannot be a folder name, the format is unknown, or the name is and neither files nor a
            format are given.
    """
    if not NAME.fullmatch(name):
        raise OptionError(
            f"{name!r} cannot be the name of a data set",
            hint="Use lower-case letters, digits, '.', '_' and '-', a letter or digit first: it names a folder.",
        )
    if format_name is not None:
        return replace(DATASETS.get(name, Dataset(name, ())), sources=(SOURCES.check(format_name),))
    if name in DATASETS:
        return DATASETS[name]
    if has_source:
        return Dataset(name=name, sources=(ATOMIC,))
    raise unknown_name(
        "data set",
        name,
        list(DATASETS),
        hint="Any folder of RecBole atomic files works with --source PATH, other layouts with --format NAME, too.",
    )
