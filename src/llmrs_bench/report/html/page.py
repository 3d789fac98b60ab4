"""The page: values, style and scripts in one file, with a policy that admits nothing else."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from llmrs_bench.leaderboard import Board
from llmrs_bench.report.html.payload import as_json, board_payload, packed, sample_payload
from llmrs_bench.report.html.values import Extra

_HERE = files("llmrs_bench.report.html")
_SCRIPTS = ("dom", "table", "board", "draw", "charts", "groups", "bias", "requests", "main")
_VENDORED = ("d3.min.js", "plot.umd.min.js")
LICENCES = ("d3", "plot", "isoformat", "interval-tree-1d", "binary-search-bounds")


def to_html(board: Board, extra: Extra) -> str:
    """Return the board as one web page that needs no network.

    Whatever comes from data is in it as JSON, and put on the page as text alone. A Content-Security-Policy admits the
    scripts of the page, by their digests, and no request at all.

    Args:
        board: What to show.
        extra: Position bias, and a sample of requests; sections without anything to show are left out.
    """
    scripts = [_read(f"vendor/{name}") for name in _VENDORED] + [_own_script()]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(_digest(script) for script in scripts)}",
            "style-src 'unsafe-inline'",  # Observable Plot styles its drawings
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    page = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        _read("assets/page.html")
    )
    return page.render(
        title=board.title,
        policy=policy,
        style=_read("assets/style.css"),
        scripts=scripts,
        board=as_json(board_payload(board, extra)),
        requests=packed(sample_payload(board, extra)) if extra.requests else "",
        licences=[(name, _read(f"vendor/LICENSE-{name}")) for name in LICENCES],
    )


@cache
def _read(path: str) -> str:
    return (_HERE / path).read_text("utf-8").replace("\r\n", "\n")


def _own_script() -> str:
    parts = "\n".join(_read(f"assets/{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _digest(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
