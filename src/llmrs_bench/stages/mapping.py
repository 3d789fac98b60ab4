"""Mappings: TOML files that say how a source is read, so that a data set can be passed on as twenty lines."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from llmrs_bench.core.config import Options, PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.tables import atomic_write
from llmrs_bench.core.toml_text import read_toml
from llmrs_bench.data.files import file_md5, require_file

# The options that say how a source is read, in the order of the file.
POLICIES = (
    *("encoding", "time_unit", "line_order", "drop_bad", "repeats", "implicit", "titles", "untitled", "unrated"),
    *("min_rating", "item_word"),
)
HEAD = "# How a source is read. Use: llmrs-bench prepare --dataset NAME --mapping FILE\n"


class DataMapping(Options):
    """What a mapping holds; paths count from its folder. `url`, `md5` and `licence` are for those who get it."""

    source: str | None = None
    items: str | None = None
    format: str | None = None
    url: str | None = None
    md5: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    licence: str | None = None
    encoding: str | None = None
    time_unit: Literal["auto", "s", "ms", "us", "ns", "ticks", "iso"] | None = None
    line_order: bool | None = None
    drop_bad: bool | None = None
    repeats: Literal["first", "last", "all", "error"] | None = None
    implicit: bool | None = None
    titles: Literal["keep", "natural"] | None = None
    untitled: Literal["id", "drop"] | None = None
    unrated: str | None = None
    min_rating: float | None = None
    item_word: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    item_columns: dict[str, str] = Field(default_factory=dict)
    folder: Path = Path()

    @property
    def policies(self) -> dict[str, Any]:
        """The options of `prepare` that it sets."""
        values = {name: getattr(self, name) for name in (*POLICIES, "columns", "item_columns")}
        return {name: value for name, value in values.items() if value not in (None, {})}

    def places(self) -> dict[str, Any]:
        """Return where the source is, as an `Origin` says it; a file that is not there is downloaded if it has a URL.

        Raises:
            DataError: If the file is another one than the md5 says.
        """
        found: dict[str, Any] = {"format_name": self.format}
        source = self.folder / self.source if self.source else None
        if source is not None and (source.exists() or not self.url):
            if self.md5 and source.is_file() and (md5 := file_md5(source)) != self.md5:
                raise DataError(
                    f"{source} has md5 {md5}, but the mapping is for {self.md5}",
                    hint=f"Get the right file{f' from {self.url}' if self.url else ''}, or remove md5 from the "
                    "mapping.",
                )
            found["path"] = source
        elif self.url:
            if not self.md5:
                raise OptionError("the mapping has a url without an md5", hint="Add md5, or get the file by hand.")
            found["remote"] = (self.url, self.md5)
        if self.items:
            found["items"] = self.folder / self.items
        return found


def read_mapping(path: Path) -> DataMapping:
    """Return the mapping in a TOML file.

    Raises:
        DataError: If it is no regular file, cannot be read, or is no TOML.
        OptionError: If it holds something else than a mapping.
    """
    require_file(path)
    try:
        values = read_toml(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a mapping: {error}", hint="--save-mapping FILE writes one.") from error
    return DataMapping.parse({**values, "folder": path.parent}, owner=str(path))


def write_mapping(
    path: Path,
    mapping: Mapping[str, Any],
    config: PrepareConfig,
    source: Path | None,
    items: Path | None,
    known: DataMapping | None,
) -> None:
    """Write how a source was read into a TOML file.

    Args:
        path: The file; one that is there has to say the same.
        mapping: The format, and the columns that were read; empty where the format has none to name.
        config: The options.
        source: What was typed as source.
        items: What was typed as table of items.
        known: The mapping that was used, if any; its url, md5 and licence are kept.

    Raises:
        OptionError: If the format has no columns to name, or another file is there.
    """
    if not mapping:
        raise OptionError("--save-mapping has no effect on this format: its columns are known", hint="Leave it out.")
    sources = {"source": source, "items": items}
    if known:
        sources = {
            name: place or (known.folder / old if (old := getattr(known, name)) else None)
            for name, place in sources.items()
        }
    defaults = PrepareConfig(dataset=config.dataset)
    values: dict[str, Any] = {
        **{name: os.path.relpath(place, path.parent) for name, place in sources.items() if place},
        "format": mapping["format"],
        **({name: getattr(known, name) for name in ("url", "md5", "licence")} if known else {}),
        **{name: value for name in POLICIES if (value := getattr(config, name)) != getattr(defaults, name)},
    }
    lines = [HEAD]
    lines += [f"{name} = {toml_value(value)}\n" for name, value in values.items() if value is not None]
    for table in ("columns", "item_columns"):
        if columns := mapping.get(table):
            lines.append(f"\n[{table}]\n")
            lines += [f"{role} = {toml_value(column)}\n" for role, column in columns.items()]
    text = "".join(lines).encode()
    if path.exists() and path.read_bytes() != text:
        raise OptionError(f"{path} exists with other contents", hint="Give --save-mapping another file.")
    atomic_write(path, text)


def toml_value(value: Any) -> str:
    """Return a text, number or boolean as TOML writes it: as JSON does, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
