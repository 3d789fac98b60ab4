"""The board as tables: what people read of it, in one place for every format."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llmrs_bench.core.costs import COST_FIELDS
from llmrs_bench.core.formatting import counted, number, without_zeros
from llmrs_bench.leaderboard.board import Board, Cell, PublishedRow, PublishedTable, Row, Section, told_apart
from llmrs_bench.leaderboard.build import NULL, corrected_over
from llmrs_bench.leaderboard.family import Contrast, Difference
from llmrs_bench.leaderboard.variance import SEEDS, Spread
from llmrs_bench.report.words import choice_words

SHARE_HEADS = {"coverage": "target\nranked", "answered": "answered"}


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of a metric, with its interval and marks."""

    cell: Cell
    exact: bool

    @property
    def text(self) -> str:
        """The mean in four digits."""
        return f"{self.cell.mean:.4f}"

    def ends(self, form: str) -> str:
        """Return both ends of the interval, or why there is none."""
        if self.cell.low is None:  # a figure of a whole run, of chance too
            return "no interval"
        if self.exact:
            return "exact"
        return form.format(self.cell.low, self.cell.high)

    def spread(self, form: str) -> str:
        """Return the standard deviation over seeds, where there are several."""
        return "" if self.cell.spread is None else form.format(self.cell.spread)


# One field of a table: text, a share between 0 and 1, or a mean.
Field: TypeAlias = str | float | Mean


