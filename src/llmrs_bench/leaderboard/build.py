"""A board built from evaluated runs: values aligned by request, intervals and tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.formatting import without_zeros
from llmrs_bench.leaderboard.board import (
    ALPHA,
    SHARES,
    SIGN,
    Board,
    Cell,
    Direction,
    EvaluatedRun,
    Row,
    Section,
    cost_of,
    front_words,
    with_front,
)
from llmrs_bench.leaderboard.family import LANGUAGE_MODEL, MOCK, Family, find_family
from llmrs_bench.leaderboard.headline import find_headline
from llmrs_bench.leaderboard.matrix import RunScores, ScoreMatrix, figure_notes, figures, score_matrix
from llmrs_bench.leaderboard.pairs import PairTests, shown_primary
from llmrs_bench.leaderboard.seeds import find_spreads
from llmrs_bench.stats import (
    CORRECTIONS,
    all_pairs,
    difference_intervals,
    mean_interval,
    sign_flip,
    summed,
)

# The smallest p is 1/(permutations + 1): so many permutations for each test leave room below .05 after a correction,
# and for each primary one below .001, up to 100 of them.
_PER_TEST, _PER_PRIMARY, _MOST_PRIMARY = 25, 1000, 100_000
_FEWEST, _MOST = 10_000, 1_000_000
CORRECTION_WORDS = {"holm": "Holm", "bh": "Benjamini-Hochberg", "none": "no correction"}


@dataclass(frozen=True, slots=True)
class BoardPlan:
    """How a board is made.

    Args:
        metrics: Names of the columns.
        samples: Resamples of the bootstrap.
        seed: Of resamples and permutations.
        permutations: Sign vectors of the tests; None: 25 for each test or 1,000 for each primary one (of these at most
            100,000), whichever are more, at least 10,000 and at most 1,000,000.
        correction: `holm`, `bh` or `none`.
        by: What `groups` groups requests by.
        groups: Rows (request_id, group, order); None: no groups are shown.
        directions: Which values of a metric are better; of others, higher ones are.
        unit: What costs are counted by, as `Board` has it.
        users: The user of each request, where some have several; resamples and tests then take users whole.
        primary: Metrics of the primary comparisons; none: the one that orders rows, which else is the first of these.
        main: Names of the rows that they are about; none: the language models.
        against: Names of the rows that these are held against; none: all others but fusions and chance.
        draws: Of each request which one it asks again with other candidates, and which draw these are of.
        scope: Over how many users means are, and how many candidates each has, in words.
    """

    metrics: tuple[str, ...]
    samples: int = 2000
    seed: int = 0
    permutations: int | None = None
    correction: str = "holm"
    by: str = ""
    groups: pl.DataFrame | None = None
    directions: Mapping[str, Direction] = field(default_factory=dict)
    unit: str = "users"
    users: Mapping[str, str] | None = None
    primary: tuple[str, ...] = ()
    main: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    draws: Mapping[str, tuple[str, int]] | None = None
    scope: str = ""

    def sign(self, metric: str) -> float:
        """Return 1 where more of a metric is better, -1 where less is, 0 where neither is."""
        return SIGN[self.directions.get(metric, "higher")]

    def key(self, usual: str) -> str:
        """Return the metric that orders rows: the first primary one, or the usual one where it is shown."""
        return self.primary[0] if self.primary else usual if usual in self.metrics else self.metrics[0]

    def resamples(self, tests: int, primary: int = 0) -> int:
        """Return how many permutations so many tests get, of which some are primary comparisons."""
        wanted = max(_FEWEST, _PER_TEST * tests, min(_PER_PRIMARY * primary, _MOST_PRIMARY))
        return self.permutations or min(wanted, _MOST)


def shares_words(plan: BoardPlan) -> str:
    """Return what else intervals are of, where each request is another user's and not a row of click data."""
    return ", and Wilson's interval of shares" if plan.users is None and plan.unit == "users" else ""


