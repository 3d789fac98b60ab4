"""The data sets that are built in: where their files are, what they hold, and what their owners state."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import SOURCES, unknown_name

ATOMIC, TABLE = "atomic", "table"  # the formats of data sets without a name of their own
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Counts:
    """Published numbers of a data set: users, items with an interaction, interactions, listed items; None: unknown."""

    users: int | None = None
    items: int | None = None
    interactions: int | None = None
    listed_items: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a data set that can be downloaded.

    Args:
        name: What it is called on this machine.
        urls: Where it is, its owner's address first; the others are asked only if the checksum is known.
        md5: Its published checksum, hexadecimal.
        size: Its bytes.
        optional: Whether the data set can be read without it.
    """

    name: str
    urls: tuple[str, ...]
    md5: str | None = None
    size: int | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set.

    Args:
        name: Also the name of its folder.
        sources: Names of data sources, tried in this order.
        files: What is downloaded; nothing can be where there are none.
        homepage: A page for people, with the licence.
        licence: What the owner allows; the words before a colon stand for it in tables.
        domain: What its items are, in one word.
        item_word: What one item is called in a prompt.
        published: Numbers its owner states, if any.
        titles: Whether the items have titles.
        natural_titles: Whether titles are stored with the article last ("Matrix, The").
        unasked: Whether a command that needs it may prepare it with the defaults.
    """

    name: str
    sources: tuple[str, ...]
    files: tuple[RemoteFile, ...] = ()
    homepage: str = ""
    licence: str = ""
    domain: str = ""
    item_word: str = "item"
    published: Counts | None = None
    titles: bool = True
    natural_titles: bool = False
    unasked: bool = False

    @property
    def archive(self) -> RemoteFile | None:
        """The one file that is the whole data set, if it is."""
        return self.files[0] if len(self.files) == 1 and self.files[0].name.endswith((".zip", ".tar.gz")) else None


_MIRRORED = ("100k", "1m", "10m", "20m")


def _movielens(
    name: str,
    file: str,
    sources: tuple[str, ...],
    published: Counts | None = None,
    *,
    md5: str | None = None,
    size: int | None = None,
    page: str,
    unasked: bool = False,
) -> Dataset:
    urls = [f"https://files.grouplens.org/datasets/movielens/{file}"]
    if page in _MIRRORED:
        urls.append(f"https://huggingface.co/datasets/Recommenders/MovieLens/resolve/main/{file}")
    return Dataset(
        name=name,
        sources=(*sources, ATOMIC),
        files=(RemoteFile(file, tuple(urls), md5, size),),
        homepage=f"https://grouplens.org/datasets/movielens/{page}/",
        licence="research: no redistribution, and no commercial use without permission (GroupLens)",
        domain="films",
        item_word="movie",
        published=published,
        natural_titles=True,
        unasked=unasked,
    )


_MIND = "https://recodatasets.z20.web.core.windows.net/newsrec/"


def _mind(size: str, train: str, dev: str) -> Dataset:
    parts = {f"MIND{size}_train.zip": train, f"MIND{size}_dev.zip": dev}
    return Dataset(
        name=f"mind-{size}",
        sources=("mind", ATOMIC),
        files=tuple(RemoteFile(file, (_MIND + file,), md5) for file, md5 in parts.items()),
        homepage="https://msnews.github.io/",
        licence="non-commercial: research alone (Microsoft)",
        domain="news",
        item_word="news article",
    )


_STEAM = "https://cseweb.ucsd.edu/~wckang/"
_LAB = "https://mcauleylab.ucsd.edu/public_datasets/data/"
_GOODREADS = "https://datarepo.eng.ucsd.edu/mcauley_group/gdrive/goodreads/"

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        _movielens(
            *("ml1m", "ml-1m.zip", ("movielens-1m",), Counts(users=6040, items=3706, interactions=1_000_209)),
            md5="c4d9eecfca2ab87c1945afe126590906",
            size=5_917_549,
            page="1m",
            unasked=True,
        ),
        _movielens(
            *("ml100k", "ml-100k.zip", ("movielens-100k",), Counts(users=943, items=1682, interactions=100_000)),
            md5="0e33842e24a9c977be4e0107933c0723",
            size=4_924_029,
            page="100k",
            unasked=True,
        ),
        Dataset(name="demo", sources=("demo",), domain="films", item_word="movie", unasked=True),
        _movielens(
            *("ml10m", "ml-10m.zip", ("movielens-10m",), Counts(interactions=10_000_054, listed_items=10_681)),
            md5="ce571fd55effeba0271552578f2648bd",
            size=65_566_137,
            page="10m",
        ),
        _movielens(
            *("ml20m", "ml-20m.zip", ("movielens-csv",), Counts(138_493, 26_744, 20_000_263, 27_278)),
            md5="cd245b17a1ae2cc31bb14903e1204af3",
            size=198_702_078,
            page="20m",
        ),
        _movielens(
            *("ml25m", "ml-25m.zip", ("movielens-csv",)),
            Counts(users=162_541, interactions=25_000_095, listed_items=62_423),
            md5="6b51fb2759a8657d3bfcbfc42b592ada",
            size=261_978_986,
            page="25m",
        ),
        _movielens(
            *("ml32m", "ml-32m.zip", ("movielens-csv",)),
            Counts(users=200_948, interactions=32_000_204, listed_items=87_585),
            md5="d472be332d4daa821edc399621853b57",
            size=238_950_008,
            page="32m",
        ),
        # Its owner replaces it now and then: it has no checksum, and is never called verified.
        _movielens("ml-latest-small", "ml-latest-small.zip", ("movielens-csv",), page="latest"),
        _mind("small", "bd6ae77fa15949653f39829e946d327c", "1c9e798fe440c1999547211cd5245e3e"),
        _mind("large", "0bfe5f08404a69b2bd76721e7b7f7d5d", "64b9fc265c16814ba0f470542ef6cd69"),
        Dataset(
            name="lastfm-hetrec",
            sources=("lastfm-hetrec", ATOMIC),
            files=(
                RemoteFile(
                    "hetrec2011-lastfm-2k.zip",
                    ("https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",),
                    "296d61afe4e8632b173fc2dd3be20ce2",
                ),
            ),
            homepage="https://grouplens.org/datasets/hetrec-2011/",
            licence="non-commercial: Last.fm data",
            domain="music",
            item_word="artist",
            published=Counts(users=1892, items=17_632, interactions=92_834),
        ),
        Dataset(
            name="lastfm-1k",
            sources=("lastfm-1k", ATOMIC),
            files=(
                RemoteFile(
                    "lastfm-dataset-1K.tar.gz",
                    (
                        "http://mtg.upf.edu/static/datasets/last.fm/lastfm-dataset-1K.tar.gz",
                        "https://zenodo.org/records/6090214/files/lastfm-dataset-1K.tar.gz",
                    ),
                    "a79a6808f54f73354789a9fb02cb1e41",
                ),
            ),
            homepage="https://zenodo.org/records/6090214",
            licence="non-commercial: Last.fm data",
            domain="music",
            item_word="artist",
            published=Counts(users=992, interactions=19_150_868),
        ),
        Dataset(
            name="steam",
            sources=("steam", ATOMIC),
            files=(
                RemoteFile(
                    "steam_reviews.json.gz",
                    (f"{_LAB}steam/steam_reviews.json.gz", f"{_STEAM}steam_reviews.json.gz"),
                ),
                RemoteFile("steam_games.json.gz", (f"{_STEAM}steam_games.json.gz",)),
            ),
            homepage="https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
            licence="unknown",
            domain="games",
            item_word="game",
        ),
        Dataset(
            name="goodreads",
            sources=("goodreads", ATOMIC),
            files=tuple(
                RemoteFile(f"goodreads_{part}.json.gz", (f"{_GOODREADS}goodreads_{part}.json.gz",))
                for part in ("interactions_dedup", "books")
            ),
            homepage="https://mengtingwan.github.io/data/goodreads",
            licence="unknown",
            domain="books",
            item_word="book",
        ),
        Dataset(
            name="book-crossing",
            sources=("book-crossing", ATOMIC),
            files=(
                RemoteFile("BX-CSV-Dump.zip", ("http://www2.informatik.uni-freiburg.de/~cziegler/BX/BX-CSV-Dump.zip",)),
            ),
            homepage="http://www2.informatik.uni-freiburg.de/~cziegler/BX/",
            licence="unknown",
            domain="books",
            item_word="book",
        ),
        Dataset(
            name="kuairec",
            sources=("kuairec", ATOMIC),
            files=(
                RemoteFile(
                    "KuaiRec.zip",
                    ("https://zenodo.org/records/18164998/files/KuaiRec.zip",),
                    "261550d472c48eff4990fb13c0e5bcf7",
                ),
            ),
            homepage="https://kuairec.com/",
            licence="CC BY-SA 4.0",
            domain="videos",
            item_word="video",
        ),
    )
}

_SHARED = (
    *("Automotive", "Books", "CDs_and_Vinyl", "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry"),
    *("Digital_Music", "Electronics", "Grocery_and_Gourmet_Food", "Home_and_Kitchen", "Kindle_Store", "Movies_and_TV"),
    *("Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Sports_and_Outdoors"),
    *("Tools_and_Home_Improvement", "Toys_and_Games", "Video_Games"),
)
_SINCE_2018 = (
    *("All_Beauty", "Appliances", "Arts_Crafts_and_Sewing", "Gift_Cards", "Industrial_and_Scientific"),
    *("Magazine_Subscriptions", "Software"),
)
# Families of data sets, one for each category that Amazon's reviews are parted into.
AMAZON: dict[str, tuple[str, ...]] = {
    "amazon-2014": (
        *_SHARED,
        *("Amazon_Instant_Video", "Apps_for_Android", "Baby", "Beauty", "Health_and_Personal_Care"),
    ),
    "amazon-2018": (*_SHARED, *_SINCE_2018, "AMAZON_FASHION", "Luxury_Beauty", "Prime_Pantry"),
    "amazon-2023": (
        *(*_SHARED, *_SINCE_2018, "Amazon_Fashion", "Baby_Products", "Beauty_and_Personal_Care", "Handmade_Products"),
        *("Health_and_Household", "Health_and_Personal_Care", "Subscription_Boxes", "Unknown"),
    ),
}
CORES = ("0core", "5core")  # of 2023: all ratings, or the owner's 5-core
NO_5CORE = (
    *("Amazon_Fashion", "Appliances", "Digital_Music", "Handmade_Products", "Health_and_Personal_Care"),
    "Subscription_Boxes",
)
_RATINGS_MD5 = {
    ("amazon-2014", "CDs_and_Vinyl"): "67404932efce35be194f3f1088db3971",
    ("amazon-2023", "Books"): "9d5d693dae385efa9053961675e1f14a",
    ("amazon-2023", "Video_Games"): "60fdc3e812de871c30d65722e9a91a0a",
    ("amazon-2023", "Digital_Music"): "592aaf8554ad1fec842edee82ba4d9e6",
    ("amazon-2023", "Beauty_and_Personal_Care"): "6b9dfce7fca70dd05e1bcf77c1953c40",
    ("amazon-2023", "Toys_and_Games"): "542250672811854e9803d90b1f52cc14",
    ("amazon-2023", "Sports_and_Outdoors"): "75e1dfbb3b3014fab914832b734922e6",
    ("amazon-2023", "Baby_Products"): "644025598b2e4eb6dc69b55a7f23c8ae",
}
_RATINGS_SIZE = {("amazon-2023", "Video_Games"): 115_388_622}
_PUBLISHED_2023 = {
    "Books": Counts(10_297_355, 4_446_065, 29_139_329),
    "Video_Games": Counts(2_766_656, 137_249, 4_555_500),
    "Digital_Music": Counts(100_952, 70_511, 128_763),
    "Beauty_and_Personal_Care": Counts(11_325_787, 1_028_731, 23_591_312),
    "Toys_and_Games": Counts(8_116_226, 890_667, 16_052_440),
    "Sports_and_Outdoors": Counts(10_331_141, 1_587_219, 19_349_403),
    "Baby_Products": Counts(3_386_206, 217_654, 5_953_891),
}
_HOMEPAGES = {
    "amazon-2014": "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
    "amazon-2018": "https://nijianmo.github.io/amazon/",
    "amazon-2023": "https://amazon-reviews-2023.github.io/",
}
_ITEMS = {  # domain and word of the categories that are no mere products
    **dict.fromkeys(("Books", "Kindle_Store"), ("books", "book")),
    **dict.fromkeys(("Movies_and_TV", "Amazon_Instant_Video"), ("films", "movie")),
    **dict.fromkeys(("CDs_and_Vinyl", "Digital_Music"), ("music", "album")),
    "Video_Games": ("games", "video game"),
}


def _amazon_urls(family: str, category: str, core: str) -> tuple[str, str]:
    """Return where the ratings and the metadata of a category are."""
    if family == "amazon-2014":
        folder = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
        return f"{folder}ratings_{category}.csv", f"{folder}meta_{category}.json.gz"
    if family == "amazon-2018":
        folder = f"{_LAB}amazon_v2/"
        return f"{folder}categoryFilesSmall/{category}.csv", f"{folder}metaFiles2/meta_{category}.json.gz"
    folder = f"{_LAB}amazon_2023/"
    return (
        f"{folder}benchmark/{core}/rating_only/{category}.csv.gz",
        f"{folder}raw/meta_categories/meta_{category}.jsonl.gz",
    )


def _amazon(family: str, category: str, core: str = CORES[0]) -> Dataset:
    ratings, titles = _amazon_urls(family, category, core)
    key = (family, category) if core == CORES[0] else None
    domain, word = _ITEMS.get(category, ("products", "product"))
    return Dataset(
        name=_folder(family, category, core),
        sources=(family, ATOMIC),
        files=(
            RemoteFile(
                ratings.rpartition("/")[2],
                (ratings,),
                _RATINGS_MD5.get(key) if key else None,
                _RATINGS_SIZE.get(key) if key else None,
            ),
            RemoteFile(titles.rpartition("/")[2], (titles,)),
        ),
        homepage=_HOMEPAGES[family],
        licence="none stated: for research (its owner, the McAuley Lab, names no licence)",
        domain=domain,
        item_word=word,
        published=_PUBLISHED_2023.get(category) if key and family == "amazon-2023" else None,
    )


def _folder(family: str, category: str, core: str) -> str:
    return "-".join([family, category.lower().replace("_", "-"), *([core] if core != CORES[0] else [])])


def _cores(family: str, category: str) -> tuple[str, ...]:
    return CORES if family == "amazon-2023" and category not in NO_5CORE else CORES[:1]


@cache
def _families() -> dict[str, Dataset]:
    def all_of_them() -> Iterator[Dataset]:
        for family, categories in AMAZON.items():
            for category in categories:
                for core in _cores(family, category):
                    yield _amazon(family, category, core)

    return {dataset.name: dataset for dataset in all_of_them()}


def known_dataset(name: str) -> Dataset | None:
    """Return the built-in data set of this name, also one of a family (`amazon-2023-books`); None: there is none."""
    return DATASETS.get(name) or _families().get(name)


def plain_name(text: str) -> str:
    """Return the name, also that of the folder, of a data set as typed: `amazon-2023-books` for `amazon-2023:Books`.

    A category is found whatever its case, and with blanks or hyphens for underscores. `:5core` behind it means the
    owner's 5-core. Names without a colon stay as they are.

    Raises:
        OptionError: If there is no such family, category or core.
    """
    family, colon, rest = text.partition(":")
    if not colon:
        return text
    if family not in AMAZON:
        raise unknown_name("family of data sets", family, list(AMAZON), hint="Write, for instance, amazon-2023:Books.")
    typed, _, core = rest.partition(":")
    categories = {_folder(family, category, CORES[0]): category for category in AMAZON[family]}
    wanted = _folder(family, typed.strip().replace(" ", "_"), CORES[0])
    if wanted not in categories:
        raise unknown_name(f"category of {family}", typed, list(AMAZON[family]))
    category, core = categories[wanted], core.lower() or CORES[0]
    if core not in CORES or (family != "amazon-2023" and core != CORES[0]):
        raise OptionError(
            f"{text!r} is not an edition of {family}",
            hint="Only amazon-2023 has two: CATEGORY (all ratings) and CATEGORY:5core. For others use --k-core 5.",
        )
    if core not in _cores(family, category):
        raise OptionError(
            f"the owner has made no 5-core of {category}",
            hint=f"It is missing for {', '.join(NO_5CORE)}; use --dataset {family}:{category} --k-core 5.",
        )
    return _folder(family, category, core)


def find_dataset(name: str, *, has_source: bool, format_name: str | None = None) -> Dataset:
    """Return the data set called `name`.

    Any other name than the known ones will do where files are given, or a format: it is then read in that format, as
    RecBole atomic files, or as a table.

    Args:
        name: Also the name of its folder.
        has_source: Whether files are given.
        format_name: A data source, in place of those that are tried for this data set.

    Raises:
        OptionError: If the name cannot be a folder name, the format is unknown, or the name is and neither files nor a
            format are given; or if nothing installed reads the data set.
    """
    if not NAME.fullmatch(name):
        raise OptionError(
            f"{name!r} cannot be the name of a data set",
            hint="Use lower-case letters, digits, '.', '_' and '-', a letter or digit first: it names a folder.",
        )
    known = known_dataset(name)
    if format_name is not None:
        return replace(known or Dataset(name, ()), sources=(SOURCES.check(format_name),))
    if known is not None:
        return _readable(known, has_source=has_source)
    if has_source:
        return Dataset(name=name, sources=(ATOMIC, TABLE))
    raise unknown_name(
        "data set",
        name,
        [*DATASETS, *(f"{family}:CATEGORY" for family in AMAZON)],
        hint="A table of your own (CSV, JSON lines, Parquet) or RecBole's atomic files work with --source PATH.",
    )


def _readable(dataset: Dataset, *, has_source: bool) -> Dataset:
    """Return a known data set with the formats that can be read here: nothing is downloaded that cannot be.

    Raises:
        OptionError: If its own is not among them, and no files are given that may have another.
    """
    missing = [name for name in dataset.sources if name not in SOURCES.names()]
    if not missing:
        return dataset
    if not has_source:
        raise OptionError(
            f"the files of {dataset.name} have the format {missing[0]}, which nothing installed here reads",
            hint="Update llmrs-bench, or give RecBole atomic files with --source FOLDER.",
        )
    return replace(dataset, sources=tuple(name for name in dataset.sources if name not in missing))
