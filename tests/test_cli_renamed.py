"""Options under the names they had before."""

import pytest
from typer.testing import CliRunner

from command_line import Bench
from llmrs_bench.cli.main import app
from llmrs_bench.cli.renamed import renamed

INFER = {"-O", "-T", "--template-option", "--option", "--candidate-orders", "--target-positions", "--user-profile"}
INFER |= {"--item-notes", "--check-determinism", "--from-cache", "--model", "--seed"}


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("--audit 5", "--check-determinism 5"),
        ("--audit=5", "--check-determinism=5"),
        ("--reparse --model m", "--from-cache --model m"),
        ("--orders 3", "--candidate-orders 3"),
        ("-T orders=3", "--candidate-orders 3"),
        ("-Torders=3", "--candidate-orders 3"),
        ("--template-option=slots=0,5", "--target-positions 0,5"),
        ("--with interest=run", "--user-profile run"),
        ("--with=notes=run", "--item-notes run"),
        ("--loss bce", "-O loss=bce"),
        ("--max-history=5", "-O max_history=5"),
        ("--deterministic", "-O deterministic=true"),
        ("-O tolerate=3", "-O unanswered=3"),
        ("-O waves=false", "-O share_prompt=false"),
        ("-Otolerate=2%", "-O unanswered=2%"),
        ("--option=tolerate=0", "-O unanswered=0"),
        ("--runs a,b --method rrf", "-O runs=a,b -O method=rrf"),
    ],
)
def test_an_old_name_is_read_as_the_new_one_and_said(typed: str, read: str) -> None:
    found, notes = renamed(typed.split(), INFER)
    assert found == read.split()
    assert notes
    assert all(" is now " in note for note in notes)


@pytest.mark.parametrize(
    "typed", ["-T role=recommender", "-O loss=ce --seed 1", "--candidate-orders 3 -T interest=recent"]
)
def test_what_is_written_as_today_stays(typed: str) -> None:
    assert renamed(typed.split(), INFER) == (typed.split(), [])


def test_options_of_another_command_are_not_taken_for_old_ones() -> None:
    assert renamed(["--method", "rrf", "--runs"], {"--method", "--run"}) == (["--method", "rrf", "--runs"], [])


def test_a_command_warns_of_old_names_and_runs(bench: Bench) -> None:
    bench.prepared()
    said = bench.run("prompt", "-d", "small", "--orders", "2")
    assert "warning: --orders is now --candidate-orders" in said.stderr
    new = bench.run("prompt", "-d", "small", "--candidate-orders", "2")
    assert new.stdout == said.stdout
    assert "warning" not in new.stderr


@pytest.mark.parametrize(
    "command", ["prepare", "prompt", "infer", "fuse", "import", "evaluate", "compare", "export", "list"]
)
def test_help_is_short_or_long_and_has_an_example(command: str) -> None:
    long, short = (CliRunner().invoke(app, [command, flag]).stdout for flag in ("--help", "-h"))
    assert long == short
    assert f"Example: llmrs-bench {command}" in long


def test_a_misspelt_option_is_answered_with_the_nearest(bench: Bench) -> None:
    bench.prepared()
    said = bench.run("infer", "-d", "small", "-m", "sasrec", "-O", "drop_out=0.1", "-O", "dim=x", code=2).stderr
    assert "unknown option 'drop_out', did you mean 'dropout'?" in said
    assert "dim=x is not a whole number" in said
    assert "Input should" not in said
