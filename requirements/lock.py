"""Turn the report of `pip install --dry-run --report` into a lock: a name and an exact version in each line.

usage: lock.py REPORT LOCK
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

HEADING = "# Made by `make lock` for Python 3.11 on Linux: what `make demo` and `make test` install. Do not edit.\n"


def lock(report: dict[str, Any]) -> list[str]:
    """Return `name==version` lines of what pip would install, in order of the names, without the project itself.

    The part of a version behind `+` names a build (`2.13.0+cpu`), which differs from machine to machine.
    """
    found = [item["metadata"] for item in report["install"] if "dir_info" not in item["download_info"]]
    versions = {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"].partition("+")[0] for item in found}
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


if __name__ == "__main__":
    report, target = map(Path, sys.argv[1:])
    target.write_text(HEADING + "\n".join(lock(json.loads(report.read_text("utf-8")))) + "\n", "utf-8")
