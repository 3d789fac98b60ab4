import pytest

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import SOURCES
from llmrs_bench.data.sources import DATASETS, find_dataset


def test_known_names_are_found_and_name_known_sources() -> None:
    for name, dataset in DATASETS.items():
        assert find_dataset(name, has_source=False) is dataset
        assert dataset.name == name
        assert set(dataset.sources) <= set(SOURCES.names())
        assert (dataset.url is None) == (dataset.md5 is None)


def test_every_source_is_made_without_arguments_and_has_the_contract() -> None:
    for name in SOURCES.builtin:
        source = SOURCES.load(name)()
        assert source.accepts(None) == (name == "demo")


def test_an_unknown_name_with_a_source_is_one_of_atomic_files_or_tables() -> None:
    dataset = find_dataset("my-shop.v2", has_source=True)
    assert (dataset.name, dataset.sources, dataset.url) == ("my-shop.v2", ("atomic", "table"), None)
    assert dataset.item_word == "item"
    assert dataset.published is None
    assert not dataset.natural_titles


def test_an_unknown_name_without_a_source_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="unknown data set 'ml-1m'") as caught:
        find_dataset("ml-1m", has_source=False)
    assert "Did you mean 'ml1m'?" in caught.value.hint
    assert "--source" in caught.value.hint


@pytest.mark.parametrize("name", ["", "ML1M", "../up", "a/b", ".hidden", "-x", "a b", "a\n"])
def test_names_that_cannot_be_folders_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="cannot be the name of a data set"):
        find_dataset(name, has_source=True)
