"""Templates as files: what a TOML file says, and the parts that it names or writes out."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from llmrs_bench.config import Options
from llmrs_bench.errors import OptionError
from llmrs_bench.prompts.wording import ORDER, PART_NAMES, LabelKind, Order, Part, PartName, Wording
from llmrs_bench.registry import unknown_name

_HERE = files("llmrs_bench.prompts")
SUFFIX = ".toml"


class Piece(Options):
    """A part as a file has it; `about` says in a few words what it is."""

    text: str
    about: str = ""
    labels: LabelKind = "numbers"


def _as_piece(value: Any) -> Any:
    return value if isinstance(value, str) else Piece.parse(value, owner="part")


class Sheet(Options):
    """A template file.

    Args:
        about: What the model is asked, in a line.
        form: How answers are read: the name of an answer form.
        parts: For each part the name of one that ships with the tool, or a table with its own `text`.
        order: Paragraphs of what the user says, each a list of parts.
        options: Options of the form, where they differ from its own defaults.
    """

    about: str
    form: str
    parts: dict[PartName, Annotated[str | Piece, BeforeValidator(_as_piece)]]
    order: Order = ORDER
    options: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A template file that was read."""

    name: str
    sheet: Sheet
    digest: str

    def wording(self, chosen: Mapping[PartName, str]) -> Wording:
        """Return the words, with parts of the library put in place of the template's own.

        Args:
            chosen: Part to the name of the one that is wanted.

        Raises:
            OptionError: If there is no such part, or the template has no place for it.
        """
        placed = {name for group in self.sheet.order for name in group} | {"system", "start"}
        for name in chosen:
            if name not in placed:
                raise OptionError(
                    f"template {self.name} has no place for the part {name!r}",
                    hint=f"Its parts: {', '.join(sorted(placed))}.",
                )
        named = {**self.sheet.parts, **chosen}
        return Wording(
            {name: self._part(name, value) for name, value in named.items() if value != "none"}, self.sheet.order
        )

    def _part(self, name: PartName, value: str | Piece) -> Part:
        if isinstance(value, Piece):
            return Part(value.text, value.labels, f"part {name!r} of template {self.name}")
        known = pieces(name)
        if value not in known:
            raise unknown_name(f"part {name}", value, ["none", *known])
        return Part(known[value].text, known[value].labels, f"part {name}={value}")


def template_names() -> list[str]:
    """Return the names of the templates that ship with the tool."""
    return sorted(path.name.removesuffix(SUFFIX) for path in (_HERE / "templates").iterdir())


def read_source(name: str) -> Source:
    """Return the template that ships under this name, or stands in the file `name`.

    Raises:
        OptionError: If there is none, or its file is not as it has to be.
    """
    if name.endswith(SUFFIX):
        path: Traversable | Path = Path(name)
        if not path.is_file():
            raise OptionError(f"there is no template file {name}", hint="Give the path of a TOML file.")
        return _read(path, name)
    if name not in template_names():
        raise unknown_name("template", name, template_names(), hint="A path of a TOML file will do, too.")
    return _read(_HERE / "templates" / f"{name}{SUFFIX}", name)


def pieces(part: PartName) -> dict[str, Piece]:
    """Return the parts of one kind that ship with the tool, by name."""
    path = _HERE / "parts" / f"{part}{SUFFIX}"
    if not path.is_file():
        return {}
    return {
        name: Piece.parse(table, owner=f"{part}={name}")
        for name, table in tomllib.loads(path.read_text("utf-8")).items()
    }


def shipped_digest() -> str:
    """Return a digest of all templates and parts that ship with the tool."""
    found = [*(_HERE / "templates").iterdir(), *(_HERE / "parts").iterdir()]
    return sha256(b"\0".join(path.read_bytes() for path in sorted(found, key=lambda path: path.name))).hexdigest()


def _read(path: Traversable | Path, name: str) -> Source:
    try:
        raw = path.read_bytes()
        table = tomllib.loads(raw.decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"template {name} cannot be read: {error}", hint="It is a TOML file in UTF-8.") from error
    sheet = Sheet.parse(table, owner=f"template {name}")
    doubled = [part for part in PART_NAMES if sum(group.count(part) for group in sheet.order) > 1]
    if doubled or {"system", "start"} & {part for group in sheet.order for part in group}:
        raise OptionError(
            f"template {name}: order places {', '.join(doubled) or 'system or start'} wrongly",
            hint="It holds parts of the user's turn, each at most once; system and start are turns of their own.",
        )
    return Source(Path(name).name.removesuffix(SUFFIX), sheet, sha256(raw).hexdigest())
