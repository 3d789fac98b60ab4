"""The messages of docs/troubleshooting.md are messages of the program."""

import ast
import re
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Those of the operating system, and some that are put together of values.
KNOWN = {
    *("No space left on device", "Too many open files", "Permission denied", "Read-only file system"),
    *("No such device or address", "File name too long"),
    *("click is '2', not 0 or 1", "X is empty, and in N more"),
}
_WORD = re.compile(r"[A-Za-z][a-z'-]+|[a-z]|[\n@]")
_PLACEHOLDER = re.compile(r"\.\.\.|'[^']*'|[A-Z]{2,}|\b[A-Z]\b|[0-9]+")


def texts(file: Path) -> list[str]:
    """Return all texts in a file of code, without its docstrings; values in them are @."""
    tree = ast.parse(file.read_text("utf-8"))
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else " @ " for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            found.append(node.value)
    return [" ".join(text.split()) for text in found]


def messages() -> list[str]:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    rows = [line.split(" | ")[0] for line in page.split("\n") if line.startswith("| `")]
    return [message for row in rows for message in re.findall("`([^`]+)`", row)]


def test_every_message_that_is_explained_is_one_of_the_program() -> None:
    said = chain.from_iterable(map(texts, sorted((ROOT / "src").rglob("*.py"))))
    words = _WORD.findall(" \n ".join(said))
    source = f" {' '.join(words)} "
    unknown = []
    for message in messages():
        runs = [_WORD.findall(part) for part in _PLACEHOLDER.split(message)]
        parts = [" ".join(run[at : at + 3]) for run in runs for at in range(len(run) - 2)]
        parts = parts or [" ".join(run) for run in runs if len(run) > 1]
        if parts and message not in KNOWN and not any(f" {part} " in source for part in parts):
            unknown.append(message)
    assert unknown == []
    assert len(messages()) > 100
