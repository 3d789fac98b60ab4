"""The headline of a board in sentences, each of which holds to the numbers of its rows."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from llmrs_bench.core.formatting import number
from llmrs_bench.leaderboard.board import ALPHA, Board, Row
from llmrs_bench.leaderboard.family import PairTest
from llmrs_bench.leaderboard.headline import CONSTANTS, TRAINED, Headline
from llmrs_bench.report.labels import brief_labels
from llmrs_bench.report.table import answer_words, family_over, p_value, spread_words, without_zeros

_FEW_USERS = 100
_DOUBTFUL = 0.5  # of the probability of an answer, on its labels
_EVEN = 0.5  # the AUC of scores that say nothing
_BRIEF = 0.05  # seconds of training that are not worth a word
_MOCK = "mock"  # the model that makes its answers up
_CAREFUL = "Be careful"


def headline(board: Board) -> list[str]:
    """Say which language model is best, how it stands to the best of everything else, how sure, and at which cost.

    The sentences are of the metric that orders the board. Nothing is said of a board without a metric that orders rows.
    """
    return [] if board.headline is None else list(_sentences(board, board.headline))


def is_verdict(line: str) -> bool:
    """Return whether a sentence of a headline is the one that says whether two rows differ."""
    found = re.search(" is (better|worse) than | cannot be told apart in ", line) is not None
    return found and not is_warning(line)


def is_warning(line: str) -> bool:
    """Return whether a sentence of a headline is the one that says why to be careful."""
    return line.startswith(_CAREFUL)


def _sentences(board: Board, found: Headline) -> Iterator[str]:
    brief = brief_labels(board.rows)
    rows = {row.run: row for row in board.rows}
    ours, other, fusion = (rows.get(run or "") for run in (found.language_model, found.other, found.fusion))
    if ours is None:
        yield "No language model is on this board yet."
    else:
        asked = f"{ours.users:,} {board.unit if ours.users != 1 else board.unit.removesuffix('s')}"
        yield f"Best language model: {brief[ours.run]}, {board.key} {_mean(ours, board)} over {asked}."
    trained = next((row for row in board.rows if row.kind in TRAINED and board.key in row.cells), None)
    if other is not None:
        yield _best_other(found, other, trained, board, brief)
    if fusion is not None:
        yield f"Best fusion: {brief[fusion.run]}, {_mean(fusion, board)}."
    over = ""
    for pair in found.pairs:
        if pair.run in rows and pair.contrast.against in rows:
            before, over = over, family_over(board, primary=pair.contrast.primary)
            family = "" if over == before else f" ({over})"
            yield _difference(pair, rows[pair.run], rows[pair.contrast.against], board, brief, family)
            yield from _all_sources(pair, board, brief)
    against = [rows.get(pair.contrast.against) for pair in found.pairs]
    named = {row.run: row for row in (ours, trained, other, fusion, *against) if row is not None and not row.exact}
    if named:
        yield _costs(named.values(), board, brief)
    if ours is not None and (warnings := list(_warnings(ours, found, board, brief))):
        yield f"{_CAREFUL} with the language model: {'; '.join(warnings)}."


def _best_other(found: Headline, other: Row, trained: Row | None, board: Board, brief: Mapping[str, str]) -> str:
    """Name the best trained row, and the baseline above it; or the baseline, and that nothing trained is there."""
    metric = f"{board.key} " if found.language_model is None else ""
    best = f"{brief[other.run]}, {metric}{_mean(other, board)}."
    if other.kind != "baseline":
        return f"Best recommender: {best}"
    if trained is None:
        missed = "is on this board yet" if found.recommenders else "predicts ratings here"
        return f"No trained recommender {missed}. Best baseline: {best}"
    still = found.ahead is not None and found.ahead.contrast.corrected < ALPHA
    words = "A baseline is better still" if still else "A baseline cannot be told apart from it"
    shown = f"{brief[trained.run]}, {metric}{_mean(trained, board)}"
    return f"Best recommender: {shown}. {words}: {brief[other.run]}, {_mean(other, board)}."


def _mean(row: Row, board: Board) -> str:
    cell = row.cells[board.key]
    ends = "" if cell.low is None or cell.high is None or row.exact else f" [{cell.low:.4f}, {cell.high:.4f}]"
    return f"{cell.mean:.4f}{ends}"


def _difference(pair: PairTest, row: Row, other: Row, board: Board, brief: Mapping[str, str], family: str) -> str:
    """Say how far a row is from another one, and whether that is more than noise."""
    found, name = pair.contrast, _subject(row, board, brief)
    ends = "" if found.low is None or found.high is None else f" [{found.low:+z.4f}, {found.high:+z.4f}]"
    numbers = f"{found.difference:+z.4f}{ends}, p {p_value(found.corrected)}{family}"
    both = {row.users, other.users} == {found.users}
    shared = "" if both else f" The difference is that of the {found.users:,} users whom both have."
    if found.corrected < ALPHA:
        better = found.difference * board.sign(board.key) > 0
        return (
            f"{name} is {'better' if better else 'worse'} than {brief[other.run]} in {pair.metric}: {numbers}.{shared}"
        )
    more = f"; about {found.needed:,} users would show such a difference" if found.needed else ""
    apart = f"cannot be told apart in {pair.metric} on {_users(found.users)}"
    return f"{name} and {brief[other.run]} {apart}: {numbers}{more}.{shared}"


def _subject(row: Row, board: Board, brief: Mapping[str, str]) -> str:
    ours = board.headline is not None and row.run == board.headline.language_model
    return "The language model" if ours else brief[row.run]


def _all_sources(pair: PairTest, board: Board, brief: Mapping[str, str]) -> Iterator[str]:
    """Say of a difference how sure it is over seeds and draws, too, where they are several."""
    what = f"the difference from {brief[pair.contrast.against]}"
    for found in board.spreads:
        if (found.run, found.against) == (pair.run, pair.contrast.against):
            yield spread_words(found, what)
        elif (found.against, found.run) == (pair.run, pair.contrast.against):
            yield spread_words(replace(found, mean=-found.mean, low=-found.high, high=-found.low), what)


def _costs(rows: Iterable[Row], board: Board, brief: Mapping[str, str]) -> str:
    """Say what ranking 1,000 users costs with each row, and with which ones nobody measured it."""
    named = [(row, _subject(row, board, brief).replace("The ", "the ", 1), _spent(row)) for row in rows]
    known = [f"{spent} for {name}{_training(row)}" for row, name, spent in named if spent]
    lacking = [name for _, name, spent in named if not spent]
    unknown = [f"not measured for {' and '.join(lacking)}"] if lacking else []
    return f"Cost of 1,000 {board.unit}: {'; '.join([*filter(None, [', '.join(known)]), *unknown])}."


def _spent(row: Row) -> str:
    """Return seconds and price of ranking 1,000 users, as far as they are known."""
    price, each = row.cost.price_per_1000, row.cost.seconds_per_1000
    seconds = "" if each is None else f"{number(each)} s"
    return " and ".join(filter(None, [seconds, "" if price is None else f"{price:.3g} USD"]))


def _training(row: Row) -> str:
    """Return the seconds of training, which is done once, where they are worth a word."""
    ranking = row.about.get("scoring_seconds")
    training = 0.0 if ranking is None or not row.cost.seconds else row.cost.seconds - ranking
    return f" (after {number(training)} s of training)" if training >= _BRIEF else ""


def _bars(found: Headline, rows: Mapping[str, Row], board: Board, brief: Mapping[str, str]) -> Iterator[str]:
    """Say which rows that ignore the user the language model does not beat, by the test of the pair."""
    said: dict[str, list[str]] = {}
    for pair in found.bars:
        contrast = pair.contrast
        if contrast.against not in rows:
            continue
        other, ahead = rows[contrast.against], contrast.difference * board.sign(board.key)
        what = "a constant" if other.model in CONSTANTS else "which ignores who the user is"
        words = f"{brief[other.run]} ({without_zeros(f'{other.cells[board.key].mean:.4f}')}), {what}"
        if contrast.corrected >= ALPHA:
            said.setdefault("cannot be told apart from", []).append(words)
        elif ahead < 0:
            said.setdefault("is worse than", []).append(words)
    yield from (f"it {verdict} {', and '.join(words)}" for verdict, words in said.items())


def _warnings(row: Row, found: Headline, board: Board, brief: Mapping[str, str]) -> Iterator[str]:
    """Say what makes its place doubtful: made-up or odd answers, chance, rows that ignore the user, few users."""
    if row.model == _MOCK:
        yield "it is the mock, whose answers are made up"
    rows = {each.run: each for each in board.rows if board.key in each.cells}
    yield from _chance(row, board)
    yield from _bars(found, rows, board, brief)
    if words := answer_words(row):
        yield f"answers: {words}"
    mass = row.about.get("label_mass")
    if mass is not None and mass < _DOUBTFUL:
        yield f"its labels hold {100 * mass:.1f} % of what it would write next"
    if memory := row.about.get("memory"):
        yield memory
    if row.users < _FEW_USERS:
        yield f"{_users(row.users)} {'is' if row.users == 1 else 'are'} few"


def _chance(row: Row, board: Board) -> Iterator[str]:
    """Say where chance is within the interval of a row, or the whole interval is worse.

    The AUC of a constant is chance: where one is on the board, the test against it says that.
    """
    rows = {each.model: each for each in board.rows if board.key in each.cells}
    even = board.key == "auc" and not any(model in rows for model in CONSTANTS)
    level = _EVEN if even else rows["chance"].cells[board.key].mean if "chance" in rows else None
    cell, sign = row.cells[board.key], board.sign(board.key)
    if level is None or cell.low is None or cell.high is None:
        return
    if cell.low <= level <= cell.high:
        yield f"its interval holds chance ({without_zeros(f'{level:.4f}')})"
    elif sign * (cell.mean - level) < 0:
        yield f"it is worse than chance ({without_zeros(f'{level:.4f}')})"


def _users(count: int) -> str:
    return f"{count:,} {'user' if count == 1 else 'users'}"