def explained(plan: BoardPlan, tests: int, permutations: int, front: str, family: Family | None) -> list[str]:
    """Say how intervals and tests were made, which pairs are primary, and what the marks mean."""
    each = f"paired sign-flip test, {permutations:,} permutations"
    over = f", {corrected_over(plan.correction, tests, 'all')}" if family is None else ""
    return [
        f"95 % bootstrap over users, {plan.samples:,} samples{shares_words(plan)}"
        + ("" if plan.users is None else "; means are over requests, those of a user are drawn, and tested, together"),
        f"=: not distinguishable from the best of its column ({each}{over}, p not below {without_zeros(f'{ALPHA:g}')})",
        *([] if family is None else family_words(family, plan.correction, tests)),
        f"*: {front}",
    ]


def corrected_over(correction: str, tests: int, kind: str = "") -> str:
    """Return how p-values of so many pairs were corrected; `kind` says which pairs they are, or that they are `all`."""
    words = CORRECTION_WORDS[correction]
    pairs = f"{tests:,} {f'{kind} ' if kind not in ('', 'all') else ''}{'pair' if tests == 1 else 'pairs'}"
    return words if correction == "none" else f"{words} over {'all ' if kind == 'all' else ''}{pairs}"


def family_words(family: Family, correction: str, tests: int) -> list[str]:
    """Say which pairs of a board are primary and how they and all others are corrected."""
    who = "declared" if family.declared else "each language model against each row that is neither one nor a fusion"
    rest = tests - family.pairs
    others = f"all others (pairs of rows, metrics, groups), {corrected_over(correction, rest)}" if rest else "no others"
    return [
        f"primary comparisons: {who}, in {', '.join(family.metrics)}; {corrected_over(correction, family.pairs)}",
        f"exploratory comparisons: {others}",
    ]


def coverage_notes(blocks: Sequence["TableBlock"], key: str) -> list[str]:
    """Say where one user is all there is, and which rows were measured on fewer requests than others."""
    matrix, one = blocks[0].matrix, "request" if blocks[0].matrix.users is None else "user"
    single = [f"{block.by} {block.group}" for block in blocks if block.users == 1]
    where = "" if blocks[0].users == 1 else f"{', '.join(single)}: "
    notes = [f"{where}one {one}: no interval, and every p is 1"] if single else []
    for line, values in zip(matrix.lines, matrix.values[key], strict=True):
        if missing := int(np.isnan(values).sum()):
            notes.append(
                f"{line.label}: {key} over {values.size - missing:,} of {values.size:,} requests; "
                "tests use the requests both rows have"
            )
    return notes


def server_notes(matrix: ScoreMatrix) -> list[str]:
    """Say which rows hold prompts that a server did not answer; they count as empty answers."""
    words = {
        "unanswered": "prompts got no answer from the server (-O unanswered)",
        "filtered": "prompts or answers were stopped by the server's content filter",
    }
    return [
        f"{line.label}: {count:,} {said}"
        for line in matrix.lines
        for name, said in words.items()
        if (count := line.about.get(name))
    ]


def power_notes(plan: BoardPlan, tests: int, permutations: int) -> list[str]:
    """Say where so few permutations cannot reach a corrected p below .05."""
    if plan.correction == "none" or tests < ALPHA * (permutations + 1):
        return []
    return [
        f"{permutations:,} permutations are too few for {tests:,} tests: the smallest p is "
        f"{1 / (permutations + 1):.1g}. Compare with --permutations {_PER_TEST * tests}"
    ]


# Metrics of which .5 is what scores that know nothing have.
_EVEN_METRICS = ("auc", "uauc")
EVEN = 0.5


NULL = "uauc_null"  # of click data: the UAUC of a row by chance, in what is known of it


