"""Results that papers printed for a data set, shown beside a board."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

from llmrs_bench.core.config import CLICK, MODELS, RATING, WHOLE, CompareConfig, PrepareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import Board, PublishedRow, PublishedTable, Row
from llmrs_bench.leaderboard.board import PublishedMatch
from llmrs_bench.stages.workspace import Data

# What papers call models that are the same here, or whose weights are known; {} is the size in billions.
_MODELS = {
    **{"Random": "random", "Pop": "popularity", "SASRec": "sasrec", "BERT4Rec": "bert4rec", "GRU4Rec": "gru4rec"},
    **{"BPR": "bprmf", "BPRMF": "bprmf", "MF-BPR": "bprmf", "FPMC": "fpmc", "BM25": "bm25", "DIN": "din"},
    **{"LLaMA": "llama-{}b", "LLaMA2": "llama-2-{}b", "LLaMA2-chat": "llama-2-{}b-chat", "LLaMA3": "llama-3-{}b"},
    **{"Vicuna": "vicuna-{}b", "ChatGLM": "chatglm-{}b", "ChatGLM2": "chatglm2-{}b-32k"},
    **{"DeepSeek-V3": "deepseek-v3", "DeepSeek-R1": "deepseek-r1"},
}
# What differences between protocols are called.
_WORDS = {
    "n_candidates": "list length",
    "include_seen": "seen items",
    "min_rating": "least rating",
    "k_core": "k-core",
}


def published_tables(dataset: str, clicks: str | None = None) -> list[PublishedTable]:
    """Return what was printed for a data set, in the order of files and tables.

    Rankings and clicks have tables of their own: those of clicks name the protocol, `clicks`.

    A row is [model, setting, values]; a value that is no number was not printed.
    """
    found = []
    for file in sorted((files("llmrs_bench") / "published").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            tables = tomllib.loads(file.read_text("utf-8"))["tables"]
            found += [_table(each) for each in tables if dataset in each["data"] and each.get("clicks") == clicks]
    return found


def with_published(board: Board, data: Data, config: CompareConfig) -> Board:
    """Return the board with what was printed for the data, where it is asked for."""
    if not config.published and config.published_table is None:
        return board
    options = data.artifact.manifest.config
    dataset = str(options["dataset"])
    if data.task == RATING:
        return replace(board, notes=(*board.notes, f"no printed table is known for ratings of {dataset}"))
    protocol = options.get("protocol") or "its own split" if data.task == CLICK else None
    if tables := published_tables(dataset, protocol):
        ours = _own_protocol(data)
        chosen = (
            replace(table, matches=tuple(_matches(table, board, ours)))
            for table in _chosen_tables(tables, config.published_table)
        )
        return replace(board, published=tuple(chosen))
    known = dataset if protocol is None else f"clicks of {dataset} by {protocol}"
    return replace(board, notes=(*board.notes, f"no printed table is known for {known}"))


def _chosen_tables(tables: Sequence[PublishedTable], name: str | None) -> list[PublishedTable]:
    """Return the tables whose source has all parts of a name (`table-4`, `2401.04997/table-4`) as whole words.

    Raises:
        OptionError: If none has.
    """

    def words(text: str) -> str:
        """Return the words of a text, each between two blanks, papers without their version."""
        found = re.findall(r"[^\W_]+", re.sub(r"(\d)v\d+\b", r"\1", text.lower()))
        return f" {' '.join(found)} "

    chosen = [
        table for table in tables if name is None or all(words(part) in words(table.source) for part in name.split("/"))
    ]
    if not chosen:
        known = "; ".join(dict.fromkeys(table.source for table in tables))
        raise OptionError(
            f"--published-table {name}: no printed table of this data set has this name", hint=f"Printed: {known}."
        )
    return chosen


def known_as(printed: PublishedRow) -> str | None:
    """Return what we call the model of a printed row; None where it is none that is known here, or may be another."""
    size = re.search(r"(\d+)B$", printed.setting) or re.search(r"-(\d+)B$", printed.model)
    name = _MODELS.get(re.sub(r"-\d+B$", "", printed.model))
    if name is None or "{}" not in name:
        return name
    return name.format(size[1]) if size else None


def _matches(table: PublishedTable, board: Board, ours: Mapping[str, Any]) -> Iterator[PublishedMatch]:
    """Yield each pair of a row of the board and a printed row of the same model, and in what they differ."""
    tuned_by = str(table.stated.get("method", ""))
    names = [(printed, known_as(printed), tuned_by or _tuned_by(printed)) for printed in table.rows]
    for row in board.rows:
        model, tuned = row.model, ""
        if found := re.fullmatch(r"(.+?)\+(lora|full)(?:-.*)?", model):
            model, tuned = found[1], found[2]
        for printed, name, method in names:
            if name == model and method == tuned:
                yield PublishedMatch(row.run, printed, tuple(_differences(table, printed, row, ours)))


def _tuned_by(printed: PublishedRow) -> str:
    """Return by which method of ours the model of a printed row was tuned; nothing where it was not."""
    if printed.setting == "all weights":
        return "full"
    return "lora" if re.match(r"LoRA|rank|dropout", printed.setting) else ""


def _differences(
    table: PublishedTable, printed: PublishedRow, row: Row, ours: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield in what a row of ours was made differently from a printed one, as far as the source says how that was."""
    stated = {name: value for name, value in table.stated.items() if name != "method"}
    if found := re.fullmatch(r"history (\d+)", printed.setting):
        stated["history"] = int(found[1])
    own = {**ours, "history": row.about.get("history")}
    for name, theirs in stated.items():
        if name == "history" and (row.kind != "language model" or own[name] is None):  # others read what they learned
            continue
        if name == "n_candidates" and WHOLE in (stated.get("candidates"), own["candidates"]):
            continue
        if own.get(name) != theirs:
            yield _WORDS.get(name, name), _said(name, own.get(name)), _said(name, theirs)


def _said(name: str, value: Any) -> str:
    """Return the value of a protocol in words."""
    if name == "include_seen":
        return "may be candidates" if value else "excluded"
    return "none" if value in (None, 0) else f"{value:,}" if isinstance(value, int) else str(value)


def _own_protocol(data: Data) -> dict[str, Any]:
    """Return how the data were prepared, by the names that tables state theirs by."""
    options, kept = data.artifact.manifest.config, data.artifact.facts["kept"]
    candidates = str(options.get("candidates", ""))
    if candidates.startswith(MODELS):
        candidates = "found by a model"
    names = ("split", "n_candidates", "include_seen", "min_rating", "k_core")
    usual = PrepareConfig(dataset=str(options["dataset"])).model_dump()  # options that came later may be absent
    return {
        **{name: options.get(name, usual[name]) for name in names},
        "candidates": candidates,
        "users": data.artifact.table("requests")["user_id"].n_unique(),
        "interactions": kept["interactions"],
        "items": kept["items"],
    }


def _table(table: dict[str, Any]) -> PublishedTable:
    rows = [
        PublishedRow(model, setting, tuple(None if isinstance(value, str) else float(value) for value in values))
        for model, setting, values in table["rows"]
    ]
    return PublishedTable(
        table["title"],
        table["source"],
        table["protocol"],
        tuple(table["metrics"]),
        tuple(rows),
        table.get("stated", {}),
    )
