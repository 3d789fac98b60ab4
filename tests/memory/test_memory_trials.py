"""What a probe asks: true continuations that are drawn like the others, and controls with another id."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest

from llmrs_bench.core.hashing import hash64
from llmrs_bench.data.raw_lines import GENERIC
from llmrs_bench.memory.ranks import RankedTrial, exact_p, judge
from llmrs_bench.memory.trials import Events, Trial, item_trials, matched_groups, priors

Score = Callable[[str, str], float]


def catalogue(count: int = 400, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "item_id": [f"i{number:04}" for number in range(count)],
            "title": [f"{'Long ' * int(draw.integers(5))}Film {number}" for number in range(count)],
            "popularity": draw.integers(0, 500, count),
        }
    )


def events(users: int = 60, items: int = 300, each: int = 25, seed: int = 0, rated: bool = True) -> pl.DataFrame:
    """Events in which every item tends to be followed by its neighbour, and early items are popular."""
    draw = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        seen: list[int] = []
        while len(seen) < each:
            after = (seen[-1] + 1) % items if seen and draw.random() < 0.4 else int(items * draw.random() ** 2)
            if after not in seen:
                seen.append(after)
        rows += [
            (
                f"u{user:03}",
                f"i{item:04}",
                1000 + 60 * at if rated else 0,
                float(draw.integers(1, 6)) if rated else None,
            )
            for at, item in enumerate(seen)
        ]
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "rating": pl.Float32}
    return pl.DataFrame(rows, schema, orient="row")


def ranked(trials: Sequence[Trial], score: Score, *, control: bool = False) -> list[RankedTrial]:
    return [
        RankedTrial(
            np.array([score(each.control if control else each.prefix, choice) for choice in each.choices]), each.true
        )
        for each in trials
    ]


def by_chance(prefix: str, choice: str) -> float:
    return hash64(f"{prefix}\0{choice}") / 2**64


def test_a_trial_of_titles_has_the_true_one_once_and_others_of_its_group() -> None:
    items = catalogue()
    titles = dict(items.select("item_id", "title").iter_rows())
    trials = item_trials(items, GENERIC, limit=50, seed=3)
    groups = matched_groups(items["popularity"].to_numpy(), items["title"].str.len_chars().to_numpy(), 100)
    group = dict(zip(items["title"], groups.tolist(), strict=True))
    assert len({each.subject for each in trials}) == len(trials) == 50
    for each in trials:
        assert each.choices[each.true] == titles[each.subject]
        assert len(set(each.choices)) == 100
        assert {group[choice] for choice in each.choices} == {group[titles[each.subject]]}
        assert each.prefix == f"item_id,title\n{each.subject},"
        stand_in = each.control.removeprefix("item_id,title\n").removesuffix(",")
        assert titles[stand_in] not in each.choices
    assert {choice for part in priors(trials) for choice in part} == {c for each in trials for c in each.choices}


def test_more_items_contain_fewer_and_another_seed_asks_others() -> None:
    items = catalogue()
    few, many = (item_trials(items, GENERIC, limit=limit, seed=1) for limit in (10, 30))
    assert many[:10] == few
    assert [*priors(many)][: len([*priors(few)])] == [*priors(few)]
    assert item_trials(items, GENERIC, limit=10, seed=2) != few


def test_groups_are_as_large_as_asked_and_alike() -> None:
    draw = np.random.default_rng(0)
    popularity, length = draw.integers(0, 1000, 1730), draw.integers(3, 60, 1730)
    groups = matched_groups(popularity, length, 100)
    assert np.bincount(groups).min() >= 100
    spread = [np.ptp(popularity[groups == number]) for number in np.unique(groups)]
    assert max(spread) < 400
    assert matched_groups(popularity[:30], length[:30], 100).tolist() == [0] * 30


def test_items_without_title_are_not_asked_about() -> None:
    items = catalogue(20).with_columns(title=pl.when(pl.int_range(20) < 15).then("item_id").otherwise("title"))
    trials = item_trials(items, GENERIC, limit=50, seed=0)
    assert len(trials) == 5
    assert all(len(each.choices) == 5 for each in trials)
    assert item_trials(items[:16], GENERIC, limit=50, seed=0) == []


def test_a_trial_of_events_is_a_true_step_of_its_user_among_items_that_are_none() -> None:
    log = events()
    steps = {
        (user, one, two)
        for (user,), rows in log.group_by("user_id")
        for one, two in zip(rows["item_id"], rows["item_id"][1:], strict=False)
    }
    own = {user: set(rows["item_id"]) for (user,), rows in log.group_by("user_id")}
    trials = Events(log, GENERIC, seed=0).event_trials(limit=40)
    assert len(trials) > 20
    for each in trials:
        _, line, begun = each.prefix.split("\n")
        user, before, *_ = line.split(",")
        asked = [choice.split(",")[0] for choice in each.choices]
        assert (user, begun) == (each.subject, f"{each.subject},")
        assert (user, before, asked[each.true]) in steps
        assert not own[user] & {item for at, item in enumerate(asked) if at != each.true}
        assert len(set(asked)) == 20
        assert len({choice.partition(",")[2] for choice in each.choices}) == 1
        assert each.control != each.prefix
        assert each.control.replace(each.control.split("\n")[2], begun) == each.prefix


def test_a_trial_of_ratings_is_of_the_user_and_its_item() -> None:
    log = events()
    lines = {f"{user},{item},": f"{rating:g},{time}" for user, item, time, rating in log.iter_rows()}
    trials = Events(log, GENERIC, seed=0).line_trials(limit=30)
    assert len(trials) == 30
    for each in trials:
        assert lines[each.prefix.split("\n")[1]] == each.choices[each.true]
        assert each.control.split("\n")[1] not in lines


def test_events_that_say_nothing_have_no_trials_of_ratings() -> None:
    bare = Events(events(rated=False), GENERIC, seed=0)
    assert not bare.described
    assert bare.line_trials(limit=5) == []
    assert all(choice.startswith("i") and "," not in choice for choice in bare.event_trials(limit=1)[0].choices)
    assert Events(events(items=60, each=10), GENERIC, seed=0).event_trials(limit=5) == []


def test_a_model_that_knows_the_lines_is_recognised() -> None:
    items, log = catalogue(), events()
    lines = {f"item_id,title\n{item},{title}" for item, title, _ in items.iter_rows()}
    known = {f"{user},{item},{rating:g},{time}" for user, item, time, rating in log.iter_rows()}
    lines |= {f"user_id,item_id,rating,timestamp\n{line}" for line in known}

    def by_heart(prefix: str, choice: str) -> float:
        heading, *_, begun = prefix.split("\n")
        return by_chance(prefix, choice) + 2 * (f"{heading}\n{begun}{choice}" in lines)

    data = Events(log, GENERIC, seed=0)
    for trials in (
        item_trials(items, GENERIC, limit=40, seed=0),
        data.event_trials(limit=20),
        data.line_trials(limit=20),
    ):
        asked, control = ranked(trials, by_heart), ranked(trials, by_heart, control=True)
        [verdict] = judge({(trials[0].probe, "token"): (asked, control)})
        assert verdict.share > 0.95
        assert verdict.significant
        assert verdict.against == ("control" if verdict.probe == "event" else "chance")


Model = Callable[[pl.DataFrame, pl.DataFrame], Score]


def of_seeds(model: Model, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return p-values of a model on many data sets: (probes, seeds) against chance, and those that count."""
    against_chance, tested = [], []
    for seed in range(seeds):
        items, log = catalogue(240, seed), events(40, 240, 20, seed)
        score = model(items, log)
        data = Events(log, GENERIC, seed=seed)
        parts = (
            item_trials(items, GENERIC, limit=24, seed=seed, among=40),
            data.event_trials(limit=16),
            data.line_trials(limit=16),
        )
        arms = [(ranked(part, score), ranked(part, score, control=True)) for part in parts]
        against_chance.append([exact_p(arm) for pair in arms for arm in pair])
        tested.append(
            [judge({(part[0].probe, "token"): pair})[0].tested for part, pair in zip(parts, arms, strict=True)]
        )
    return np.array(against_chance).T, np.array(tested).T