def order_words(row: Row) -> list[str]:
    """Say in which metrics a row orders rows no better than by chance, or the wrong way round.

    Chance is .5, but for a UAUC by chance where that was measured.
    """
    found = []
    for metric in _EVEN_METRICS:
        cell = row.cells.get(metric)
        if cell is None or cell.mean >= EVEN or row.exact:
            continue
        nothing, wrong = "it learned nothing that orders rows", "its scores order rows the wrong way round"
        of_user, null = wrong.replace("rows", "rows of one user"), row.about.get(NULL) if metric == "uauc" else None
        if null is not None:
            if cell.mean > null["high"]:
                continue
            level = f"chance is {null['mean']:.4f} ({null['low']:.4f} to {null['high']:.4f})"
            why = without_zeros(f"{of_user if cell.mean < null['low'] else nothing}, for {level}")
        elif cell.high is None or cell.high >= EVEN:
            why = nothing
        elif metric == "uauc":
            why = f"{of_user}, unless chance is as low, which was not measured"
        else:
            why = wrong
        found.append(f"its {metric} of {without_zeros(f'{cell.mean:.4f}')} is below .5: {why}")
    return found


def order_notes(rows: Sequence[Row]) -> list[str]:
    """Say which language models order rows no better than by chance, or the wrong way round."""
    models = [row for row in rows if row.kind == LANGUAGE_MODEL and row.model != MOCK]
    return [f"{row.label}: {'; '.join(words)}" for row in models if (words := order_words(row))]


Ends: TypeAlias = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class TableBlock:
    """The columns of a sheet that stand together: all requests, or those of a group.

    Args:
        by: What requests are grouped by; empty for all of them.
        group: The name of the group.
        matrix: The values of its requests.
        ends: Both ends of the intervals by metric (lines, 2); NaN where there is none.
        users: How many users its requests are of.
        requests: How many requests it has; of clicks and ratings how many rows.
    """

    by: str
    group: str
    matrix: ScoreMatrix
    ends: Ends
    users: int
    requests: int


Table: TypeAlias = list[dict[str, Cell]]


def mean_block(by: str, group: str, matrix: ScoreMatrix, plan: "BoardPlan") -> TableBlock:
    """Return a block whose metrics are means over requests, with their intervals."""
    metrics = [metric for metric in plan.metrics if metric in matrix.values]
    stack = np.stack([matrix.values[metric] for metric in metrics])
    flat = stack.reshape(-1, stack.shape[2])
    found = mean_interval(flat, samples=plan.samples, seed=plan.seed, clusters=matrix.users)
    ends = found.reshape(*stack.shape[:2], 2)
    named = dict(zip(metrics, ends, strict=True))
    return TableBlock(by, group, matrix, named, matrix.n_users, len(matrix.requests))


def fill_tables(
    blocks: Sequence[TableBlock], plan: BoardPlan, family: Family | None
) -> tuple[list[Table], PairTests, int, int]:
    """Return the cells of each line for each block, the tests of the first block, and how many tests and permutations.

    The p-values of the primary comparisons, which are of the first block, are corrected by themselves.
    """
    lines = blocks[0].matrix.lines
    models = np.array([at for at, line in enumerate(lines) if not line.is_bound], dtype=np.intp)
    pairs = models[all_pairs(len(models))]
    metrics = [metric for metric in plan.metrics if metric in blocks[0].matrix.values]
    tests = pairs.shape[0] * len(metrics) * len(blocks)
    permutations = plan.resamples(tests, 0 if family is None else family.pairs)
    stacks = [np.stack([block.matrix.values[metric] for metric in metrics]) for block in blocks]
    owners = [block.matrix.users for block in blocks]
    p = np.stack(
        [
            sign_flip(stack, pairs, samples=permutations, seed=plan.seed, clusters=users)
            for stack, users in zip(stacks, owners, strict=True)
        ]
    )
    places = {(int(i), int(j)): number for number, (i, j) in enumerate(pairs)}
    primary = np.zeros(p.shape, dtype=np.bool_)
    if family is not None:
        for number, metric in enumerate(metrics):
            primary[0, number] = [family.holds(metric, lines[i].run, lines[j].run) for i, j in places]
    corrected, correct = np.empty_like(p), CORRECTIONS[plan.correction]
    for part in (primary, ~primary):
        corrected[part] = correct(p[part])
    ends = difference_intervals(stacks[0], pairs, samples=plan.samples, seed=plan.seed, clusters=owners[0])
    numbers, tables, tested = {metric: number for number, metric in enumerate(metrics)}, [], []
    for place, block in enumerate(blocks):
        found = PairTests(
            block.matrix, places, numbers, p[place], corrected[place], None if place else ends, primary[place]
        )
        table: Table = [{} for _ in lines]
        for metric in metrics:
            _fill(table, metric, block.ends[metric], found, plan.sign(metric))
        tables.append(table)
        tested.append(found)
    return tables, tested[0], tests, permutations


