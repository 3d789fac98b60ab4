"""Primary comparisons as they are typed."""

import json

import pytest

from command_line import Bench


@pytest.fixture
def three(bench: Bench) -> Bench:
    bench.prepared()
    for model in ("itemknn", "mock"):
        bench.run("infer", "-d", "small", "-m", model)
    return bench


def test_a_row_goes_by_the_name_it_was_given(three: Bench) -> None:
    three.run("infer", "-d", "small", "-m", "mock", "--seed", "3", "--name", "likely")
    found = json.loads(three.run("compare", "-d", "small", "--main", "likely", "--format", "json").stdout)
    (main,) = found["primary"]["main"]
    assert next(row for row in found["rows"] if row["run"] == main)["called"] == "likely"
    latex = three.run("compare", "-d", "small", "--rows", "likely", "--format", "latex").stdout
    assert "seed 3" in latex
    said = " ".join(three.run("compare", "-d", "small", "--main", "lik", code=2).stderr.split())
    assert "mock (listwise, seed 3), called likely" in said


def test_primary_comparisons_are_named_and_said(three: Bench) -> None:
    typed = ("--primary", "mrr", "--against", "itemknn", "--against", "popularity")
    found = json.loads(three.run("compare", "-d", "small", *typed, "--format", "json").stdout)
    assert (found["key"], found["primary"]["pairs"]) == ("mrr", 2)
    assert "primary comparisons: declared, in mrr; Holm over 2 pairs" in found["protocol"]
    rows = three.run("compare", "-d", "small", *typed, "--format", "csv").stdout.splitlines()
    assert "mrr_primary" in rows[0].split(",")
    text = " ".join(three.run("compare", "-d", "small", *typed, "--protocol").stdout.split())
    assert "primary comparisons: declared, in mrr; Holm over 2 pairs" in text
    assert "(Holm over 2 primary pairs)" in text
    said = three.run("compare", "-d", "small", "--against", "sasrec", code=2).stderr
    assert "--against sasrec: no row has this name" in " ".join(said.split())
    said = three.run("compare", "-d", "small", "--protocol", "--format", "csv", code=2).stderr
    assert "--protocol has no effect without a board in the terminal" in " ".join(said.split())
