"""The data sets known by name: where they come from, what they must hold, and who reads them."""

import re
from dataclasses import dataclass

from llmrs_bench.errors import OptionError
from llmrs_bench.registry import unknown_name

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


def find_dataset(name: str, has_source: bool) -> Dataset:
    """Return the data set called `name`; with a source given, any other name is one of RecBole atomic files.

    Raises:
        OptionError: If the name cannot be a folder name, or is unknown and no source is given.
    """
    if not NAME.fullmatch(name):
        raise OptionError(
            f"{name!r} cannot be the name of a data set",
            hint="Use lower-case letters, digits, '.', '_' and '-', a letter or digit first: it names a folder.",
        )
    if name in DATASETS:
        return DATASETS[name]
    if has_source:
        return Dataset(name=name, sources=("atomic",))
    raise unknown_name(
        "data set", name, list(DATASETS), hint="Any folder of RecBole atomic files works with --source PATH."
    )