def _fill(
    table: Table,
    metric: str,
    ends: NDArray[np.float64],
    tested: PairTests,
    sign: float,
) -> None:
    """Add the cells of one metric; lines without a value get none."""
    matrix = tested.matrix
    lines, values = matrix.lines, matrix.values[metric]
    counts = _users_measured(values, matrix)
    means = {at: float(np.nanmean(values[at])) for at in range(len(values)) if counts[at]}
    models = [at for at in means if not lines[at].is_bound]
    best = max(models, key=lambda at: sign * means[at], default=None) if sign else None
    for at, mean in means.items():
        line = lines[at]
        low, high = (mean, mean) if line.exact else (float(ends[at, 0]), float(ends[at, 1]))
        known = line.exact or (counts[at] > 1 and not isnan(low))
        tells = best is not None and best != at and not line.is_bound
        table[at][metric] = Cell(
            mean=mean,
            low=low if known else None,
            high=high if known else None,
            rank=1 + sum(sign * means[other] > sign * mean for other in models) if sign and not line.is_bound else 0,
            versus=tested.contrast(metric, at, best) if tells and best is not None else None,
        )


def _users_measured(values: NDArray[np.float64], matrix: ScoreMatrix) -> NDArray[np.float64]:
    """Return of how many users each line has a value."""
    there = summed((~np.isnan(values)).astype(np.float64), matrix.users)
    return np.asarray((there > 0).sum(1))


