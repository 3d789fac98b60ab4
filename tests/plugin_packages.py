"""Packages with plug-ins, installed into a folder as pip would do it, without network."""

import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugins"
Groups = Mapping[str, Mapping[str, str]]


def write_metadata(folder: Path, name: str, version: str, groups: Groups) -> None:
    """Write what an installed distribution says about itself, with its entry points."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    sections = (
        f"[{group}]\n" + "\n".join(f"{key} = {value}" for key, value in entries.items())
        for group, entries in groups.items()
    )
    (info / "entry_points.txt").write_text("\n\n".join(sections) + "\n")


def write_package(folder: Path, name: str, code: str, groups: Groups, *, version: str = "1.0") -> Path:
    """Install a package of one module, `plugin`, into `folder`."""
    package = folder / name.replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(code)
    write_metadata(folder, name, version, groups)
    return package


def install_example(folder: Path) -> Path:
    """Install the example package into `folder`, as its pyproject.toml says."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    [package] = (path for path in (EXAMPLE / "src").iterdir() if (path / "__init__.py").is_file())
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    write_metadata(folder, project["name"], project["version"], project["entry-points"])
    return folder


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let Python find the packages of `folder`; afterwards none of them is left."""
    packages = {path.name for path in folder.iterdir()}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
            del sys.modules[name]
