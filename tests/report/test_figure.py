"""Charts as files: what they show is what the board says."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from board_cases import board, entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import Board
from llmrs_bench.report.figure import save_figure

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
    for chart in ("differences", "means", "cost"):
        text = svg(made, tmp_path / f"{chart}.svg", chart=chart)
        assert re.search(r'<svg .*width="241\.2pt"', text)  # 3.35 inches
        assert text == svg(made, tmp_path / "again.svg", chart=chart)
        assert "lm $x$" in text
    assert "difference in ndcg@10 from" in svg(made, tmp_path / "d.svg", chart="differences")
    assert "itemknn" not in svg(made, tmp_path / "c.svg", chart="cost")  # its cost is not known
    assert "itemknn" not in svg(made, tmp_path / "r.svg", chart="means", rows=("sasrec", "lm-1"))
    for name, begins in (("x.pdf", b"%PDF"), ("x.png", b"\x89PNG")):
        save_figure(made, tmp_path / name, "means")
        assert (tmp_path / name).read_bytes().startswith(begins)


def test_what_cannot_be_written_is_said(made: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"a figure ends in \.pdf, \.svg, \.png"):
        save_figure(made, tmp_path / "x.gif", "means")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OptionError) as caught:
        save_figure(made, tmp_path / "x.pdf", "means")
    assert "llmrs-bench[figures]" in (caught.value.hint or "")
