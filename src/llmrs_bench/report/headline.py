"""The headline of a board in sentences, each of which holds to the numbers of its rows."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import isnan, nan

from llmrs_bench.core.formatting import counted, number, without_zeros
from llmrs_bench.leaderboard.board import ALPHA, Board, Row
from llmrs_bench.leaderboard.build import EVEN, order_words
from llmrs_bench.leaderboard.family import CHANCE, FUSION, PairTest
from llmrs_bench.leaderboard.headline import CONSTANTS, TRAINED, Headline
from llmrs_bench.report.labels import brief_labels
from llmrs_bench.report.table import answer_words, corrected_p, family_over, least_words, spread_words

_FEW_USERS = 100
_DOUBTFUL = 0.5  # of the probability of an answer, on its labels
_BRIEF = 0.05  # seconds of training that are not worth a word
_DEMO = "demo-lm"  # how the name of the model of the demo begins
_CAREFUL = "Be careful"


def headline(board: Board) -> list[str]:
    """Say which language model is best, how it stands to the best of everything else, how sure, and at which cost.

    The sentences are of the metric that orders the board. Nothing is said of a board without a metric that orders rows.
    """
    return [] if board.headline is None else list(_sentences(board, board.headline))


def cautions(board: Board) -> list[tuple[str, str]]:
    """Say in a word or two, and in a clause, what makes the places of the rows that the headline names doubtful."""
    if board.headline is None:
        return []
    return [*_of_best(board, board.headline), *_of_others(board, board.headline)]


def _of_best(board: Board, found: Headline) -> list[tuple[str, str]]:
    """Say what makes the best language model doubtful; where there is none, that the best other has few users."""
    rows = {row.run: row for row in board.rows if board.key in row.cells}
    ours, other = (rows.get(run or "") for run in (found.language_model, found.other))
    if ours is not None:
        return list(_warnings(ours, found, board, brief_labels(board.rows)))
    return [] if other is None else list(_few_users(other))


def _of_others(board: Board, found: Headline) -> list[tuple[str, str]]:
    """Say which of the best trained row, the best other row and the best fusion are no better than chance."""
    rows, brief = {row.run: row for row in board.rows if board.key in row.cells}, brief_labels(board.rows)
    trained = next((run for run, row in rows.items() if row.kind in TRAINED), None)
    said = []
    for row in (rows[run] for run in dict.fromkeys((trained, found.other, found.fusion)) if run in rows):
        what = row.kind if row.kind in (FUSION, "baseline") else "recommender"
        level = _chance_level(board)
        if verdict := _beside_chance(row, level, board):
            words = {"at": "no better than chance ({}, within its interval)", "below": "worse than chance ({})"}
            clause = words[verdict].format(without_zeros(f"{level:.4f}"))
            said.append((f"{what} {verdict} chance", f"the best {what}, {brief[row.run]}, is {clause}"))
    return said


def is_verdict(line: str) -> bool:
    """Return whether a sentence of a headline is the one that says whether two rows differ."""
    found = re.search(" is (better|worse) than | cannot be told apart from .+ in ", line) is not None
    return found and not is_warning(line)


def is_warning(line: str) -> bool:
    """Return whether a sentence of a headline is the one that says why to be careful."""
    return line.startswith(_CAREFUL)


def _sentences(board: Board, found: Headline) -> Iterator[str]:
    brief = brief_labels(board.rows)
    rows = {row.run: row for row in board.rows}
    ours, other, fusion = (rows.get(run or "") for run in (found.language_model, found.other, found.fusion))
    if ours is None:
        mock = "" if found.stand_in is None else ", only mock, which reads nothing and answers at random"
        yield f"No language model is on this board yet{mock} ({_asked(other, board)})."
    else:
        mean = f"{board.key} {_mean(ours, board)}"
        yield f"Best language model: {brief[ours.run]}, {mean} over {_asked(ours, board)}{_histories(ours)}."
    trained = next((row for row in board.rows if row.kind in TRAINED and board.key in row.cells), None)
    if other is not None:
        yield _best_other(found, other, trained, board, brief)
    if fusion is not None:
        yield f"Best fusion: {brief[fusion.run]}, {_mean(fusion, board)}."
    over = ""
    for pair in found.pairs:
        if pair.run in rows and pair.contrast.against in rows:
            before, over = over, family_over(board, primary=pair.contrast.primary)
            least = least_words(board) if corrected_p(pair.contrast, board.permutations).startswith("≤") else ""
            family = f" ({'; '.join(filter(None, ['' if over == before else over, least]))})".replace(" ()", "")
            yield _difference(pair, rows[pair.run], rows[pair.contrast.against], board, brief, family)
            yield from _all_sources(pair, board, brief)
    against = [rows.get(run) for pair in found.pairs for run in (pair.contrast.against, pair.run)]
    named = {row.run: row for row in (ours, trained, other, fusion, *against) if row is not None and not row.exact}
    if named:
        yield _costs(named.values(), board, brief)
    best, others = ([words for _, words in said(board, found)] for said in (_of_best, _of_others))
    if ours is None:
        best, others = [*others, *best], []
    if best:
        yield f"{_CAREFUL}{'' if ours is None else ' with the language model'}: {'; '.join(best)}."
    if others:
        yield f"{_CAREFUL} with what the language model is compared with: {'; '.join(others)}."


def _asked(row: Row | None, board: Board) -> str:
    """Say over how many users means are and how many candidates each has; of a row with fewer users also how many."""
    most = max((each.users for each in board.rows), default=0)
    if row is None or (board.scope and row.users == most):
        return board.scope or _users(most)
    return f"{_users(row.users)} (the board: {board.scope})" if board.scope else _users(row.users)


def _best_other(found: Headline, other: Row, trained: Row | None, board: Board, brief: Mapping[str, str]) -> str:
    """Name the best trained row, and the baseline above it; or the baseline, and that nothing trained is there."""
    metric = f"{board.key} " if found.language_model is None else ""
    best = f"{brief[other.run]}, {metric}{_mean(other, board)}{_histories(other)}."
    if other.kind != "baseline":
        return f"Best recommender: {best}"
    if trained is None:
        missed = "is on this board yet" if found.recommenders else "predicts ratings here"
        return f"No trained recommender {missed}. Best baseline: {best}"
    still = found.ahead is not None and found.ahead.contrast.corrected < ALPHA
    words = "A baseline is better still" if still else "A baseline cannot be told apart from it"
    shown = f"{brief[trained.run]}, {metric}{_mean(trained, board)}{_histories(trained)}"
    return f"Best recommender: {shown}. {words}: {brief[other.run]}, {_mean(other, board)}."


def _histories(row: Row) -> str:
    """Say how many items of a user a row was shown, where that is known: two rows are seldom shown as much."""
    items = row.about.get("history")
    return f", from the last {counted(items, 'item')} of a user" if isinstance(items, int) and items > 0 else ""


def _mean(row: Row, board: Board) -> str:
    cell = row.cells[board.key]
    ends = "" if cell.low is None or cell.high is None or row.exact else f" [{cell.low:.4f}, {cell.high:.4f}]"
    return f"{cell.mean:.4f}{ends}"


def _difference(pair: PairTest, row: Row, other: Row, board: Board, brief: Mapping[str, str], family: str) -> str:
    """Say how far a row is from another one, and whether that is more than noise."""
    found, name = pair.contrast, _subject(row, board, brief)
    ends = "" if found.low is None or found.high is None else f" [{found.low:+z.4f}, {found.high:+z.4f}]"
    numbers = f"{found.difference:+z.4f}{ends}, p {corrected_p(found, board.permutations)}{family}"
    both = {row.users, other.users} == {found.users}
    shared = "" if both else f" The difference is that of the {found.users:,} users whom both have."
    if found.corrected < ALPHA:
        better = found.difference * board.sign(board.key) > 0
        return (
            f"{name} is {'better' if better else 'worse'} than {brief[other.run]} in {pair.metric}: {numbers}.{shared}"
        )
    enough = (
        found.needed is None or found.needed <= found.users
    )  # where only the correction, or the least p, is in the way
    more = "" if enough else f"; about {found.needed:,} users would show such a difference"
    apart = f"cannot be told apart from {brief[other.run]} in {pair.metric} on {_users(found.users)}"
    return f"{name} {apart}: {numbers}{more}.{shared}"


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
    machines = {str(row.about["machine"]) for row, _, spent in named if spent and row.about.get("machine")}
    apart = [f"these are of {len(machines)} machines"] if len(machines) > 1 else []
    known = [f"{spent} for {name}{_training(row)}" for row, name, spent in named if spent]
    lacking = [name for _, name, spent in named if not spent]
    unknown = [f"not measured for {' and '.join(lacking)}"] if lacking else []
    return f"Cost of 1,000 {board.unit}: {'; '.join([*filter(None, [', '.join(known)]), *apart, *unknown])}."


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


def _bars(
    found: Headline, rows: Mapping[str, Row], board: Board, brief: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
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
    for verdict, names in said.items():
        brief_verdict = "worse than" if verdict == "is worse than" else "no better than"
        yield (
            f"{brief_verdict} {', '.join(name.partition(' (')[0] for name in names)}",
            f"it {verdict} {', and '.join(names)}",
        )


def _warnings(row: Row, found: Headline, board: Board, brief: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Say what makes its place doubtful: odd answers, chance, rows that ignore the user, few users, and so on."""
    if row.model.startswith(_DEMO):
        yield "a toy", "demo-lm is a toy trained on this data set, so this says nothing of real language models"
    rows = {each.run: each for each in board.rows if board.key in each.cells}
    yield from _chance(row, board)
    yield from _bars(found, rows, board, brief)
    for words in order_words(row):
        yield f"{words.split()[1]} below .5", words
    if words := answer_words(row):
        yield "odd answers", f"answers: {words}"
    mass = row.about.get("label_mass")
    if mass is not None and mass < _DOUBTFUL:
        yield "label mass", f"its labels hold {100 * mass:.1f} % of what it would write next"
    if memory := row.about.get("memory"):
        yield "known by heart", memory
    yield from _few_users(row)