@dataclass(frozen=True, slots=True)
class Column:
    """A head, in which lines may break, and a field for each row."""

    kind: Literal["metric", "history", "share", "cost", "answers", "test"]
    head: str
    fields: tuple[Field, ...]

    @property
    def line(self) -> str:
        """The head in one line."""
        return self.head.replace("/\n", "/").replace("-\n", "-").replace("\n", " ")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, which have a model and a setting, and further columns.

    Tests are of a metric, against the row of a run. `note` is a sentence below the title.
    """

    kind: Literal["board", "tests", "group", "matched", "published"]
    title: str
    rows: tuple[Row | PublishedRow, ...]
    columns: tuple[Column, ...]
    metric: str = ""
    against: str = ""
    note: str = ""

    def is_front(self, row: Row | PublishedRow) -> bool:
        """Return whether a row is marked as one on the Pareto front."""
        return self.kind == "board" and isinstance(row, Row) and bool(row.pareto)


def tables(board: Board) -> Iterator[Table]:
    """Return the board, its tests against the best, its groups, and what others printed."""
    board = told_apart(board)
    rows = board.rows
    shares = [Column("share", head, tuple(row.shares[name] for row in rows)) for name, head in share_heads(board)]
    history = tuple("" if (items := row.about.get("history")) is None else str(items) for row in rows)
    words = tuple(map(answer_words, rows))
    answers = [Column("answers", "answers", words)] if any(words) else []
    read = [Column("history", "history", history)] if any(history) or board.unit == "users" else []
    columns = (*_means(rows, board.metrics), *shares, *read, *_costs(board))
    yield Table("board", "", rows, (*columns, *answers))
    yield from _tests(board)
    yield from variance_tables(board)
    yield from _nulls(rows)
    for part in board.sections:
        title = f"{part.group} ({_asked(part, board.unit)}), by {part.by}"
        yield Table("group", title, part.rows, _means(part.rows, board.metrics))
    for found in board.published:
        yield from matched_table(found, board)
        title = f"printed elsewhere, not tested against: {found.title}. {found.source}. {found.protocol}"
        values = list(zip(*(row.values for row in found.rows), strict=True))
        texts = [tuple("" if value is None else f"{value:.4f}" for value in each) for each in values]
        printed = tuple(Column("metric", name, each) for name, each in zip(found.metrics, texts, strict=True))
        yield Table("published", title, found.rows, printed)


def _asked(part: Section, unit: str) -> str:
    """Say how many requests a group has: of how many users, where those are fewer."""
    users = counted(part.users, "user")
    if part.requests == part.users:
        return users
    return f"{part.requests:,} {'rows' if unit == 'rows' else 'requests'} of {users}"


def matched_table(found: PublishedTable, board: Board) -> Iterator[Table]:
    """Return the rows of a board beside the printed ones of the same models, and in what they differ; if there are any.

    A field is ours, with the printed one in brackets.
    """
    rows = {row.run: row for row in told_apart(board).rows}
    pairs = [(rows[each.run], each) for each in found.matches if each.run in rows]
    if not pairs:
        return
    said = dict.fromkeys(
        f"{name} {ours}, printed {theirs}" for _, each in pairs for name, ours, theirs in each.differences
    )
    title = f"printed rows of the same models, not tested against: {found.title}. {found.source}"
    note = f"Differences: {'; '.join(said)}." if said else "No difference in protocol is known."
    columns = []
    for place in sorted(range(len(found.metrics)), key=lambda at: found.metrics[at] != board.key):
        metric = found.metrics[place]
        both = [(_own_value(row, metric), each.printed.values[place]) for row, each in pairs]
        if any(None not in each for each in both):
            texts = tuple("" if None in each else f"{each[0]:.4f} ({each[1]:.4f})" for each in both)
            columns.append(Column("metric", f"{metric}\n(printed)", texts))
    names = tuple(", ".join(name for name, _, _ in each.differences) or "nothing known" for _, each in pairs)
    printed = tuple(" ".join(filter(None, [each.printed.model, _bracketed(each.printed.setting)])) for _, each in pairs)
    columns += [Column("answers", "differs in", names), Column("answers", "printed as", printed)]
    yield Table("matched", title, tuple(row for row, _ in pairs), tuple(columns), note=note)


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""


def _own_value(row: Row, metric: str) -> float | None:
    """Return what a row has of a printed column: NDCG of the first rank is the share of hits there."""
    cell = row.cells.get(metric) or (row.cells.get("hit@1") if metric == "ndcg@1" else None)
    if cell is not None:
        return cell.mean
    if metric == "seconds/user":
        return None if row.cost.seconds_per_1000 is None else row.cost.seconds_per_1000 / 1000
    return row.shares.get(metric)


def _means(rows: Sequence[Row], metrics: Sequence[str]) -> tuple[Column, ...]:
    def field(row: Row, metric: str) -> Field:
        return Mean(row.cells[metric], row.exact) if metric in row.cells else ""

    # So that the columns of a board of click data fit beside each other.
    heads = {metric: re.sub("-(?=calibrated|tuned|weighted)", "-\n", metric) for metric in metrics}
    return tuple(Column("metric", heads[metric], tuple(field(row, metric) for row in rows)) for metric in metrics)


def variance_tables(board: Board) -> Iterator[Table]:
    """Return where the variance of means is from, and of differences from one row, with intervals over all sources."""
    rows = {row.run: row for row in board.rows}
    for against in dict.fromkeys(each.against for each in board.spreads):
        found = [each for each in board.spreads if each.against == against and each.run in rows]
        if not found:
            continue
        of = f"difference from {rows[against].label} in {board.key}" if against in rows else board.key
        sources = [name for name in found[0].shares if any(each.shares[name] for each in found)]
        columns = [
            Column("test", "difference" if against else board.key, tuple(_signed(each) for each in found)),
            Column("test", "95 % interval,\nall sources", tuple(_ends(each) for each in found)),
            *(Column("share", name, tuple(each.shares[name] for each in found)) for name in sources),
            Column(
                "test",
                "narrowed most by",
                tuple(map(_narrowed, found)),
            ),
        ]
        title = f"{of}: shares of the variance by source, and an interval over all of them"
        yield Table("tests", title, tuple(rows[each.run] for each in found), tuple(columns), board.key)


def _narrowed(found: Spread) -> str:
    """Say of what twice as many would narrow an interval, and how far; nothing where nothing varies."""
    return f"{_source(found, found.lever)} x 2, to {100 * found.widths[found.lever]:.0f} %" if found.lever else ""


def _signed(found: Spread) -> str:
    return f"{found.mean:+z.4f}" if found.against else f"{found.mean:.4f}"


def _ends(found: Spread) -> str:
    sign = "+" if found.against else ""
    return without_zeros(f"{found.low:{sign}.4f} to {found.high:{sign}.4f}")


def _source(found: Spread, name: str) -> str:
    """Return what a source of variance is called: of seeds also what they are of."""
    return f"{found.seed_of} {name}" if name == SEEDS and found.seed_of else name


def spread_words(found: Spread, what: str) -> str:
    """Say how wide an interval over all sources is, which source is the largest, and what would narrow it most.

    Args:
        found: The variance of a mean or a difference.
        what: What it is of, in words.
    """
    seeds, words = max(found.seeds, found.other_seeds), _source(found, SEEDS)
    counted = ((found.users, "users"), (seeds, words), (found.draws, "draws of candidates"))
    over = ", ".join(f"{count:,} {name}" for count, name in counted if count > 1)
    sign = "+z" if found.against else "z"
    ends = ", ".join(f"{end:{sign}.4f}" for end in (found.low, found.high))
    whole = f"Over all sources of variance ({over}), {what} is {_signed(found)} [{ends}]"
    if not found.lever:
        return f"{whole}: nothing varies."
    return (
        f"{whole}: {100 * found.shares[found.largest]:.0f} % of its variance is from {_source(found, found.largest)}. "
        f"Twice the {_source(found, found.lever)} would narrow the interval to "
        f"{100 * found.widths[found.lever]:.0f} % of its width."
    )


def _nulls(rows: Sequence[Row]) -> Iterator[Table]:
    """Return what the UAUC of each row is where labels are permuted within users, if that was asked for."""
    known = [row for row in rows if NULL in row.about and "uauc" in row.cells]
    if not known:
        return
    found = [row.about[NULL] for row in known]
    texts = {
        "uauc": [f"{row.cells['uauc'].mean:.4f}" for row in known],
        "by\nchance": [f"{each['mean']:.4f}" for each in found],
        "least": [f"{each['low']:.4f}" for each in found],
        "most": [f"{each['high']:.4f}" for each in found],
        "histories": [each["histories"] for each in found],
    }
    title = f"uauc by chance: labels permuted within users, {found[0]['permutations']:,} times"
    yield Table("tests", title, tuple(known), tuple(Column("test", head, tuple(each)) for head, each in texts.items()))


def share_heads(board: Board) -> list[tuple[str, str]]:
    """Return the names and heads of the shares that the rows of a board have."""
    return [(name, head) for name, head in SHARE_HEADS.items() if all(name in row.shares for row in board.rows)]


def column_words(board: Board) -> dict[str, str]:
    """Return what columns of the board are, by their heads in one line, of those that its rows fill."""
    words = {
        "target ranked": f"share of {board.unit} whose target the row ranked itself",
        "answered": f"share of {board.unit} for {'whom' if board.unit == 'users' else 'which'} it ranked anything",
        "history": "how many of a user's last items it reads",
        "seconds": "training included",
    }
    if board.unit == "rows":
        words |= {"answered": "share of rows that it gave a score"}
    filled = {column.line for column in next(tables(board)).columns if any(column.fields)}
    return {head: said for head, said in words.items() if head in filled}


def _costs(board: Board) -> Iterator[Column]:
    for cost in COST_FIELDS:
        if cost.head:
            values = [getattr(row.cost, cost.name) for row in board.rows]
            texts = tuple("" if v is None else cost.form.format(v) if cost.form else number(v) for v in values)
            if any(texts):
                yield Column("cost", cost.head.replace("users", board.unit), texts)


_VERSUS_HEADS = (
    "difference",
    "95 %\ninterval",
    "p",
    "corrected\np",
    "Cohen's\nd",
    "won/\ntied/lost",
    "users for\n80 % power",
)


def _tests(board: Board) -> Iterator[Table]:
    """Return a table of the primary comparisons with each row, and one of the other rows against the best."""
    rows = {row.run: row for row in board.rows}
    family, labels = board.family, {row.run: row.label for row in board.rows}
    shown: dict[tuple[str, str], list[tuple[Row, Contrast]]] = {}
    for pair in board.primary:
        if pair.run in rows:
            shown.setdefault((pair.metric, pair.contrast.against), []).append((rows[pair.run], pair.contrast))
    over = "" if family is None else family_over(board, primary=True)
    for (metric, against), tested in shown.items():
        title = f"primary: against {labels[against]} in {metric}, on the same users ({over})"
        yield _test_table(title, tested, metric, board)
    rest = [
        (row, versus)
        for row in board.rows
        if (versus := row.cells[board.key].versus) is not None and not versus.primary
    ]
    if rest:
        best = f"against the best in {board.key}, {labels[rest[0][1].against]}, on the same users"
        over = family_over(board, primary=False)
        yield _test_table(f"{'exploratory: ' if family else ''}{best} ({over})", rest, board.key, board)


def family_over(board: Board, *, primary: bool) -> str:
    """Say over which pairs p-values were corrected: the primary ones, all others, or all where there is no family."""
    pairs = 0 if board.family is None else board.family.pairs
    if not primary:
        return corrected_over(board.correction, board.tests - pairs, "exploratory" if pairs else "all")
    return "one primary pair" if pairs == 1 else corrected_over(board.correction, pairs, "primary")


def _test_table(title: str, tested: Sequence[tuple[Row, Contrast]], metric: str, board: Board) -> Table:
    fields = zip(*(_versus(versus, board.permutations) for _, versus in tested), strict=True)
    columns = tuple(Column("test", head, each) for head, each in zip(_VERSUS_HEADS, fields, strict=True))
    least = any(isinstance(field, str) and field.startswith("≤") for column in columns for field in column.fields)
    note = f"{least_words(board)}." if least else ""
    return Table("tests", title, tuple(row for row, _ in tested), columns, metric, tested[0][1].against, note)


def _versus(versus: Contrast, permutations: int) -> tuple[str, ...]:
    ends = "" if versus.low is None or versus.high is None else f"{versus.low:+z.4f} to {versus.high:+z.4f}"
    return (
        f"{versus.difference:+z.4f}",
        without_zeros(ends),
        p_value(versus.p, least=is_least(versus, permutations)),
        corrected_p(versus, permutations),
        "" if versus.effect is None else f"{versus.effect:+z.2f}",
        f"{versus.wins}/{versus.ties}/{versus.losses}",
        "" if versus.needed is None else f"{versus.needed:,}",
    )


def p_value(p: float, *, least: bool = False) -> str:
    """Return a p-value in three digits; with ≤ before it if it is the `least` that its permutations can show."""
    return "<.001" if p < 0.001 else f"{'≤' if least else ''}{without_zeros(f'{p:.3f}')}"


def corrected_p(found: Contrast | Difference, permutations: int) -> str:
    """Return the corrected p of a test in three digits, with ≤ before it if its permutations can show none below."""
    return p_value(found.corrected, least=is_least(found, permutations))


def is_least(found: Contrast | Difference, permutations: int) -> bool:
    """Return whether no permutation of a test was as far from 0 as what was seen."""
    return bool(permutations) and found.p * (permutations + 1) < 1.5


def least_words(board: Board) -> str:
    """Say what the ≤ before a p means."""
    return f"≤: the least that {board.permutations:,} permutations can show"


def p_words(board: Board, *, brackets: bool = True) -> str:
    """Say over which pairs p is corrected, what ≤ means, and what brackets do, where exploratory ones have them."""
    words = [f"p: corrected ({family_over(board, primary=board.family is not None)})"]
    if board.family is not None and not all(each.primary for each in board.differences):
        which = "in brackets: of an exploratory comparison" if brackets else "of an exploratory comparison"
        words.append(f"p {which} ({family_over(board, primary=False)})")
    return "; ".join([*words, least_words(board)] if has_least(board) else words)


def has_least(board: Board) -> bool:
    """Return whether a p of the board is shown as the least that its permutations can show."""
    return any(each.corrected >= 0.001 and is_least(each, board.permutations) for each in board.differences)


_KINDS = {
    "partial": "some candidates are ranked",
    "duplicates": "one is listed twice",
    "off-list": "an item is listed that was not shown",
    "history": "items of the history are listed",
    "format": "text without a list",
    "empty": "no text",
    "truncated": "the token budget ended it before all were ranked",
    "refused": "the model declined",
}


def kind_words(board: Board) -> str:
    """Say what the kinds of answers are that rows of the board gave, but for complete ones; nothing where all are."""
    there = {kind for row in board.rows for kind, share in row.kinds.items() if share}
    return "; ".join(f"{kind}: {words}" for kind, words in _KINDS.items() if kind in there)


def answer_words(row: Row) -> str:
    """Say what is odd about the answers of a row: their kinds where not all are complete, and what they repeat."""
    odd = row.kinds.keys() - {"complete"}
    kinds = [f"{kind} {100 * share:.3g} %" for kind, share in row.kinds.items()] if odd else []
    return ", ".join([*kinds, *choice_words(row.about.get("first_choices"))])
