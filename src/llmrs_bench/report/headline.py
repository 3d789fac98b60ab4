"""The headline of a board in sentences, each of which holds to the numbers of its rows."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from llmrs_bench.core.formatting import number
from llmrs_bench.leaderboard.board import ALPHA, Board, Row
from llmrs_bench.leaderboard.family import PairTest, difference_from
from llmrs_bench.leaderboard.headline import Headline
from llmrs_bench.report.labels import brief_labels
from llmrs_bench.report.table import answer_words, family_over, p_value, spread_words, without_zeros

_FEW_USERS = 100
_DOUBTFUL = 0.5  # of the probability of an answer, on its labels
_EVEN = 0.5  # the AUC of scores that say nothing
_BRIEF = 0.05  # seconds of training that are not worth a word
_TRAINED = ("recommender", "click model", "import")


def headline(board: Board) -> list[str]:
    """Say which language model is best, how it stands to the best of everything else, how sure, and at which cost.

    The sentences are of the metric that orders the board. Nothing is said of a board without a metric that orders rows.
    """
    return [] if board.headline is None else list(_sentences(board, board.headline))


def is_verdict(line: str) -> bool:
    """Return whether a sentence of a headline is the one that says whether two rows differ."""
    return re.search(" is (better|worse) than | cannot be told apart on ", line) is not None


def _sentences(board: Board, found: Headline) -> Iterator[str]:
    brief = brief_labels(board.rows)
    rows = {row.run: row for row in board.rows}
    ours, other, fusion = (rows.get(run or "") for run in (found.language_model, found.other, found.fusion))
    if ours is None:
        yield "No language model is on this board yet."
    else:
        yield f"Best language model: {brief[ours.run]}, {board.key} {_mean(ours, board)}."
    if other is not None:
        trained = [row for row in board.rows if row.kind in _TRAINED and board.key in row.cells]
        kind = "Best recommender" if other.kind != "baseline" else "Best of the other rows, a baseline"
        missed = found.recommenders and not trained
        kind += " (no trained recommender is on this board yet)" if missed else ""
        yield f"{kind}: {brief[other.run]}, {board.key + ' ' if ours is None else ''}{_mean(other, board)}."
        if trained and other.kind == "baseline":
            yield f"Best trained recommender, below it: {brief[trained[0].run]}, {_mean(trained[0], board)}."
    if fusion is not None:
        yield f"Best fusion: {brief[fusion.run]}, {_mean(fusion, board)}."
    for pair in found.pairs:
        if pair.run in rows and pair.contrast.against in rows:
            yield _difference(pair, rows[pair.run], rows[pair.contrast.against], board, brief)
            yield from _all_sources(pair, board)
    shown = (("the language model", ours), ("" if other is None else brief[other.run], other))
    if costs := [_spent(row, name) for name, row in shown if row is not None and row.cost.seconds is not None]:
        yield f"Cost of 1,000 {board.unit}: {', '.join(costs)}."
    if ours is not None and (warnings := list(_warnings(ours, board))):
        yield f"Be careful with the language model: {'; '.join(warnings)}."


def _mean(row: Row, board: Board) -> str:
    cell = row.cells[board.key]
    ends = "" if cell.low is None or cell.high is None or row.exact else f" [{cell.low:.4f}, {cell.high:.4f}]"
    return f"{cell.mean:.4f}{ends}"


def _difference(pair: PairTest, row: Row, other: Row, board: Board, brief: Mapping[str, str]) -> str:
    """Say how far a row is from another one, and whether that is more than noise."""
    found = pair.contrast
    name = (
        "The language model"
        if board.headline is not None and row.run == board.headline.language_model
        else brief[row.run]
    )
    ends = "" if found.low is None or found.high is None else f" [{found.low:+z.4f}, {found.high:+z.4f}]"
    numbers = (
        f"{found.difference:+z.4f}{ends}, p {p_value(found.corrected)} ({family_over(board, primary=found.primary)})"
    )
    both = {row.users, other.users} == {found.users}
    shared = "" if both else f" The difference is that of the {found.users:,} users whom both have."
    if found.corrected < ALPHA:
        better = found.difference * board.sign(board.key) > 0
        return f"{name} is {'better' if better else 'worse'} than {brief[other.run]}: {numbers}.{shared}"
    more = f"; about {found.needed:,} users would show such a difference" if found.needed else ""
    return f"{name} and {brief[other.run]} cannot be told apart on {found.users:,} users: {numbers}{more}.{shared}"


def _all_sources(pair: PairTest, board: Board) -> Iterator[str]:
    """Say of a difference how sure it is over seeds and draws, too, where they are several."""
    for found in board.spreads:
        if (found.run, found.against) == (pair.run, pair.contrast.against):
            yield spread_words(found)
        elif (found.against, found.run) == (pair.run, pair.contrast.against):
            yield spread_words(replace(found, mean=-found.mean, low=-found.high, high=-found.low))


def _spent(row: Row, name: str) -> str:
    """Return seconds and price of ranking 1,000 users, and the seconds of training, as far as they are known."""
    cost, ranking, each = row.cost, row.about.get("scoring_seconds"), row.cost.seconds_per_1000
    training = 0.0 if ranking is None or not cost.seconds else cost.seconds - ranking
    price = "" if cost.price_per_1000 is None else f"{cost.price_per_1000:.3g} USD"
    seconds = "" if each is None else f"{number(each)} s"
    after = f" (after {number(training)} s of training)" if training >= _BRIEF else ""
    return f"{' and '.join(filter(None, [seconds, price]))} for {name}{after}"


def _popular(row: Row, board: Board) -> Iterator[str]:
    """Say where a list that is the same for every user is as good."""
    popular = next((each for each in board.rows if each.model == "popularity" and board.key in each.cells), None)
    if popular is None:
        return
    pairs = (each for each in board.differences if each.metric == board.key and row.run in (each.first, each.second))
    found = next((each for each in pairs if popular.run in (each.first, each.second)), None)
    if found is None:
        return
    ahead = difference_from(found, popular.run).difference * board.sign(board.key)
    mean = without_zeros(f"{popular.cells[board.key].mean:.4f}")
    if found.corrected >= ALPHA:
        yield f"it cannot be told apart from popularity ({mean}), whose list is the same for all"
    elif ahead < 0:
        yield f"it is worse than popularity ({mean}), whose list is the same for all"


def _warnings(row: Row, board: Board) -> Iterator[str]:
    """Say what makes its place doubtful: chance within its interval, odd answers, few users."""
    chance = next((each for each in board.rows if each.model == "chance" and board.key in each.cells), None)
    cell = row.cells[board.key]
    level = _EVEN if board.key == "auc" else None if chance is None else chance.cells[board.key].mean
    if level is not None and cell.low is not None and cell.high is not None and cell.low <= level <= cell.high:
        yield f"its interval holds chance ({without_zeros(f'{level:.4f}')})"
    yield from _popular(row, board)
    if words := answer_words(row):
        yield f"answers: {words}"
    mass = row.about.get("label_mass")
    if mass is not None and mass < _DOUBTFUL:
        yield f"its labels hold {100 * mass:.1f} % of what it would write next"
    if memory := row.about.get("memory"):
        yield memory
    if row.users < _FEW_USERS:
        yield f"{row.users:,} users are few"
