"""A small invented newspaper in the layout of MIND, for tests."""

from collections.abc import Sequence
from pathlib import Path

Line = tuple[str, str, str, str]  # reader, time, history, what was shown


def write_part(folder: Path, lines: Sequence[Line], *, articles: int = 12) -> Path:
    """Write `behaviors.tsv` and `news.tsv` into `folder`, and return it; times are of November 2019."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{number}\t{user}\t11/{time}\t{history}\t{shown}"
        for number, (user, time, history, shown) in enumerate(lines, 1)
    ]
    (folder / "behaviors.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    news = [
        f'N{number}\tsports\tgolf\t"Round {number}" & other rounds\tWho won round {number}.\thttps://x\t[]\t[]'
        for number in range(articles)
    ]
    (folder / "news.tsv").write_text("\n".join(news) + "\n", "utf-8")
    return folder


TRAIN: tuple[Line, ...] = (
    ("ann", "13/2019 9:00:00 AM", "N0 N1", "N2-1 N3-0"),
    ("bob", "13/2019 12:30:00 PM", "N1", "N2-0 N4-1 N5-1"),
    ("cat", "14/2019 8:00:00 AM", "", "N6-1 N7-0"),
)
DEV: tuple[Line, ...] = (
    ("ann", "15/2019 8:55:22 AM", "N0 N1", "N4-1 N5-0 N0-0 N6-1"),
    ("bob", "15/2019 9:00:00 AM", "N1", "N7-0 N8-1"),
    ("bob", "15/2019 10:00:00 PM", "N1", "N9-0 N10-0"),
    ("cat", "15/2019 10:30:00 PM", "", "N1-1 N2-1"),
    ("dan", "15/2019 11:00:00 PM", "N3 N4", "N5-1 N6-0 N5-0 N11-0"),
    ("eve", "15/2019 11:30:00 PM", "", "N5-1 N6-0"),
)


def write_paper(folder: Path, readers: int = 12) -> Path:
    """Write both parts of a paper with so many readers: each was shown six articles each day, and clicked two."""
    for part, day in (("train", 13), ("dev", 15)):
        lines = []
        for reader in range(readers):
            shown = [(reader * 5 + step * (1 + reader % 3) * 7 + day) % 40 for step in range(6)]
            marked = " ".join(f"N{article}-{int(step in (1, 4))}" for step, article in enumerate(shown))
            history = " ".join(f"N{(reader * 3 + step) % 40}" for step in range(3))
            lines.append((f"r{reader}", f"{day}/2019 {1 + reader % 12}:00:00 PM", history, marked))
        write_part(folder / f"made_{part}", lines, articles=40)
    return folder


def write_news(folder: Path) -> Path:
    """Write both parts in folders side by side."""
    write_part(folder / "made_train", TRAIN, articles=10)
    write_part(folder / "made_dev", DEV)
    return folder
