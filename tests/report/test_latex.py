"""Tables for papers: chosen columns and rows, marks, and a real LaTeX that reads them."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from board_cases import board, entry
from llmrs_bench.core.errors import OptionError
from llmrs_bench.leaderboard import Board
from llmrs_bench.report.latex import to_latex

NASTY = "a_b & 50% of $x_1^2 {q} ~#<>\\cmd \u00b1"
LATEX = shutil.which("pdflatex")
NOISE = np.random.default_rng(0).normal(0, 0.05, (3, 60))


@pytest.fixture(scope="module")
def made() -> Board:
    about = {"requests": 60, "seconds": 3.0}
    rows = [
        entry("sasrec-1", {"ndcg@10": 0.7 + NOISE[0], "hit@1": 0.5 + NOISE[1]}, model="sasrec", about=about),
        entry("lm-1", {"ndcg@10": 0.4 + NOISE[1], "hit@1": 0.3 + NOISE[2]}, model=NASTY, kind="language model"),
        entry("knn-1", {"ndcg@10": 0.7 + NOISE[2], "hit@1": 0.5 + NOISE[0]}, model="itemknn", setting="k=5"),
    ]
    return board(rows, ("hit@1", "ndcg@10"))[0]


def captions(text: str) -> list[str]:
    return re.findall(r"\\caption\{(.*)\}", text)


def test_captions_are_short_and_the_protocol_is_a_comment(made: Board) -> None:
    text = to_latex(made)
    assert len(captions(text)) == 3
    for caption in captions(text):
        assert len(caption) < 260
    for line in made.protocol:
        assert f"% {line}" in text.splitlines()


def test_differences_and_p_are_a_table_of_their_own_with_marks(made: Board) -> None:
    primary, exploratory = captions(to_latex(made))[1:]
    best = made.rows[0]
    assert f"primary differences in ndcg@10 from {best.label}" in primary
    assert "Holm over 2 primary pairs" in primary
    assert "exploratory differences" in exploratory
    versus = next(pair.contrast for pair in made.primary)
    line = next(line for line in to_latex(made).splitlines() if f"{abs(versus.difference):.4f} &" in line)
    assert line.count(r"$^{\dagger}$") == (versus.corrected < 0.05) == 1
    assert "$-$" in line


def test_columns_and_rows_are_chosen(made: Board) -> None:
    text = to_latex(made, columns=["ndcg@10", "seconds"], rows=["sasrec", "knn"])
    assert r"model & ndcg@10 & seconds \\" in text
    assert "50" not in "".join(line for line in text.splitlines() if line.endswith(r"\\"))
    assert len(captions(text)) == 2  # no primary pair has a row left
    with pytest.raises(OptionError, match="--columns mrr: the board has no such column"):
        to_latex(made, columns=["mrr"])
    with pytest.raises(OptionError, match="--rows bert: no row has this name"):
        to_latex(made, rows=["bert"])


@pytest.mark.skipif(LATEX is None, reason="no pdflatex here (Debian: apt-get install texlive-latex-recommended)")
def test_a_real_latex_reads_it(made: Board, tmp_path: Path) -> None:
    text = to_latex(made) + to_latex(made, columns=["ndcg@10", "seconds", "target ranked"], rows=["sasrec"])
    frame = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n%s\n\\end{document}\n"
    (tmp_path / "board.tex").write_text(frame % text, "utf-8")
    command = [str(LATEX), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "board.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "board.pdf").stat().st_size > 1000
