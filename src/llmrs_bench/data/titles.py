"""Titles as people write them: the article in front, the year apart."""

import re

import polars as pl

# Articles that stand last in a title after a comma ("Matrix, The"). MovieLens has all but Los, Las and Den.
ARTICLES = ("The", "A", "An", "La", "Le", "Les", "L'", "El", "Il", "Der", "Das", "Los", "Las", "Det", "Den")
# These are also English words or initials: they count as articles in a foreign title in brackets alone.
BRACKETED = ("Die", "I", "O")
PIECE = re.compile(r"(?P<open>\()?(?P<text>[^()]+)")
ALIAS = r"(?P<alias>\s*(?:a\.k\.a\. )?)"
YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>\d{4})\)\s*", re.DOTALL)


def _moved(articles: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(ALIAS + rf"(?P<name>.*\S),\s+(?P<article>{'|'.join(articles)})(?P<tail>\s*)", re.DOTALL)


OUTSIDE = _moved(ARTICLES)
INSIDE = _moved((*ARTICLES, *BRACKETED))


def natural_title(title: str) -> str:
    """Return the title with a trailing article moved to the front, also inside brackets.

    "Matrix, The" is "The Matrix"; "Hate (Haine, La)" is "Hate (La Haine)"; "Enfer, L'" is "L'Enfer".
    Other endings after a comma ("Corrina, Corrina", "Paris, Texas") stay.
    """
    return PIECE.sub(_turn, title)


def _turn(piece: re.Match[str]) -> str:
    opening = piece["open"] or ""
    found = (INSIDE if opening else OUTSIDE).fullmatch(piece["text"])
    if found is None:
        return piece[0]
    gap = "" if found["article"].endswith("'") else " "
    return f"{opening}{found['alias']}{found['article']}{gap}{found['name']}{found['tail']}"


_LEADING = re.compile(
    r"(?P<article>(?:The|A|An|La|Le|Les|El|Il|Der|Das|Det|Den)(?= )|L'(?=\S)) ?(?P<name>.*\S)(?P<tail>\s*)", re.DOTALL
)


def article_last(title: str) -> str:
    """Return the title with its article behind a comma, also inside brackets: what `natural_title` reads.

    "The Matrix" is "Matrix, The"; "Hate (La Haine)" is "Hate (Haine, La)"; "L'Enfer" is "Enfer, L'". "Los" and "Las"
    stay: names of places begin with them.
    """
    return PIECE.sub(_turn_back, title)


def _turn_back(piece: re.Match[str]) -> str:
    found = _LEADING.fullmatch(piece["text"])
    return piece[0] if found is None else f"{piece['open'] or ''}{found['name']}, {found['article']}{found['tail']}"


def split_year(title: str) -> tuple[str, int | None]:
    """Return the title without a trailing "(1995)", and that year; None where there is none."""
    found = YEAR.fullmatch(title)
    return (found["title"], int(found["year"])) if found else (title, None)


def natural_titles(items: pl.DataFrame) -> pl.DataFrame:
    """Return `items` with every title passed through `natural_title`."""
    return items.with_columns(pl.Series("title", [natural_title(title) for title in items["title"]], dtype=pl.String))


def without_years(items: pl.DataFrame) -> pl.DataFrame:
    """Return `items` with a year at the end of a title, "Heat (1995)", in the column of years, unless that has one."""
    split = [split_year(title) for title in items["title"]]
    return items.with_columns(
        pl.Series("title", [title for title, _ in split], dtype=pl.String),
        pl.coalesce("year", pl.Series("year", [year for _, year in split], dtype=pl.Int32)),
    )