def knows_nothing(items: pl.DataFrame, log: pl.DataFrame) -> Score:
    return by_chance


def prefers(items: pl.DataFrame, log: pl.DataFrame, *, own: bool = False) -> Score:
    """Return a model that likes popular films, short titles, and what others have after what; it reads no item's id.

    Without `own` the events of the user that is asked about are not counted.
    """
    popular: dict[str, int] = {title: count for _, title, count in items.iter_rows()}
    steps = log.select("user_id", one="item_id", two=pl.col("item_id").shift(-1).over("user_id")).drop_nulls()
    follows: dict[tuple[str, str], int] = {
        (one, two): count for one, two, count in steps.group_by("one", "two").len().iter_rows()
    }
    theirs = set(steps.select("one", "two", "user_id").iter_rows())

    def score(prefix: str, choice: str) -> float:
        if choice in popular:
            return popular[choice] - 10 * len(choice) + by_chance(prefix, choice)
        item, (user, before, *_) = choice.split(",", maxsplit=1)[0], prefix.split("\n")[1].split(",")
        return follows.get((before, item), 0) - (not own and (before, item, user) in theirs) + by_chance(prefix, choice)

    return score


def knows_the_world(items: pl.DataFrame, log: pl.DataFrame) -> Score:
    """Return a model that has seen many other users of the same world."""
    return prefers(items, events(200, 240, 20, seed=999), own=True)


@pytest.mark.slow
def test_a_model_that_knows_nothing_is_at_chance_over_seeds() -> None:
    p, tested = of_seeds(knows_nothing, 400)
    assert 0.04 < (p < 0.05).mean() < 0.06  # controls among them
    assert (tested < 0.05).mean() < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("model", [prefers, knows_the_world])
def test_what_a_model_knows_beside_the_data_is_not_taken_for_memory_over_seeds(model: Model) -> None:
    p, tested = of_seeds(model, 300)
    found = p[0::2] if model is prefers else tested
    assert ((found < 0.05).mean(axis=1) < 0.05 + 0.035).all()  # 2.8 standard errors of a share of 300


def test_what_others_do_is_not_taken_for_memory() -> None:
    p, _ = of_seeds(prefers, 8)
    assert ((p[0::2] < 0.05).sum(axis=1) <= 2).all()


def test_what_holds_for_other_users_too_is_not_taken_for_memory() -> None:
    p, tested = of_seeds(knows_the_world, 6)
    assert (p[2:4] < 0.05).sum() >= 3  # true steps are likelier than others, behind any user
    assert ((tested < 0.05).sum(axis=1) <= 1).all()
