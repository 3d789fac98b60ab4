"""A small data set of real films for tests with a real language model: 12 users with tastes, 40 films."""

from pathlib import Path

FILMS = (
    ("Metropolis", 1927),
    ("Nosferatu", 1922),
    ("M", 1931),
    ("King Kong", 1933),
    ("Rashomon", 1950),
    ("Seven Samurai", 1954),
    ("Vertigo", 1958),
    ("Psycho", 1960),
    ("La Dolce Vita", 1960),
    ("8½", 1963),
    ("2001: A Space Odyssey", 1968),
    ("Solaris", 1972),
    ("Chinatown", 1974),
    ("Jaws", 1975),
    ("Jaws 2", 1978),
    ("Eraserhead", 1977),
    ("Stalker", 1979),
    ("The Shining", 1980),
    ("Das Boot", 1981),
    ("Blade Runner", 1982),
    ("Brazil", 1985),
    ("Ran", 1985),
    ("Akira", 1988),
    ("Se7en", 1995),
    ("Run Lola Run (Lola rennt)", 1998),
    ("Spirited Away", 2001),
    ("Amélie", 2001),
    ("City of God", 2002),
    ("Oldboy", 2003),
    ("Eternal Sunshine of the Spotless Mind", 2004),
    ("Caché", 2005),
    ("Pan's Labyrinth", 2006),
    ("WALL·E", 2008),
    ("Up", 2009),
    ("A Separation", 2011),
    ("Her", 2013),
    ("Mad Max: Fury Road", 2015),
    ("Arrival", 2016),
    ("Parasite", 2019),
    ("Drive My Car", 2021),
)


def write_films(folder: Path) -> Path:
    """Write atomic files of 12 users with 9 events each into `folder`, and return it."""
    events = [
        f"u{user}\tf{(3 * user + step * (1 + user % 4)) % len(FILMS)}\t{3 + (user + step) % 3}\t{1000 + step}"
        for user in range(12)
        for step in range(9)
    ]
    (folder / "films.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "\n".join(events), "utf-8"
    )
    titles = [f"f{number}\t{title}\t{year}" for number, (title, year) in enumerate(FILMS)]
    (folder / "films.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\n" + "\n".join(titles), "utf-8"
    )
    return folder
