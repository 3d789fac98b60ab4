"""A site of all boards, as it is typed."""

import json
import re
from typing import Any

from command_line import Bench


def boards(bench: Bench) -> list[dict[str, Any]]:
    page = (bench.home.parent / "site" / "index.html").read_text("utf-8")
    found = re.search(r'id="site-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    listed: list[dict[str, Any]] = json.loads(found[1])["boards"]
    return listed


def test_a_site_has_every_board_and_remembers_earlier_ones(bench: Bench) -> None:
    bench.prepared()
    bench.prepare("--users", "5", dataset="other")
    folder = bench.home.parent / "site"
    said = bench.run("compare", "--site", str(folder), code=1).stderr
    assert "has a board" in " ".join(said.split())
    assert not folder.exists()
    bench.run("infer", "-d", "small", "-m", "itemknn")
    for _ in range(2):
        done = bench.run("compare", "--site", str(folder), "--html-requests", "2")
        assert "(1 board)" in done.stderr
    (board,) = boards(bench)
    assert len(board["trend"]) == 1  # the same results are no other time
    page = (folder / board["link"]).read_text("utf-8")
    assert 'href="../index.html"' in page
    bench.run("infer", "-d", "small", "-m", "mock")
    bench.run("compare", "--site", str(folder), "--html-requests", "0")
    (board,) = boards(bench)
    assert len(board["trend"]) == 2
    assert (board["ours"], board["stand_in"]) == (None, True)
    assert board["cautions"] == [["few users", f"{board['size'].split()[0]} users are few"]]
    said = bench.run("compare", "--site", str(folder), "--metrics", "mrr", code=2).stderr
    assert "--site shows the boards of all data sets as they are, so --metrics would have no effect" in said
    said = bench.run("compare", "-d", "small", "--html", "a.html", "--site", str(folder), code=2).stderr
    assert "so --dataset and --html would have no effect" in said
    assert "For one page alone: compare --dataset NAME --html FILE." in said