def _few_users(row: Row) -> Iterator[tuple[str, str]]:
    if row.users < _FEW_USERS:
        yield "few users", f"{_users(row.users)} {'is' if row.users == 1 else 'are'} few"


def _chance(row: Row, board: Board) -> Iterator[tuple[str, str]]:
    """Say where chance is within the interval of the language model, or the whole interval is worse.

    The AUC of a constant is chance: where one is on the board, the test against it says that.
    """
    if board.key == "auc" and (row.cells["auc"].mean < EVEN or any(each.model in CONSTANTS for each in board.rows)):
        return  # below .5 is said of auc by itself
    level = _chance_level(board)
    verdict, said = _beside_chance(row, level, board), without_zeros(f"{level:.4f}")
    if verdict == "at":
        yield "at chance", f"its interval holds chance ({said})"
    elif verdict == "below":
        yield "below chance", f"it is worse than chance ({said})"


def _chance_level(board: Board) -> float:
    """Return what chance has in the metric that orders the board; NaN where that is not known."""
    if board.key == "auc":
        return EVEN
    return next(
        (row.cells[board.key].mean for row in board.rows if row.model == CHANCE and board.key in row.cells), nan
    )


def _beside_chance(row: Row, level: float, board: Board) -> str:
    """Return `at` where chance is within the interval of a row, `below` where all of the interval is worse, or ''."""
    cell, sign = row.cells[board.key], board.sign(board.key)
    if isnan(level) or cell.low is None or cell.high is None:
        return ""
    if cell.low <= level <= cell.high:
        return "at"
    return "below" if sign * (cell.mean - level) < 0 else ""


def _users(count: int) -> str:
    return f"{count:,} {'user' if count == 1 else 'users'}"
