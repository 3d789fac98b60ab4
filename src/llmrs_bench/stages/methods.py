"""The methods paragraph of a paper, drafted from manifests: each number says which file and key it is from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.core.config import CompareConfig
from llmrs_bench.leaderboard.board import Row, told_apart
from llmrs_bench.leaderboard.build import CORRECTION_WORDS
from llmrs_bench.report.headline import headline
from llmrs_bench.stages.compare import Comparison
from llmrs_bench.stages.workspace import Data, open_runs

_LIBRARIES = ("llmrs-bench", "python", "torch", "transformers", "vllm", "numpy", "polars")


@dataclass(slots=True)
class _Draft:
    """Sentences, and where their values are from; the same value of the same place has one number."""

    sources: dict[tuple[str, str], int] = field(default_factory=dict)

    def cited(self, value: Any, place: str, key: str) -> str:
        """Return a value with the number of its source."""
        number = self.sources.setdefault((place, key), len(self.sources) + 1)
        text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        return f"{text} [{number}]"

    def listed(self) -> list[str]:
        """Return the sources in their order."""
        return [f"[{number}] {place}: {key}" for (place, key), number in self.sources.items()]


def methods_text(data: Data, comparison: Comparison, config: CompareConfig) -> str:
    """Return paragraphs on data, models, measures and costs of a board, and a list of where each number is from.

    Args:
        data: The prepared data set.
        comparison: Its board.
        config: How the board was made.

    Raises:
        ArtifactError: If the manifest of a run cannot be read.
    """
    draft, board = _Draft(), told_apart(comparison.board)
    runs = {run.path.name: run for run in open_runs(data) if run.path.name in {row.run for row in board.rows}}
    lines = [
        f"Data. {_data_words(draft, data)}",
        "",
        f"Models. {' '.join(_row_words(draft, row, runs[row.run]) for row in board.rows if row.run in runs)}",
        "",
        f"Measures. {_test_words(draft, comparison, config)} {'; '.join(_rules(board.protocol))}.",
        "",
        f"Results. {' '.join(headline(board))}",
        "",
        f"Software. {_version_words(draft, data, runs)}",
        "",
        "Where the numbers are from (`board`: compare --format json; other names: manifest.json of that folder):",
        *draft.listed(),
    ]
    return "\n".join(lines)


def _rules(protocol: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a protocol but the first, which the data are told by, and what the marks of a board mean."""
    yield from (line for line in protocol[1:] if not line.startswith(("=:", "*:")))


def _data_words(draft: _Draft, data: Data) -> str:
    manifest = data.artifact.manifest
    facts, place = manifest.facts, f"{data.place.reference}/data"
    kept = [
        f"{draft.cited(facts['kept'][name], place, f'facts.kept.{name}')} {name}"
        for name in ("users", "items", "interactions")
    ]
    requests = draft.cited(facts["requests"], place, "facts.requests")
    seed = draft.cited(manifest.config["seed"], place, "config.seed")
    source = draft.cited(manifest.inputs["source"][:12], place, "inputs.source")
    return (
        f"We use {manifest.config['dataset']}, {', '.join(kept)} (digest of the source {source}"
        f"{'' if facts['verified'] else ', whose files were not verified'}); {requests} test "
        f"requests, drawn with seed {seed}."
    )


def _row_words(draft: _Draft, row: Row, run: Artifact) -> str:
    facts, place = run.manifest.facts, run.path.name
    parts = [f"seed {draft.cited(facts['seed'], place, 'facts.seed')}"] if facts.get("seed") is not None else []
    if facts.get("history") is not None:
        parts.append(f"{draft.cited(facts['history'], place, 'facts.history')} history items")
    for name, words in (("engine", "engine"), ("fit_on", "fitted on")):
        if facts.get(name):
            parts.append(f"{words} {draft.cited(facts[name], place, f'facts.{name}')}")
    for name, words in (("seconds", "seconds"), ("prefill_tokens", "tokens read"), ("price_usd", "USD")):
        if facts.get(name) is not None:
            value = round(facts[name], 1) if name == "seconds" else facts[name]
            parts.append(f"{draft.cited(value, place, f'facts.{name}')} {words}")
    seeds = f", the first of {row.seeds} seeds" if row.seeds > 1 else ""
    return f"{row.label} ({row.kind}{seeds}): {', '.join(parts) or 'nothing to choose'}."


def _test_words(draft: _Draft, comparison: Comparison, config: CompareConfig) -> str:
    board = comparison.board
    samples = draft.cited(config.samples, "board", "--samples")
    permutations = draft.cited(board.permutations, "board", "permutations")
    seed = draft.cited(config.seed, "board", "--seed")
    words = (
        f"Intervals are from {samples} resamples of users, p-values from paired sign-flip tests with {permutations} "
        f"sign vectors (seed {seed}), corrected by {CORRECTION_WORDS[board.correction]}"
    )
    if board.family is None:
        return f"{words} over {draft.cited(board.tests, 'board', 'tests')} pairs."
    pairs = draft.cited(board.family.pairs, "board", "primary.pairs")
    kind = "declared" if board.family.declared else "undeclared"
    tests = draft.cited(board.tests, "board", "tests")
    return f"{words} over {pairs} {kind} primary pairs, and over the others of {tests}."


def _version_words(draft: _Draft, data: Data, runs: Mapping[str, Artifact]) -> str:
    """Name the versions that made the data and the runs; one that differs among runs is named with each."""
    found: dict[tuple[str, str], str] = {}
    places = {f"{data.place.reference}/data": data.artifact, **runs}
    for place, artifact in places.items():
        for name, version in artifact.manifest.versions.items():
            if name in _LIBRARIES:
                found.setdefault((name, version), place)
    return ", ".join(f"{name} {draft.cited(v, place, f'versions.{name}')}" for (name, v), place in found.items()) + "."
