"""Charts as files: what they show is what the board says."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from board_cases import board, entry
from click_board_cases import click_board, click_entry
from curve_cases import curves, trained, tuned
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import Board
from llmrs_bench.report.drawing import row_names
from llmrs_bench.report.figure import Chart, save_curves, save_figure
from page_cases import HOSTILE, LANGUAGE, made_bias, made_board

NOISE = np.random.default_rng(0).normal(0, 0.05, (3, 60))


@pytest.fixture(scope="module")
def made() -> Board:
    about = {"requests": 60, "seconds": 3.0}
    rows = [
        entry("sasrec", 0.7 + NOISE[0], about=about),
        entry("lm-1", 0.4 + NOISE[1], model="lm $x$", kind="language model", about=about),
        entry("itemknn", 0.7 + NOISE[2], about={}),
    ]
    return board(rows)[0]


def svg(made: Board, path: Path, **options: Any) -> str:
    save_figure(made, path, **options)
    return path.read_text("utf-8")


def test_charts_are_files_of_the_width_of_a_column(made: Board, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'llmrs-bench[figures]'")
    texts = {chart: svg(made, tmp_path / f"{chart}.svg", chart=chart) for chart in ("differences", "means", "cost")}
    for text in texts.values():
        assert re.search(r'<svg .*width="241\.2pt"', text)  # 3.35 inches
        assert "lm $x$" in text
    assert texts["means"] == svg(made, tmp_path / "again.svg", chart="means")
    assert "difference in ndcg@10" in texts["differences"]
    assert "from sasrec" in texts["differences"]
    assert "itemknn" in texts["means"]
    assert "itemknn" not in texts["cost"]  # its cost is not known
    assert "itemknn" not in svg(made, tmp_path / "r.svg", chart="means", rows=("sasrec", "lm-1"))
    for name, begins in (("x.pdf", b"%PDF"), ("x.png", b"\x89PNG")):
        save_figure(made, tmp_path / name, "means")
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_curves_are_drawn_with_their_levels(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'llmrs-bench[figures]'")
    rows = [tuned(samples, mean) for samples, mean in ((0, 0.3), (16, 0.4), (256, 0.5))]
    save_curves(curves([*rows, trained("sasrec", 0.6)]), tmp_path / "c.svg")
    text = (tmp_path / "c.svg").read_text("utf-8")
    for words in ("samples (logarithmic)", "ndcg@10", ">0<", ">16<", ">256<", "smol+lora", "sasrec"):
        assert words in text


def test_no_two_of_many_curves_look_the_same(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'llmrs-bench[figures]'")
    rows = [tuned(samples, 0.3, rank=rank) for rank in range(1, 9) for samples in (0, 16)]
    save_curves(curves(rows), tmp_path / "c.svg")
    legend = (tmp_path / "c.svg").read_text("utf-8").partition('id="legend_1"')[2]
    looks = re.findall(r'<path d="[^"]*" clip-path="[^"]*" style="([^"]*)"/>|<path d="[^"]*" style="([^"]*)"/>', legend)
    lines = [one or other for one, other in looks if "fill: none" in (one or other)]
    assert len(set(lines)) == len(lines) == 8


def words_of(path: Path) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", path.read_text("utf-8"))


def test_groups_show_the_best_row_of_each_kind_in_front(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'llmrs-bench[figures]'")
    path = tmp_path / "g.svg"
    assert save_figure(made_board(), path, "groups") == "in colour: the best of each kind, 3 of 5 rows"
    words = words_of(path)
    for said in ("few events", "many events", "20", "history, and number of users", "ndcg@10", "alpha", "other rows"):
        assert said in words
    assert "beta (dim=8)" not in words
    assert save_figure(made_board(), path, "groups", ("beta", LANGUAGE)) == ""
    assert "beta (dim=8)" in words_of(path)
    assert "other rows" not in words_of(path)


def test_slots_of_the_best_language_model_are_drawn_beside_those_of_others(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'llmrs-bench[figures]'")
    path, biases = tmp_path / "s.svg", {LANGUAGE: made_bias()}
    assert save_figure(made_board(), path, "slots", biases=biases) == ""
    assert {"0", "5", "slot, from 0", "all slots alike", "share of first choices"} <= set(words_of(path))
    assert "other rows" not in words_of(path)
    more = save_figure(made_board(), path, "slots", biases={**biases, "beta": made_bias(), "alpha": made_bias()})
    assert more == "in colour: the best of each kind, 2 of 3 rows"
    assert {"alpha", "other rows"} <= set(words_of(path))


def test_answers_are_shares_of_their_kinds(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'llmrs-bench[figures]'")
    path = tmp_path / "a.svg"
    assert save_figure(made_board(), path, "answers") == ""  # 30 complete, 6 partial and 4 refused of 40
    assert {"75 %", "15 %", "10 %", "complete", "partial", "refused"} <= set(words_of(path))
    assert "truncated" not in words_of(path)
    assert HOSTILE not in path.read_text("utf-8")  # escaped


def test_reliability_has_a_panel_for_each_row_that_states_probabilities(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'llmrs-bench[figures]'")
    bins = [{"low": 0.1, "high": 0.2, "rows": 9, "probability": 0.15, "liked": 0.3}]
    runs = {"first": {"raw": bins, "calibrated": bins}, "second": {"calibrated": bins}, "third": {}}
    entries = [
        click_entry(run, noise, about={"reliability": found})
        for (run, found), noise in zip(runs.items(), (0.1, 0.5, 0.9), strict=True)
    ]
    clicks, path = click_board(entries, ("auc",))[0], tmp_path / "r.svg"
    assert save_figure(clicks, path, "reliability") == "drawn: the best of each kind, 1 of 2 rows"
    assert save_figure(clicks, path, "reliability", tuple(runs)) == ""
    words = words_of(path)
    for said in ("first", "second", "mean probability", "share liked", "as the model states it", "calibrated"):
        assert said in words
    assert "third" not in words


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        ("groups", "the board has no groups to draw"),
        ("slots", "no row has a position bias"),
        ("answers", "no row has kinds of answers"),
        ("reliability", "no row has click probabilities"),
    ],
)
def test_a_board_without_anything_of_a_chart_says_so(made: Board, tmp_path: Path, chart: Chart, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        save_figure(made, tmp_path / "x.svg", chart)
    assert caught.value.hint
    assert not (tmp_path / "x.svg").exists()


def test_no_two_rows_of_a_chart_are_called_the_same() -> None:
    settings = {
        "a": ("lm-of-a-long-name", "listwise, epochs=8, batch_tokens=16384"),
        "b": ("lm-of-a-long-name", "label, epochs=2, batch_tokens=16384"),
        "c": ("lm-of-a-long-name+lora", "listwise, epochs=8, batch_tokens=16384"),
        "d": ("lm-of-a-long-name+lora", "label, epochs=2, batch_tokens=16384"),
    }
    rows = board([entry(run, NOISE[0], model=model, setting=setting) for run, (model, setting) in settings.items()])
    names = {row.run: name for row, name in zip(rows[0].rows, row_names(rows[0].rows), strict=True)}
    assert len(set(names.values())) == len(names)
    for run, kept in (("a", "(listwise)"), ("b", "(label)"), ("c", "+lora (listwise)"), ("d", "+lora (label)")):
        assert names[run].endswith(kept)
        assert len(names[run]) <= 28


def test_what_cannot_be_written_is_said(made: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"a figure ends in \.pdf, \.svg, \.png"):
        save_figure(made, tmp_path / "x.gif", "means")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OptionError) as caught:
        save_figure(made, tmp_path / "x.pdf", "means")
    assert "llmrs-bench[figures]" in (caught.value.hint or "")
