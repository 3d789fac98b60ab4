"""Size of the HTML report of a large board, and seconds until a browser can work with it.

    python benchmarks/html_report.py --browser

The board is made up: 50 runs, half of them language models with templates of their own, of 6,040 users and 5 metrics,
in three groups, with a sample of `--requests`. With `--browser` the page is opened in headless Chromium (`chromium` and
`chromedriver` on the path, `selenium` installed). Interactive is when sorting, filtering and all charts are there,
counted from the start of the navigation; the sample of requests is unpacked after that.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from llmrs_bench.core.schemas import METRICS
from llmrs_bench.leaderboard import Board, BoardPlan, EvaluatedRun, build_board
from llmrs_bench.report.html import Call, Extra, Ranked, Sampled, Title, to_html

NAMES = ("ndcg@10", "hit@1", "hit@10", "mrr", "map@10")
CANDIDATES, HISTORY, ITEMS = 20, 10, 3706
WORDS = ("star", "night", "river", "king", "silent", "last", "broken", "golden", "city", "garden", "winter", "train")


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--users", type=int, default=6040)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--calls", type=int, default=1, help="calls of a language model for each request")
    parser.add_argument("--browser", action="store_true", help="open the page in Chromium")
    parser.add_argument("--keep", type=Path, help="also write the page here")
    args = parser.parse_args()
    board = make_board(args.runs, args.users)
    extra = make_extra(board, args.requests, args.users, args.calls)
    started = time.perf_counter()
    page = to_html(board, extra).encode()
    seconds = time.perf_counter() - started
    rows = [("size of the file", f"{len(page) / 1e6:.2f} MB"), ("seconds to write it", f"{seconds:.2f}")]
    if args.keep:
        args.keep.write_bytes(page)
    if args.browser:
        rows += in_browser(page)
    print(f"{args.runs} runs x {args.users:,} users x {len(NAMES)} metrics, {args.requests} requests\n")
    print("| figure | value |\n| --- | ---: |")
    for name, value in rows:
        print(f"| {name} | {value} |")


def make_board(runs: int, users: int) -> Board:
    """Return a board of random values; few permutations, since only their number matters to the page."""
    rng = np.random.default_rng(0)
    requests = [f"test-{user}" for user in range(users)]
    entries = []
    for run in range(runs):
        values = {name: np.clip(rng.normal(0.3 + 0.008 * run, 0.25, users), 0, 1) for name in NAMES}
        values |= {"coverage": np.ones(users), "answered": np.ones(users)}
        frame = pl.concat(
            [
                pl.DataFrame({"request_id": requests, "metric": [name] * users, "value": column}, schema=METRICS)
                for name, column in values.items()
            ]
        )
        written = run % 2 == 0
        about = {
            "requests": users,
            "seconds": float(10 ** rng.uniform(0, 4)),
            "prefill_tokens": 2_000_000 if written else None,
            "completion_tokens": 400_000 if written else None,
            "history": HISTORY,
            "command": f"llmrs-bench infer --model org/model-{run} --dataset ml1m --template listwise",
            "fingerprint": f"{rng.integers(2**62):016x}",
            "kinds": {"complete": 5000, "partial": 700, "duplicates": 200, "format": 100} if written else {},
        }
        kind = "language model" if written else "recommender"
        entries.append(EvaluatedRun(f"run-{run:02d}", f"model-{run:02d}", kind, f"setting={run}", frame, about=about))
    groups = pl.DataFrame(
        {
            "request_id": requests,
            "group": [("head", "middle", "tail")[user % 3] for user in range(users)],
            "order": [user % 3 for user in range(users)],
        }
    )
    plan = BoardPlan(NAMES, samples=200, permutations=1000, correction="none", by="popularity", groups=groups)
    protocol = ["6,040 users, 3,706 items, 1,000,209 interactions", "20 candidates: target and random"]
    return build_board(entries, plan, title="ml1m@made-up", protocol=protocol, notes=[])[0]


def make_extra(board: Board, count: int, users: int, asked: int) -> Extra:
    """Return a sample with prompts as long as those of the template `listwise`, worded otherwise for each run."""
    rng = np.random.default_rng(1)
    titles = {
        f"i{item}": Title(f"The {' '.join(rng.choice(WORDS, 3))} {item}".title(), f"({1920 + item % 80}; Drama)")
        for item in range(ITEMS)
    }
    written = [row.run for row in board.rows if row.kind == "language model"]
    sampled = []
    for request in range(count):
        items = [f"i{item}" for item in rng.choice(ITEMS, CANDIDATES + HISTORY, replace=False)]
        shown, history = items[:CANDIDATES], items[CANDIDATES:]
        rankings = {}
        for place, row in enumerate(board.rows):
            order = tuple(shown[at] for at in rng.permutation(CANDIDATES))
            calls: tuple[Call, ...] = ()
            if row.run in written:
                calls = tuple(
                    _call(f"test-{request}~{number}", place, [titles[item].title for item in past_and_order])
                    for number in range(asked)
                    for past_and_order in [[*history, *(shown[at] for at in rng.permutation(CANDIDATES)), *order]]
                )
            scores = tuple(float(score) for score in np.sort(rng.normal(size=CANDIDATES))[::-1])
            rankings[row.run] = Ranked(order, scores, {shown[0]: order.index(shown[0]) + 1}, calls, len(calls))
        sampled.append(
            Sampled(f"test-{request}", str(request), tuple(history), tuple(shown), (shown[0],), rankings),
        )
    used = {item for request in sampled for item in (*request.history, *request.candidates)}
    slots = [
        {"slot": slot, "targets": users // CANDIDATES}
        | {f"{name}{end}": float(rng.uniform()) for name in ("ndcg", "chosen") for end in ("", "_low", "_high")}
        for slot in range(CANDIDATES)
    ]
    bias = {"requests": users, "views": users, "slots": slots, "kendall_tau": None, "single": 0.5, "joined": 0.5}
    return Extra(dict.fromkeys(written, bias), tuple(sampled), {k: v for k, v in titles.items() if k in used}, users)


def _call(name: str, run: int, titles: Sequence[str]) -> Call:
    """Return a call that tells a history and candidates; the rest of the titles is the answer."""
    history, shown, order = titles[:HISTORY], titles[HISTORY : HISTORY + CANDIDATES], titles[HISTORY + CANDIDATES :]
    past = "\n".join(f"- {title}" for title in history)
    told = "\n".join(f"{number}. {title}" for number, title in enumerate(shown, 1))
    prompt = f"You are recommender {run}. A user chose:\n{past}\n\nCandidates:\n{told}\n\nRank all of them, best first."
    answer = "\n".join(f"{number}. {title}" for number, title in enumerate(order, 1))
    return Call(name, (("user", prompt),), answer, finish="stop")


def in_browser(page: bytes, loads: int = 5) -> list[tuple[str, str]]:
    """Return how long Chromium takes, as the median of several loads."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or ""))
    interactive, whole, sorting = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        path.write_bytes(page)
        for _ in range(loads):
            browser.get(path.as_uri())
            WebDriverWait(browser, 60).until(
                lambda open_page: open_page.execute_script("return document.documentElement.dataset.ready") == "all"
            )
            marks = "return ['interactive', 'sampled'].map((name) => performance.getEntriesByName(name)[0].startTime)"
            first, last = browser.execute_script(marks)
            interactive.append(first / 1000)
            whole.append(last / 1000)
            sorting.append(browser.execute_async_script(_SORT) / 1000)
    browser.quit()
    return [
        ("seconds until interactive, first load", f"{interactive[0]:.2f}"),
        ("seconds until interactive, median of five loads", f"{statistics.median(interactive):.2f}"),
        ("seconds until the sample is there, too", f"{statistics.median(whole):.2f}"),
        ("seconds of a sort, until it is painted", f"{statistics.median(sorting):.3f}"),
    ]


_SORT = """
const done = arguments[0], started = performance.now();
document.querySelectorAll("#board-table thead button")[2].click();
requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)));
"""

if __name__ == "__main__":
    main()
