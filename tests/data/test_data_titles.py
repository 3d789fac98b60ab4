import polars as pl
import pytest

from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.sources import EVENTS, Raw, complete_items
from llmrs_bench.data.titles import natural_title, natural_titles, split_year


@pytest.mark.parametrize(
    ("stored", "natural"),
    [
        ("Matrix, The", "The Matrix"),
        ("Bug's Life, A", "A Bug's Life"),
        ("Misérables, Les", "Les Misérables"),
        ("Enfer, L'", "L'Enfer"),
        ("Hate (Haine, La)", "Hate (La Haine)"),
        ("Star Maker, The (Uomo delle stelle, L')", "The Star Maker (L'Uomo delle stelle)"),
        ("Tin Drum, The (Blechtrommel, Die)", "The Tin Drum (Die Blechtrommel)"),
        ("Convent, The (Convento, O)", "The Convent (O Convento)"),
        ("Postino, Il (The Postman)", "Il Postino (The Postman)"),
        ("Good, The Bad and The Ugly, The", "The Good, The Bad and The Ugly"),
        ("Karate Kid, Part II, The", "The Karate Kid, Part II"),
        ("Road (a.k.a. Lane, The)", "Road (a.k.a. The Lane)"),
    ],
)
def test_a_trailing_article_moves_to_the_front(stored: str, natural: str) -> None:
    assert natural_title(stored) == natural


@pytest.mark.parametrize(
    "title",
    [
        "The Matrix",
        "Corrina, Corrina",
        "Paris, Texas",
        "Girl, Interrupted",
        "Me, Myself, I",
        "Truth or Consequences, N.M.",
        "Love, etc.",
        "Live, Die",
        "Ciao, Professore! (Io speriamo che me la cavo )",
        "Seven Samurai (The Magnificent Seven) (Shichinin no samurai)",
        ", The",
        "",
        "((",
    ],
)
def test_other_titles_stay(title: str) -> None:
    assert natural_title(title) == title


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("Toy Story (1995)", ("Toy Story", 1995)),
        ("Associate, The (L'Associe)(1982)", ("Associate, The (L'Associe)", 1982)),
        ("2001: A Space Odyssey (1968) ", ("2001: A Space Odyssey", 1968)),
        ("1984", ("1984", None)),
        ("(1995)", ("(1995)", None)),
        ("unknown", ("unknown", None)),
    ],
)
def test_the_year_is_split_off(stored: str, expected: tuple[str, int | None]) -> None:
    assert split_year(stored) == expected


def test_a_frame_changes_in_its_titles_alone() -> None:
    items = pl.DataFrame({"item_id": ["1", "2"], "title": ["Fan, The", "Heat"], "text": ["Fan, The", ""]})
    assert natural_titles(items).rows() == [("1", "The Fan", "Fan, The"), ("2", "Heat", "")]


def test_titles_that_cannot_be_seen_are_ids() -> None:
    unseen = ["\u200b", "\u2060\ufeff \u200d", "\u3164\u3164", "\u2800", "\ufe0f", "\u00ad", "", None]
    titles = ["Heat", "!", "\u05e9\u05dc\u05d5\u05dd", "\U0001f600", *unseen]
    rows: list[dict[str, object]] = [
        {"item_id": f"i{place}", "title": title, "text": "", "year": None, "categories": []}
        for place, title in enumerate(titles)
    ]
    made = complete_items(Raw(pl.DataFrame(rows, schema=ITEMS), pl.DataFrame(schema=EVENTS), ()))
    assert made.items["title"].to_list() == [*titles[:4], *(f"i{place}" for place in range(4, len(titles)))]
    assert made.facts["items_without_title"] == len(unseen)
