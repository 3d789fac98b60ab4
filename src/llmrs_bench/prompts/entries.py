"""Items and examples as the parts of a wording see them: plain values, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Entry:
    """An item as parts of a wording see it.

    `title` is told apart from the others of its list; `about` are its year and categories in brackets where there
    are any; `rating` is None where it is unknown; `label` stands before a candidate; `note` is what a model
    wrote about it.
    """

    title: str
    about: str = ""
    text: str = ""
    rating: float | None = None
    label: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExampleEntry:
    """What somebody chose, and what they chose next."""

    history: Sequence[Entry]
    next: Entry


# Attributes that are data: a sandbox need not look at them again.
PLAIN = {kind: frozenset(field.name for field in fields(kind)) for kind in (Entry, ExampleEntry)}
