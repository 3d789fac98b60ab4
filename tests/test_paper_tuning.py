"""The script that makes the tuned rows of a paper, with a model of a few thousand weights."""

import json
import re
import zipfile
from pathlib import Path

import pytest

from command_line import Bench
from doc_blocks import ROOT, Block, check, recorded
from llmrs_bench.stages.compare import published_tables
from tiny_models import tiny_llama

SHORT = "SAMPLES=8 RANKS=4 DROPOUTS=0.1 CURVE='0 8'"


def commands(folder: Path, model: str, twin: str) -> list[list[str]]:
    """Return the commands of the script; `<N>` stands for what the N-th one writes."""
    script = (ROOT / "benchmarks" / "paper_tuning.sh").read_text("utf-8")
    typed = f"set -- {model} ml1m@ctr llmrs-bench -O epochs=1 -O valid=8 --device cpu\n{SHORT} INSTRUCT={twin}\n"
    return [words[1:] for words in recorded(Block("paper_tuning.sh", "", typed + script, None), folder)]


def test_every_command_of_the_script_is_one_of_ours(tmp_path: Path) -> None:
    found = commands(tmp_path, "smollm2-135m", "smollm2-135m-instruct")
    for words in found:
        check(words)
    tuned = [" ".join(words) for words in found if words[0] == "tune"]
    for option in ("--method full", "rank=4", "dropout=0.1", "interest=rated", "interest=likes-rated", "--samples 0"):
        assert any(option in text for text in tuned)
    asked = [words for words in found if words[0] == "infer"]
    assert len(asked) == len(tuned) + 2  # both bases as they are
    assert found[-1] == ["compare", "--dataset", "ml1m@ctr", "--published"]


def test_printed_tables_of_tuning_are_there_for_both_data_sets() -> None:
    for dataset in ("ml1m", "amazon-books"):
        tables = published_tables(dataset, "paper-ctr")
        named = " ".join(table.source for table in tables)
        assert all(name in named for name in ("Table 5", "Tables 6 and 7", "Table 14"))
        assert {metric for table in tables for metric in table.metrics} == {"accuracy"}
        assert all(0.4 < value < 1 for table in tables for row in table.rows for value in row.values if value)
    values = {
        (row.model, row.setting): row.values for table in published_tables("ml1m", "paper-ctr") for row in table.rows
    }
    assert values["LLaMA3-8B", "all weights"] == (0.6927,)
    assert values["LLaMA3-8B", "rank 32"] == (0.6746,)


@pytest.mark.slow
def test_the_script_ends_in_a_board_with_all_rows_beside_those_printed(tmp_path: Path) -> None:
    archive = tmp_path / "ml-1m.zip"
    events = [(user, (user * 7 + step * 3) % 40, step) for user in range(20) for step in range(12)]
    ratings = "".join(f"{user}::{film}::{2 + (user + film) % 4}::{100 * step + user}\n" for user, film, step in events)
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("ml-1m/ratings.dat", ratings)
        made.writestr("ml-1m/movies.dat", "".join(f"{n}::Film {n}, The (1990)::Drama\n" for n in range(40)))
    bench = Bench(tmp_path / "home", archive)
    bench.prepare("--task", "click", "--protocol", "paper-ctr", dataset="ml1m@ctr")
    models = [tiny_llama(tmp_path / name, context=512, seed=seed) for seed, name in enumerate(("base", "twin"))]
    outputs: list[str] = []
    for words in commands(tmp_path / "recorded", *map(str, models)):
        asked = [re.sub(r"<(\d+)>", lambda place: outputs[int(place[1])], word) for word in words]
        outputs.append(bench.name(*asked))
    board = json.loads(bench.run("compare", "--dataset", "ml1m@ctr", "--published", "--format", "json").stdout)
    rows = {row["model"] for row in board["rows"]}
    assert {"base", "twin", "base+lora-8", "twin+lora-8", "base+full-8", "twin+full-8", "base+lora-0"} <= rows
    assert len([row for row in board["rows"] if row["model"] == "base+lora-8"]) == 6
    assert "arXiv 2401.04997v2 (ACM TKDD 19, 105), Table 5" in [table["source"] for table in board["published"]]
