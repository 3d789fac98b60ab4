"""The files of recipes: those of the package, those of users, and what stands in them, as tables."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, time
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from llmrs_bench.core.environment import expanded
from llmrs_bench.core.errors import ArtifactError, DataError, OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.core.toml_text import read_toml
from llmrs_bench.leaderboard.saved import read_board
from llmrs_bench.stages.mapping import toml_value

Values = Mapping[str, Any]


_TABLES_OF_ROWS = {"options", "template_options", "tune"}


def recipe_lines() -> list[str]:
    """Return a line for each recipe in the package: its name and what it is for."""
    return [f"{name}\t{_read(file.read_text('utf-8'), name).get('about', '')}" for name, file in _shipped().items()]


def recipe_text(name: str) -> str:
    """Return a recipe as text: that of a file, of the package, or the one that made a saved board.

    Raises:
        DataError: If there is no such file.
        OptionError: If the package has no such recipe.
        ArtifactError: If the file is no saved board, or no recipe made it.
    """
    if name.endswith(".parquet"):
        found = read_board(Path(name)).recipe
        if found is None:
            raise ArtifactError(
                f"{name} was not made by a recipe",
                hint="Leaderboards that `llmrs-bench run` saves hold theirs; see `save`.",
            )
        return found
    if name in (shipped := _shipped()):
        return shipped[name].read_text("utf-8")
    if not name.endswith(".toml"):
        if Path(f"{name}.toml").is_file():
            raise OptionError(f"unknown recipe {name!r}", hint=f"Did you mean the file {name}.toml?")
        if Path(name).is_file():
            raise DataError(f"{name} is not a file NAME.toml", hint="docs/recipes.md shows a recipe, which is TOML.")
        raise unknown_name("recipe", name, sorted(shipped), hint="A recipe of your own is a file NAME.toml.")
    path = expanded(name)
    try:
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        beside = {other.stem: str(other) for other in path.parent.glob("*.toml")}
        near = get_close_matches(path.stem, beside, n=3)
        guess = f"Did you mean {' or '.join(beside[stem] for stem in near)}? " if near else ""
        raise DataError(
            f"there is no recipe file {name}",
            hint=f"{guess}`llmrs-bench list recipes` lists those of the package; docs/recipes.md shows one.",
        ) from error
    except (IsADirectoryError, UnicodeDecodeError) as error:
        what = "a folder" if path.is_dir() else "no text in UTF-8"
        raise DataError(f"{name} is {what}, not a recipe", hint="docs/recipes.md shows one.") from error


def _shipped() -> dict[str, Traversable]:
    folder = files("llmrs_bench") / "recipes"
    return {
        f"{group.name}/{file.name.removesuffix('.toml')}": file
        for group in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if group.is_dir()
        for file in sorted(group.iterdir(), key=lambda entry: entry.name)
        if file.name.endswith(".toml")
    }


def _read(text: str, name: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = _plain(read_toml(text))
        return content
    except ValueError as error:
        raise DataError(f"{name} is not TOML: {error}", hint="docs/recipes.md shows a recipe.") from error


def _plain(value: Any) -> Any:
    """Return a value of TOML with dates and times as they are written."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, (date, time)) else value


def read_recipe(name: str | Values, changes: Values, settings: Sequence[str]) -> dict[str, Any]:
    """Return the tables of a recipe.

    Args:
        name: A TOML file, or a recipe of the package, as `paper/table-9`; or its tables.
        changes: Tables put over those of the recipe, as `{"defaults": {"model": "mock"}}`.
        settings: More of them as typed: `data.users=50`.

    Raises:
        DataError: If it cannot be read.
        OptionError: If the package has no such recipe, or a setting has another form.
    """
    content = _read(recipe_text(name), name) if isinstance(name, str) else dict(name)
    for more in (changes, _typed(settings)):
        content = _merged(content, more)
    return content


def _merged(old: Any, new: Any) -> Any:
    """Put tables over each other; what is said of a list of tables is said of each.

    What is said of `tune` is said of those tuned, and what stands below the name of one of them of that one alone; one
    without a name goes by its model.
    """
    if isinstance(old, list) and isinstance(new, Mapping):
        names = {name for each in old if (name := _name_of(each))} - _TABLES_OF_ROWS
        shared = {key: value for key, value in new.items() if key not in names or not isinstance(value, Mapping)}
        return [
            _merged(
                _merged(each, {key: value for key, value in shared.items() if key != "tune" or "tune" in each}),
                new.get(_name_of(each), {}) if _name_of(each) in names - shared.keys() else {},
            )
            for each in old
        ]
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{key: _merged(old.get(key, {}), value) for key, value in new.items()}}
    return dict(new) if isinstance(new, Mapping) else new


def _name_of(table: Values) -> str:
    name = table.get("name", table.get("model"))
    return name if isinstance(name, str) else ""


def _typed(settings: Sequence[str]) -> dict[str, Any]:
    """Return settings such as `data.users=50` as tables; what is no value of TOML is a text."""
    found: dict[str, Any] = {}
    for text in settings:
        path, equals, typed = text.partition("=")
        if not equals or not all(path.split(".")) or "." not in path:
            raise OptionError(f"--set {text} is not TABLE.KEY=VALUE", hint="Write, for instance, --set data.users=50.")
        try:
            value = read_toml(f"value = {typed}")["value"]
        except tomllib.TOMLDecodeError:
            value = typed
        except ValueError as error:
            raise OptionError(f"--set {path}: {error}", hint="Write a value of TOML, or a text.") from error
        for key in reversed(path.split(".")):
            value = {key: value}
        found = _merged(found, value)
    return found


def to_toml(content: Values) -> str:
    """Return the content of a recipe as TOML: one table a part, what is deeper in braces."""
    lines = [f"{_key(key)} = {_inline(value)}" for key, value in content.items() if not _is_part(value)]
    for key, value in content.items():
        if _is_part(value):
            for table in value if isinstance(value, list) else [value]:
                lines += ["", f"[[{_key(key)}]]" if isinstance(value, list) else f"[{_key(key)}]"]
                lines += [f"{_key(name)} = {_inline(each)}" for name, each in table.items()]
    return "\n".join(lines).strip("\n") + "\n"


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(each, Mapping) for each in value))


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if plain else json.dumps(key, ensure_ascii=False)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return toml_value(value)
