import re
from dataclasses import replace
from pathlib import Path

import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import SOURCES
from llmrs_bench.data.datasets import (
    AMAZON,
    DATASETS,
    NO_5CORE,
    Counts,
    Dataset,
    find_dataset,
    known_dataset,
    plain_name,
)

DOMAINS = {"films", "books", "news", "music", "games", "products", "videos", "places"}


def every() -> list[Dataset]:
    made = [known_dataset(plain_name(f"{family}:{name}")) for family, names in AMAZON.items() for name in names]
    return [*DATASETS.values(), *(dataset for dataset in made if dataset is not None)]


def test_every_record_is_whole() -> None:
    found = every()
    assert len(found) == len(DATASETS) + 24 + 29 + 34
    assert len({dataset.name for dataset in found}) == len(found)
    for dataset in found:
        assert find_dataset(dataset.name, has_source=True).name == dataset.name
        assert dataset.domain in DOMAINS
        assert len({file.name for file in dataset.files}) == len(dataset.files)
        if dataset.name != "demo":
            assert dataset.files
            assert dataset.licence
            assert dataset.homepage.startswith("http")
        for file in dataset.files:
            assert file.urls
            assert all(url.rpartition("/")[2] == file.name for url in file.urls)
            assert file.md5 is None or re.fullmatch("[0-9a-f]{32}", file.md5)


def test_every_record_names_formats_that_are_read() -> None:
    assert {name for dataset in every() for name in dataset.sources} <= set(SOURCES.names())


def test_what_nothing_reads_is_said_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "ml1m", replace(DATASETS["ml1m"], sources=("stone-tablets", "atomic")))
    with pytest.raises(OptionError, match="ml1m have the format stone-tablets, which nothing installed here reads"):
        find_dataset("ml1m", has_source=False)
    assert find_dataset("ml1m", has_source=True).sources == ("atomic",)
    assert find_dataset("ml1m", has_source=False, format_name="movielens-1m").sources == ("movielens-1m",)


def test_every_source_is_made_without_arguments_and_has_the_contract() -> None:
    for name in SOURCES.builtin:
        source = SOURCES.load(name)()
        assert source.accepts(None) == (name == "demo")


def test_an_unknown_name_with_a_source_is_one_of_atomic_files_or_tables() -> None:
    dataset = find_dataset("my-shop.v2", has_source=True)
    assert (dataset.name, dataset.sources, dataset.files) == ("my-shop.v2", ("atomic", "table"), ())
    assert dataset.item_word == "item"
    assert dataset.published is None
    assert not dataset.natural_titles


def test_an_unknown_name_without_a_source_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="unknown data set 'ml-1m'") as caught:
        find_dataset("ml-1m", has_source=False)
    assert "Did you mean 'ml1m'?" in caught.value.hint
    assert "--source" in caught.value.hint
    assert "amazon-2023:CATEGORY" in caught.value.hint


@pytest.mark.parametrize("name", ["", "ML1M", "../up", "a/b", ".hidden", "-x", "a b", "a\n"])
def test_names_that_cannot_be_folders_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="cannot be the name of a data set"):
        find_dataset(name, has_source=True)


# ---------------------------------------------------------------- families


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("amazon-2023:Books", "amazon-2023-books"),
        ("amazon-2023:video games", "amazon-2023-video-games"),
        ("amazon-2023:Video_Games:5core", "amazon-2023-video-games-5core"),
        ("amazon-2023:Video_Games:0core", "amazon-2023-video-games"),
        ("amazon-2018:AMAZON_FASHION", "amazon-2018-amazon-fashion"),
        ("amazon-2014:CDs_and_Vinyl", "amazon-2014-cds-and-vinyl"),
        ("amazon-2023-books", "amazon-2023-books"),
        ("ml1m", "ml1m"),
        ("mine", "mine"),
    ],
)
def test_a_category_is_a_data_set_of_its_own(typed: str, name: str) -> None:
    assert plain_name(typed) == name


def test_the_files_of_a_category_are_those_of_its_owner() -> None:
    books = known_dataset("amazon-2023-books")
    assert books is not None
    assert [file.name for file in books.files] == ["Books.csv.gz", "meta_Books.jsonl.gz"]
    assert "/0core/" in books.files[0].urls[0]
    assert books.files[0].md5
    assert books.published
    core = known_dataset("amazon-2023-books-5core")
    assert core is not None
    assert "/5core/" in core.files[0].urls[0]
    assert core.files[0].md5 is None
    assert core.published is None
    assert core.files[1] == books.files[1]
    older = known_dataset("amazon-2018-books")
    assert older is not None
    assert older.published is None
    assert (older.item_word, older.domain, older.sources[0]) == ("book", "books", "amazon-2018")


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        ("amazon-2023:Bokks", "unknown category of amazon-2023 'Bokks'", "Did you mean 'Books'?"),
        ("amazon-2022:Books", "unknown family of data sets 'amazon-2022'", "Did you mean 'amazon-20"),
        ("amazon-2018:Books:5core", "is not an edition of amazon-2018", "--k-core 5"),
        ("amazon-2023:Books:9core", "is not an edition of amazon-2023", "CATEGORY:5core"),
        *((f"amazon-2023:{name}:5core", f"no 5-core of {name}", "--k-core 5") for name in NO_5CORE),
    ],
)
def test_what_is_no_category_says_which_are_near(typed: str, message: str, hint: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        plain_name(typed)
    assert hint in caught.value.hint


# ---------------------------------------------------------------- documentation

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def documented(dataset: Dataset) -> str:
    """Return the row of the table in the documentation, but for its last column."""
    counts = dataset.published or Counts()
    numbers = (counts.users, counts.items or counts.listed_items, counts.interactions)
    checked = [
        *(["checksum"] if dataset.files and all(file.md5 for file in dataset.files) else []),
        *(["sha256 kept"] if any(file.md5 is None for file in dataset.files) else []),
        *(["counts"] if dataset.published else []),
    ]
    cells = [
        f"`{dataset.name}`",
        dataset.domain,
        *("-" if number is None else f"{number:,}" for number in numbers),
        dataset.licence.partition(":")[0] or "-",
        ", ".join(checked) or "-",
    ]
    return f"| {' | '.join(cells)} |"


def test_the_documentation_lists_every_data_set_as_it_is() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    for dataset in DATASETS.values():
        assert [line for line in lines if line.startswith(documented(dataset))], documented(dataset)
    rows = [line.split("`")[1] for line in lines if line.startswith("| `") and line.count(" | ") == 7]
    assert {name.partition(":")[0] for name in rows[1:]} == {*DATASETS, *AMAZON}
    with_checksum = {name.lower().replace("_", "-") for name in re.findall(r"\w+", PAGE.read_text("utf-8"))}
    for dataset in every():
        if dataset.name.startswith("amazon") and dataset.files[0].md5:
            assert dataset.name[len("amazon-2023-") :] in with_checksum