def with_spread(line: RunScores, cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Add the standard deviation over seeds, where there are several."""
    if len(line.runs) == 1:
        return dict(cells)
    return {name: replace(cell, spread=float(np.std(line.means[name], ddof=1))) for name, cell in cells.items()}


def build_board(
    entries: Sequence[EvaluatedRun], plan: BoardPlan, *, title: str, protocol: Sequence[str], notes: Sequence[str]
) -> tuple[Board, ScoreMatrix]:
    """Put runs onto one board, sorted by `ndcg@10` or else the first metric; also return the values behind its rows.

    Intervals are of the bootstrap over users, from the same resamples for all rows; a row whose values
    are all 0 or 1 has Wilson's. The best row of a
    metric is chosen by looking, so p-values are corrected for all pairs of rows, not for those with the best alone:
    of twenty copies of one row some would else differ from the best on one board in six (benchmarks/calibration.py).

    Raises:
        OptionError: If a metric was not measured or cannot order rows, or groups hold none of the requests.
        ArtifactError: If a value is not a number.
        IncomparableError: If two rows have no request in common.
    """
    matrix = score_matrix(entries, plan.metrics, plan.users)
    key = plan.key("ndcg@10")
    if key not in matrix.values:
        raise OptionError(
            f"{key} cannot order rows: it is measured for whole runs",
            hint=f"Tests need values of users, such as --primary ndcg@10; --metrics {key} adds its column."
            if plan.primary
            else f"Add a metric of users, which then orders them: --metrics ndcg@10,{','.join(plan.metrics)}.",
        )
    matrix = matrix.ordered(row_order(matrix, key, plan.sign(key)))
    blocks = [
        mean_block("", "", matrix, plan),
        *(
            mean_block(plan.by, group, matrix.at(places), plan)
            for group, places in group_places(matrix.requests, plan).items()
        ),
    ]
    board = assemble(blocks, plan, key=key, title=title, protocol=protocol, notes=notes)
    spreads, said = find_spreads(entries, matrix, key, board.reference, plan.draws)
    return replace(board, spreads=tuple(spreads), notes=(*board.notes, *said)), matrix


def assemble(
    blocks: Sequence[TableBlock],
    plan: BoardPlan,
    *,
    key: str,
    title: str,
    protocol: Sequence[str],
    notes: Sequence[str],
) -> Board:
    """Return the board of blocks, whose first is of all requests: cells, tests over all blocks, costs, notes."""
    matrix = blocks[0].matrix
    family = find_family(matrix, key, plan)
    tables, tested, tests, permutations = fill_tables(blocks, plan, family)
    figured = {metric: plan.sign(metric) for metric in plan.metrics if metric not in matrix.values}
    whole_runs = figures(matrix, figured)
    whole = [
        _row(line, with_spread(line, cells | whole_runs[place]), blocks[0], place)
        for place, (line, cells) in enumerate(zip(matrix.lines, tables[0], strict=True))
    ]
    rows, pareto_by = with_front(whole, key, plan.sign(key))
    sections = [
        Section(
            block.by,
            block.group,
            block.users,
            block.requests,
            tuple(
                _row(line, cells, block, place)
                for place, (line, cells) in enumerate(zip(matrix.lines, table, strict=True))
                if cells
            ),
        )
        for block, table in zip(blocks[1:], tables[1:], strict=True)
    ]
    return Board(
        title=title,
        protocol=(
            *protocol,
            *explained(plan, tests, permutations, front_words(rows, key, pareto_by, plan.unit), family),
        ),
        metrics=plan.metrics,
        rows=tuple(rows),
        notes=(
            *(*notes, *server_notes(matrix), *coverage_notes(blocks, key), *figure_notes(matrix, tuple(figured))),
            *order_notes(rows),
            *power_notes(plan, tests if family is None else max(family.pairs, tests - family.pairs), permutations),
        ),
        key=key,
        pareto_by=pareto_by,
        correction=plan.correction,
        tests=tests,
        permutations=permutations,
        sections=tuple(sections),
        directions=plan.directions,
        unit=plan.unit,
        headline=find_headline(matrix, key, family, tested.of_runs(key)) if plan.sign(key) else None,
        family=family,
        primary=tuple(shown_primary(tested, family)),
        scope=plan.scope,
        differences=tuple(tested.differences()),
    )


def row_order(matrix: ScoreMatrix, key: str, sign: float) -> list[int]:
    """Return the places of lines in the order of a board, the best in a metric first."""
    means = [
        -(sign or 1.0) * float(np.nanmean(row)) if (~np.isnan(row)).any() else float("inf")
        for row in matrix.values[key]
    ]
    lines = matrix.lines
    return sorted(range(len(lines)), key=lambda at: (means[at], lines[at].model, lines[at].setting, lines[at].run))


def group_places(requests: Sequence[str], plan: BoardPlan) -> dict[str, NDArray[np.intp]]:
    """Return the places of the requests of each group, in the order of groups; none where nothing is grouped.

    Raises:
        OptionError: If no request is in a group.
    """
    if plan.groups is None:
        return {}
    index = pl.DataFrame({"request_id": requests}).with_row_index("place")
    found = plan.groups.join(index, on="request_id").drop_nulls("group").sort("order", "group", "place")
    if not found.height:
        raise OptionError(
            f"--by {plan.by}: none of the {len(requests):,} requests is in a group",
            hint="Choose another grouping; this data set lacks what this one needs.",
        )
    parts = found.group_by(["group"], maintain_order=True)
    return {str(name): part["place"].to_numpy().astype(np.intp) for (name,), part in parts}


def _row(line: RunScores, cells: Mapping[str, Cell], block: TableBlock, place: int) -> Row:
    kinds = line.about.get("kinds") or {}
    total = sum(kinds.values())
    values = {name: each[place] for name, each in block.matrix.values.items()}
    there = [each for name, each in values.items() if name not in SHARES]
    return Row(
        run=line.run,
        model=line.model,
        kind=line.kind,
        setting=line.setting,
        cells=cells,
        shares={share: _mean(values[share]) for share in SHARES if share in values},
        exact=line.exact,
        about=line.about,
        seeds=len(line.runs),
        users=max((int(_users_measured(each[None], block.matrix)[0]) for each in there), default=0),
        kinds={kind: count / total for kind, count in kinds.items()},
        cost=cost_of(line.about),
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0
