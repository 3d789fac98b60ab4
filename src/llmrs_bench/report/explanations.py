"""What a judge of explanations says, and how far it is to be believed, for a terminal and as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from llmrs_bench.core.formatting import counted, number, without_zeros
from llmrs_bench.leaderboard.board import ALPHA
from llmrs_bench.report.table import p_value

_WIDTH = 80
_CONTROL = "shuffled"
_HEAD = ("writer", "against", "won", "lost", "split", "tied", "malformed", "win rate", "p")


def judgement_lines(facts: Mapping[str, Any]) -> list[str]:
    """Lay out a judgement for a terminal: verdicts on judge and writers, contests, agreement, and how it was asked."""
    lines = [*_wrapped(verdicts(facts)), ""]
    for table in (_contests(facts), _agreement(facts)):
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        texts = 2 if table[0] == _HEAD else 1
        for row in table:
            cells = [
                cell.ljust(width) if at < texts else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    return [*lines, *_wrapped(list(_protocol(facts)))]


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)]


def judgement_markdown(facts: Mapping[str, Any]) -> list[str]:
    """Lay out a judgement as Markdown."""
    lines = [*(f"- {line}" for line in verdicts(facts)), ""]
    for head, *rows in (_contests(facts), _agreement(facts)):
        lines += [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    return [*lines, *(f"- {line}" for line in _protocol(facts))]


def pair_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Show rows of the schema `judgements`: both texts as the judge saw them, and what it said."""
    return [
        line
        for row in rows
        for line in (
            f"--- {row['request_id']}, {row['item_id']}: {row['writer']} against {row['against']}",
            f"A ({row['writer'] if row['writer_first'] else row['against']}): {row['first']}",
            f"B ({row['against'] if row['writer_first'] else row['writer']}): {row['second']}",
            f"verdict: {row['verdict']}" + ("" if row["margin"] is None else f", log-odds of A {row['margin']:+.3f}"),
        )
    ]


def verdicts(facts: Mapping[str, Any]) -> list[str]:
    """Say in sentences how far the judge goes by position, whether it passes its control, and what it prefers."""
    return [*_on_judge(facts), *(_on_writer(each) for each in facts["contests"] if each["against"] != _CONTROL)]


def _on_judge(facts: Mapping[str, Any]) -> Iterator[str]:
    judge, follows = facts["judge"], facts["position"]["follows"]
    if follows["value"] is None:
        yield f"{judge} gave no two verdicts on any pair that can be read."
        return
    told = (
        f"in {_percent(follows['value'])} of pairs both orders name the same position, and "
        f"{_percent(facts['position']['first']['value'])} of the verdicts name the first (a coin: 50 % each)"
    )
    if _above(follows["low"], follows["value"]):
        yield f"{judge} follows the position: {told}. It judges where a text stands more than what it says."
    elif _above(1 - _or(follows["high"], 0.5), 1 - follows["value"]):
        yield f"{judge} goes by the texts more than by their position: {told}."
    else:
        yield f"{judge} is no more consistent than a coin: {told}."
    for each in facts["contests"]:
        if each["against"] == _CONTROL:
            won = f"win rate {_rate(each)}, p {p_value(each['corrected'])}"
            if _wins(each):
                yield f"It passes the control: {each['writer']} is preferred to its own texts for other users, {won}."
            else:
                yield (
                    f"It fails the control: no sign that {each['writer']} is preferred to its own texts for other "
                    f"users, {won}. Its other verdicts on {each['writer']} say nothing."
                )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _above(low: float | None, value: float) -> bool:
    """Return whether a share is above that of a coin; of a single user there is no interval."""
    return low is not None and low > 0.5 and value > 0.5


def _wins(contest: Mapping[str, Any]) -> bool:
    return bool((contest["win_rate"] or 0) > 0.5 and contest["corrected"] < ALPHA)


def _on_writer(contest: Mapping[str, Any]) -> str:
    told = f"win rate {_rate(contest)}, p {p_value(contest['corrected'])}"
    names = contest["writer"], contest["against"]
    if contest["win_rate"] is None or contest["corrected"] >= ALPHA:
        return f"No sign that it prefers {names[0]} to {names[1]}, or the other way round: {told}."
    better, worse = names if contest["win_rate"] > 0.5 else names[::-1]
    return f"It prefers {better} to {worse}: {told}."


def _contests(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = [
        (
            *(each["writer"], each["against"]),
            *(f"{each[name]:,}" for name in ("wins", "losses", "inconsistent", "ties", "malformed")),
            *(_rate(each), p_value(each["corrected"])),
        )
        for each in facts["contests"]
    ]
    return [_HEAD, *rows]


def _agreement(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    own = facts["position"]
    agree = None if own["follows"]["value"] is None else 1 - own["follows"]["value"]
    compared = sum(each["pairs"] for each in facts["contests"]) - facts["same"]
    rows = [
        (
            "itself, in the other order",
            f"{compared:,}",
            _share(agree),
            _share(own["kappa"]["value"]),
            _interval(own["kappa"]),
        )
    ]
    for each in facts["judges"]:
        name = each["judge"] if each["reading"] == facts["reading"] else f"{each['judge']} ({each['reading']})"
        kappa = each["kappa"]
        rows.append((name, f"{each['pairs']:,}", _share(each["agree"]), _share(kappa["value"]), _interval(kappa)))
    return [("agreement with", "pairs", "agree", "kappa", "95 %"), *rows]


def _protocol(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"warning: {warning}." for warning in facts["warnings"])
    yield (
        f"{facts['dataset']}: {facts['pairs']:,} pairs of {facts['users']:,} users, each in both orders; the verdict "
        "is "
        + (
            f"the likelier letter (both have {_percent(facts['label_mass'])} of the probability)"
            if facts["reading"] == "labels" and facts["label_mass"] is not None
            else "what the judge wrote"
        )
    )
    yield f"asked: {facts['asked']}"
    yield (
        "template: a sentence that names the most similar item of the history; shuffled: the writer's text for another "
        "user and item"
    )
    yield (
        "win rate, with its 95 % interval over users: won pairs, and half of split pairs (the orders disagree) and of "
        "ties; p: sign-flip test over users against one half, Holm over the contests"
    )
    yield "kappa: Cohen's, each pair counted with its texts named in both ways"
    if facts["malformed"]:
        malformed = "1 answer names" if facts["malformed"] == 1 else f"{facts['malformed']:,} answers name"
        yield f"{malformed} no letter; pairs with such an answer count for nobody"
    if facts["same"]:
        same = "1 pair has" if facts["same"] == 1 else f"{facts['same']:,} pairs have"
        yield f"{same} one text twice: a tie that nobody was asked about"
    for writer in facts["writers"]:
        if writer["empty"]:
            yield f"{writer['name']} wrote nothing in {counted(writer['empty'], 'request')}, left out here"
    if not facts["judges"]:
        yield "no other judge of these pairs: run judge with another --model"
    yield f"{counted(facts['prompts'], 'prompt')}, {number(facts['seconds'])} s, engine {facts['engine']}"


def _interval(each: Mapping[str, Any]) -> str:
    return "-" if each["low"] is None else f"{_share(each['low'])} to {_share(each['high'])}"


def _rate(contest: Mapping[str, Any]) -> str:
    rate = _share(contest["win_rate"])
    return rate if contest["low"] is None else f"{rate} [{_share(contest['low'])}, {_share(contest['high'])}]"


def _share(value: float | None) -> str:
    return "-" if value is None else without_zeros(f"{value:.3f}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
