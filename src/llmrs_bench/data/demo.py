"""An invented film catalogue with viewers, made from a constant seed: something to try every command on.

Viewers have tastes, popular films are seen more, the next part of a series tends to follow, and so does
another film of the same genre. Titles carry the genre in their words. A model that sees order and taste
beats popularity here, and one that reads titles can gain from them. It says nothing about real viewers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import EVENTS, Raw

SEED = 20240229
USERS = 1000
EVENTS_LEAST, EVENTS_MOST = 25, 40
SERIES = (3,) * 6 + (2,) * 6 + (1,) * 20  # parts of each title of a genre: 50 films
NUMERALS = ("", " II", " III")
START = 1_577_836_800  # 2020-01-01, UTC seconds
PERIOD = 2 * 365 * 86_400
GAP_LEAST, GAP_MOST = 600, 250_000
TASTE = 0.25  # parameter of the Dirichlet distribution: small is picky
GENRE_RUN = 0.5  # added to the taste for the genre of the last film
FOLLOW_UP = 0.5  # chance that the next part of the last film comes next
STARTED, NOT_STARTED = 6.0, 0.05  # weight of a later part with and without the one before it

# Genre: eight describing words, eight things.
WORDS: dict[str, tuple[str, str]] = {
    "Western": (
        "Dusty Sunbaked Saddleworn Rawhide Tumbleweed Sagebrush Copperhead Longhorn",
        "Gulch Corral Stagecoach Homestead Marshal Prospector Stampede Mesa",
    ),
    "Science Fiction": (
        "Orbital Quantum Ninefold Galactic Cryogenic Synthetic Interstellar Magnetic",
        "Starship Android Nebula Wormhole Colony Antenna Satellite Reactor",
    ),
    "Horror": (
        "Shrieking Hollow Cursed Moonless Rotting Festering Whispering Bloodless",
        "Crypt Cellar Scarecrow Séance Marionette Graveyard Asylum Coffin",
    ),
    "Romance": (
        "Tender Lovelorn Sweet Blushing Faithful Springtime Candlelit Longing",
        "Serenade Bouquet Honeymoon Valentine Courtship Proposal Bridegroom Waltz",
    ),
    "Crime": (
        "Crimson Crooked Silenced Smoky Forged Double-Dealing Midnight Unmarked",
        "Harbor Alibi Informant Ledger Racket Detective Getaway Verdict",
    ),
    "Comedy": (
        "Clumsy Bumbling Giggling Hapless Pickled Wobbly Absurd Ticklish",
        "Plumber Butler Landlord Accordion Pancake Nephew Moustache Trombone",
    ),
    "Fantasy": (
        "Enchanted Runic Elven Emerald Thornbound Silvern Dragonborn Mystic",
        "Wizard Talisman Unicorn Citadel Griffin Spellbook Amulet Sorceress",
    ),
    "War": (
        "Besieged Fortified Valiant Embattled Camouflaged Decorated Shellshocked Steadfast",
        "Battalion Trench Regiment Bunker Sergeant Convoy Armistice Minefield",
    ),
}


@dataclass(frozen=True)
class Films:
    """The catalogue as arrays over films: genre, the film a part follows (-1: none), weight; and its frame."""

    genre: npt.NDArray[np.int64]
    before: npt.NDArray[np.int64]
    popularity: npt.NDArray[np.float64]
    items: pl.DataFrame


class Demo:
    """Makes the data; it reads no files."""

    def accepts(self, files: SourceFiles | None) -> bool:
        """Say whether there are no files."""
        return files is None

    def uses(self, files: SourceFiles | None) -> tuple[str, ...]:
        """Return no names."""
        return ()

    def load(self, files: SourceFiles | None) -> Raw:
        """Make the same 400 films and 1,000 viewers every time.

        Raises:
            OptionError: If files are given.
        """
        if files is not None:
            raise OptionError(f"the demo data set is made, not read from {files.path}", hint="Leave --source out.")
        rng = np.random.Generator(np.random.PCG64(SEED))
        films = _films(rng)
        return Raw(films.items, _events(films, rng), ("films, viewers and ratings are invented",))


def _films(rng: np.random.Generator) -> Films:
    rows: list[tuple[str, str, str, int, list[str]]] = []
    genre: list[int] = []
    before: list[int] = []
    names = list(WORDS)
    for place, name in enumerate(names):
        for title, parts in zip(_titles(name, rng), SERIES, strict=True):
            year = int(rng.integers(1950, 2016))
            also = names[int(rng.integers(len(names)))]
            genres = [name] if also == name or rng.random() < 0.7 else [name, also]
            for part in range(parts):
                before.append(len(rows) - 1 if part else -1)
                genre.append(place)
                text = f"Genres: {', '.join(genres)}. Year: {year}."
                rows.append((f"m{len(rows) + 1:03d}", title + NUMERALS[part], text, year, genres))
                year += int(rng.integers(2, 5))
    popularity = np.divide(1.0, rng.permutation(len(rows)) + 20, dtype=np.float64)
    return Films(np.array(genre), np.array(before), popularity, pl.DataFrame(rows, schema=ITEMS, orient="row"))


def _titles(genre: str, rng: np.random.Generator) -> list[str]:
    """Return one title for each series of a genre, all different."""
    words, things = (text.split() for text in WORDS[genre])
    pairs = rng.permutation(len(words) * len(things))[: len(SERIES)].tolist()
    return [f"The {words[pair // len(things)]} {things[pair % len(things)]}" for pair in pairs]


def _events(films: Films, rng: np.random.Generator) -> pl.DataFrame:
    tastes = rng.dirichlet([TASTE] * len(WORDS), size=USERS).round(6)
    seen = _watch(films, tastes, rng)
    lengths = rng.integers(EVENTS_LEAST, EVENTS_MOST + 1, size=USERS)
    gaps = rng.integers(GAP_LEAST, GAP_MOST, size=seen.shape)
    times = START + rng.integers(PERIOD, size=(USERS, 1)) + np.cumsum(gaps, axis=1)
    liking = np.take_along_axis(tastes, films.genre[seen], axis=1)
    ratings = np.clip(np.rint(2.2 + 2.5 * liking + 4.0 * (rng.random(seen.shape) - 0.5)), 1, 5)
    users, steps = np.nonzero(np.arange(EVENTS_MOST) < lengths[:, None])
    return pl.DataFrame(
        {
            "user_id": [f"u{user + 1:04d}" for user in users.tolist()],
            "item_id": films.items["item_id"].gather(seen[users, steps]),
            "timestamp": times[users, steps],
            "rating": ratings[users, steps].astype(np.float32),
        },
        schema=EVENTS,
    )


def _watch(films: Films, tastes: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the films each viewer sees, in order.  # (users, EVENTS_MOST)."""
    rows = np.arange(USERS)
    fresh = np.ones((USERS, films.genre.size), dtype=bool)
    order = np.zeros((USERS, EVENTS_MOST), dtype=np.int64)
    part, follows = films.before >= 0, _followers(films.before)
    genre_now = np.eye(len(WORDS))[films.genre]  # (films, genres)
    liking = tastes.copy()
    for step in range(EVENTS_MOST):
        weight = liking[:, films.genre] * films.popularity * fresh  # (users, films)
        weight[:, part] *= np.where(fresh[:, films.before[part]], NOT_STARTED, STARTED)
        chosen = _pick(weight, rng)
        if step:
            following = follows[order[:, step - 1]]
            goes_on = (following >= 0) & fresh[rows, following] & (rng.random(USERS) < FOLLOW_UP)
            chosen = np.where(goes_on, following, chosen)
        order[:, step] = chosen
        fresh[rows, chosen] = False
        liking = tastes + GENRE_RUN * genre_now[chosen]
    return order


def _followers(before: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    follows = np.full(before.size, -1)
    follows[before[before >= 0]] = np.flatnonzero(before >= 0)
    return follows


def _pick(weight: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw a column of each row in proportion to its weight; sums run left to right, the same everywhere."""
    ends = np.cumsum(weight, axis=1)
    aim = rng.random(weight.shape[0]) * ends[:, -1]
    return np.asarray((ends <= aim[:, None]).sum(axis=1), dtype=np.int64)
