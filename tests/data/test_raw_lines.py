"""Lines as the files of a data set have them."""

import pytest

from llmrs_bench.core.registry import SOURCES
from llmrs_bench.data.raw_lines import GENERIC, RawLines
from llmrs_bench.data.titles import article_last, natural_title


@pytest.mark.parametrize(
    ("natural", "stored"),
    [
        ("The Matrix", "Matrix, The"),
        ("L'Enfer", "Enfer, L'"),
        ("Hate (La Haine)", "Hate (Haine, La)"),
        ("The Postman (Il Postino)", "Postman, The (Postino, Il)"),
        ("An American in Paris", "American in Paris, An"),
        ("Theory of Flight", "Theory of Flight"),
        ("Alien", "Alien"),
        ("Los Angeles", "Los Angeles"),
        ("A", "A"),
        ("Corrina, Corrina", "Corrina, Corrina"),
    ],
)
def test_articles_stand_last_again(natural: str, stored: str) -> None:
    assert article_last(natural) == stored
    assert natural_title(stored) == natural
    assert article_last(stored) == stored


def lines_of(source: str) -> RawLines:
    found = SOURCES.load(source).raw_lines
    assert isinstance(found, RawLines)
    return found


@pytest.mark.parametrize(
    ("source", "item", "event"),
    [
        ("movielens-1m", "1193::Matrix, The", "1::1193::5::978300760"),
        ("movielens-10m", "1193::Matrix, The", "1::1193::5::978300760"),
        ("movielens-100k", "1193|Matrix, The", "1\t1193\t5\t978300760"),
        ("movielens-csv", '1193,"Matrix, The', "1,1193,5.0,978300760"),
        ("lastfm-hetrec", "1193\tThe Matrix", "1\t1193\t5\t978300760"),
        ("book-crossing", '"1193";"The Matrix', '"1";"1193";"5";"978300760'),
        ("atomic", "1193\tThe Matrix", "1\t1193\t5\t978300760"),
    ],
)
def test_lines_are_those_of_the_owner(source: str, item: str, event: str) -> None:
    lines = lines_of(source)
    assert lines.before_title("1193") + lines.title("The Matrix") == item
    rest = lines.after_item(5.0, 978300760)
    assert lines.before_rating("1", "1193") + rest == event
    assert lines.before_item("1") + lines.from_item("1193", rest) == event


def test_what_is_not_known_is_not_written() -> None:
    assert GENERIC.after_item(None, None) == ""
    assert GENERIC.after_item(3.5, None) == "3.5"
    assert GENERIC.after_item(None, 7) == "7"
    assert GENERIC.from_item("i1", "") == "i1"
    assert GENERIC.title('Say "Yes"') == '"Say ""Yes""'


def test_a_line_of_movielens_is_read_back() -> None:
    from llmrs_bench.data.movielens import _film_1m

    lines = lines_of("movielens-1m")
    written = f"{lines.before_title('260')}{lines.title('The Empire Strikes Back')} (1980)::Action"
    title = _film_1m(written, 1)[1]
    assert title == "Empire Strikes Back, The"
