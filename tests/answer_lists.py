"""Lists of films that answers are read against."""

from string import ascii_uppercase

from llmrs_bench.core.types import Listed

SHORT = ("Heat", "The Matrix", "1984", "Toy Story", "Toy Story 2")
FILMS = (
    "Sabrina (1954)",
    "Sabrina (1995)",
    "Misérables, Les (1995)",
    "Scream (1996)",
    "Scream 2 (1997)",
    "2 Days in the Valley (1996)",
    "187 (1997)",
    "1984 (1984)",
    "M (1931)",
    "Eight Days a Week (1997)",
    "Good, the Bad and the Ugly, The (1966)",
    "Star Wars: Episode IV - A New Hope (1977)",
    "Sorry, Wrong Number (1948)",
    "Usual Suspects, The (1995)",
    "12 Monkeys (1995)",
    "Alien (1979)",
    "Blechtrommel, Die (1979)",
    "Die Hard (1988)",
    "Romeo & Juliet (1968)",
    "I Can't Sleep (1994)",
)
PAST = ("Seven (1995)", "Fargo (1996)", "Aliens (1986)")


def numbers(titles: tuple[str, ...], history: tuple[str, ...] = ()) -> Listed:
    return Listed(tuple(str(number) for number in range(1, len(titles) + 1)), titles, history)


def letters(titles: tuple[str, ...]) -> Listed:
    return Listed(tuple(ascii_uppercase[: len(titles)]), titles)


BOOKS = ("Persuasion", "Dracula", "Frankenstein", "1984", "Catch-22", "The Stranger", "Middlemarch", "Ulysses")
READ = ("Emma", "Hamlet")
