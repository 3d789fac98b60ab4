"""Print what pyproject.toml asks for, at the lowest versions it allows or free of any bound, as lines for pip.

usage: bounds.py lowest|newest EXTRA...
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)(?P<extras>\[[\w,-]+\])?(?P<bounds>[^;]*)(?P<marker>;.*)?$")


def requirements(extras: list[str]) -> list[str]:
    """Return the lines of the project itself and of `extras`, each once."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
    return list(dict.fromkeys(lines))


def bounded(line: str, end: str) -> str:
    """Return one requirement at its lowest version (`lowest`), or at whatever is newest (`newest`).

    Raises:
        ValueError: If the line has no lower bound.
    """
    parts = REQUIREMENT.match(line)
    lower = parts and re.search(r"[>=]=\s*([\w.]+)", parts["bounds"])
    if not parts or not lower:
        raise ValueError(f"{line!r} in {PROJECT.name} has no lower bound")
    version = f"=={lower[1]}" if end == "lowest" else ""
    return f"{parts['name']}{parts['extras'] or ''}{version}{parts['marker'] or ''}"


if __name__ == "__main__":
    end, *extras = sys.argv[1:]
    if end not in ("lowest", "newest"):
        sys.exit(__doc__)
    print("\n".join(bounded(line, end) for line in requirements(extras)))
