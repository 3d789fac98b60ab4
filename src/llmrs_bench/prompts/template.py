"""Prompt templates: TOML files of parts, and how the parts are rendered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property, lru_cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from jinja2 import StrictUndefined, nodes
from jinja2.meta import find_undeclared_variables
from pydantic import BeforeValidator, Field

from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import STRATEGIES, unknown_name
from llmrs_bench.core.toml_text import read_toml
from llmrs_bench.core.types import Message
from llmrs_bench.prompts.sandbox import FAILURES, MOST, Sandbox, check_filters, fault_words


@dataclass(slots=True)  # not frozen: millions are made, and that takes three times as long
class ItemView:
    """An item as parts of a wording see it.

    `title` differs from the others of its list; `about` are its year and categories in brackets where there are any;
    `rating` is None where it is unknown, and `liked` where no label says; `label` stands before a candidate; `note` is
    what a model wrote about it, and `opinion` a recommender's rank or score of a candidate.
    """

    title: str
    about: str = ""
    text: str = ""
    rating: float | None = None
    label: str = ""
    note: str = ""
    liked: bool | None = None
    opinion: str = ""


@dataclass(frozen=True, slots=True)
class ExampleView:
    """What somebody chose, and what they chose next."""

    history: Sequence[ItemView]
    next: ItemView


# Attributes that are data: a sandbox need not look at them again.
PLAIN: dict[type, frozenset[str]] = {
    kind: frozenset(field.name for field in fields(kind)) for kind in (ItemView, ExampleView)
}


PartName: TypeAlias = Literal[
    "system", "role", "interest", "examples", "candidates", "task", "goal", "strategy", "answer", "start"
]
LabelKind: TypeAlias = Literal["numbers", "letters", "ids", "none"]
Order: TypeAlias = tuple[tuple[PartName, ...], ...]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)
# Paragraphs of what the user says, and the parts that stand in each.
ORDER: Order = (("role",), ("interest",), ("examples",), ("candidates",), ("task", "goal", "strategy", "answer"))
# What a part may name.
TEMPLATE_VARIABLES = frozenset(
    {
        "item",
        "items",
        "a_item",
        "history",
        "likes",
        "dislikes",
        "relevant",
        "examples",
        "example_items",
        "interest",
        "candidates",
        "count",
        "lowest",
        "highest",
        "rating_format",
        "stated",
    }
)
_OF_CANDIDATES = {"candidates", "count"}
# The same in most prompts of a data set: a part that names these alone is rendered once for each of their values.
_PLAIN = {"item", "items", "a_item", "example_items", "count", "lowest", "highest", "rating_format", "stated"}
_MEMO = 100  # texts of such a part


_ENVIRONMENT = Sandbox(PLAIN, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True)
class CompiledPart:
    """One named piece of a prompt: Jinja over what `TEMPLATE_VARIABLES` lists.

    Args:
        text: The piece; empty leaves it out.
        labels: For `candidates`: what stands before each of them.
        where: Where it was written, for messages.

    Raises:
        OptionError: If it is no Jinja, or names what a prompt context does not have.
    """

    text: str
    labels: LabelKind = "numbers"
    where: str = "part"

    def __post_init__(self) -> None:
        _ENVIRONMENT.spent = 0  # what is constant is computed now
        try:
            tree = _ENVIRONMENT.parse(self.text)
            _ENVIRONMENT.bounded(self.text)
        except FAILURES as error:
            raise OptionError(
                f"{self.where}: {fault_words(error)}",
                hint="It is a Jinja template: check its braces, and how deep it goes.",
            ) from error
        check_filters(tree, self.where)
        if unknown := sorted(find_undeclared_variables(tree) - TEMPLATE_VARIABLES):
            raise OptionError(
                f"{self.where} uses {', '.join(unknown)}, which is no variable of prompts",
                hint=f"Variables: {', '.join(sorted(TEMPLATE_VARIABLES))}.",
            )

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names of a prompt context that it uses."""
        return frozenset(find_undeclared_variables(_ENVIRONMENT.parse(self.text)))

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], str]:
        return {}

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of a prompt context that it uses, and the attributes of items."""
        tree = _ENVIRONMENT.parse(self.text)
        return self.variables | {node.attr for node in tree.find_all(nodes.Getattr)}

    @cached_property
    def _compiled(self) -> Any:
        made = _ENVIRONMENT.bounded(self.text)
        made.globals = dict(made.globals)  # copied for each prompt, and a chain of dictionaries is slow to copy
        return made

    def render(self, variables: Mapping[str, Any]) -> str:
        """Return the piece.

        Raises:
            OptionError: If it asks for something that is not there, does what a template may not do, or never ends.
        """
        if not self.variables <= _PLAIN:
            return self._written(variables)
        key = tuple(map(variables.get, sorted(self.variables)))
        if key not in self._known:
            self._known[key] = self._written(variables)
            if len(self._known) > _MEMO:
                del self._known[next(iter(self._known))]
        return self._known[key]

    def _written(self, variables: Mapping[str, Any]) -> str:
        sandbox = _ENVIRONMENT
        sandbox.spent = 0
        written = []
        try:
            for text in self._compiled.generate(variables):
                sandbox.spent += len(text)  # in line, for there are a million of them in the prompts of MovieLens-1M
                if sandbox.spent > MOST:
                    sandbox.spend(0)
                written.append(text)
        except FAILURES as error:
            raise OptionError(
                f"{self.where} cannot be rendered: {fault_words(error)}",
                hint="Check it with `llmrs-bench prompt --check`.",
            ) from error
        return "".join(written).rstrip()


@dataclass(frozen=True)
class PromptTemplate:
    """The parts of a template, the paragraphs in which they stand, and what they state of every user."""

    parts: Mapping[PartName, CompiledPart]
    order: Order = ORDER
    stated: str = ""

    @property
    def labels(self) -> LabelKind:
        """What stands before each candidate."""
        return self.parts["candidates"].labels if "candidates" in self.parts else "numbers"

    @cached_property
    def lists_candidates(self) -> bool:
        """Whether any part names the candidates; prompts of others do without their views."""
        return self.uses("candidates")

    def uses(self, *names: str) -> bool:
        """Return whether any part uses one of these names of a prompt context, or attributes of items."""
        return any(part.names & set(names) for part in self.parts.values())

    def messages(self, variables: Mapping[str, Any], told: dict[PartName, str]) -> tuple[Message, ...]:
        """Return the turns of a prompt: what the system and the user say, and how the answer starts.

        Args:
            variables: All names of `TEMPLATE_VARIABLES`.
            told: Rendered parts that no candidate changes, kept from one prompt of a request to the next.
        """
        said = {name: self._say(name, variables, told) for name in self.parts}
        paragraphs = [_joined([said.get(name, "") for name in group]) for group in self.order]
        turns = {
            "system": said.get("system", ""),
            "user": "\n\n".join(paragraph for paragraph in paragraphs if paragraph),
            "assistant": said.get("start", ""),
        }
        return tuple(Message(role, text) for role, text in turns.items() if text)  # type: ignore[arg-type]

    def _say(self, name: PartName, variables: Mapping[str, Any], told: dict[PartName, str]) -> str:
        if name not in told:
            text = self.parts[name].render(variables)
            if self.parts[name].names & _OF_CANDIDATES:
                return text
            told[name] = text
        return told[name]


def _joined(texts: Sequence[str]) -> str:
    """Join the parts of a paragraph by spaces; one that begins on a new line stays there."""
    found = ""
    for text in texts:
        found += (" " if found and text and not text.startswith("\n") else "") + text
    return found.strip("\n")


_HERE = files("llmrs_bench.prompts")
SUFFIX = ".toml"
_LARGEST = 1_000_000  # bytes of a template file


class TemplatePart(Options):
    """A part as a file has it; `about` says in a few words what it is."""

    text: str
    about: str = ""
    labels: LabelKind = "numbers"


def _as_piece(value: Any) -> Any:
    return value if isinstance(value, str) else TemplatePart.parse(value, owner="part")


class TemplateFile(Options):
    """A template file.

    Args:
        about: What the model is asked, in a line.
        form: How answers are read: the name of a prompt strategy.
        parts: For each part the name of one that ships with the tool, or a table with its own `text`.
        order: Paragraphs of what the user says, each a list of parts.
        options: Options of the form, where they differ from its own defaults.
    """

    about: str
    form: str
    parts: dict[PartName, Annotated[str | TemplatePart, BeforeValidator(_as_piece)]]
    order: Order = ORDER
    options: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class TemplateSource:
    """A template file that was read."""

    name: str
    template_file: TemplateFile
    digest: str

    def prompt_template(self, chosen: Mapping[PartName, str], stated: str = "") -> PromptTemplate:
        """Return the words, with parts of the library put in place of the template's own.

        Args:
            chosen: Part to the name of the one that is wanted.
            stated: What is said of every user, by parts that name it.

        Raises:
            OptionError: If there is no such part, or the template has no place for it.
        """
        placed = {name for group in self.template_file.order for name in group} | {"system", "start"}
        for name in chosen:
            if name not in placed:
                raise OptionError(
                    f"template {self.name} has no place for the part {name!r}",
                    hint=f"Its parts: {', '.join(sorted(placed))}.",
                )
        named = {**self.template_file.parts, **chosen}
        return PromptTemplate(
            {name: self._part(name, value) for name, value in named.items() if value != "none"},
            self.template_file.order,
            stated,
        )

    def _part(self, name: PartName, value: str | TemplatePart) -> CompiledPart:
        if isinstance(value, TemplatePart):
            return _compiled(value.text, value.labels, f"part {name!r} of template {self.name}")
        known = template_parts(name)
        if value not in known:
            raise unknown_name(f"part {name}", value, ["none", *known])
        return _compiled(known[value].text, known[value].labels, f"part {name}={value}")


_compiled = lru_cache(maxsize=256)(CompiledPart)  # to compile a part takes longer than to write a prompt with it


def template_names() -> list[str]:
    """Return the names of the templates that ship with the tool or with a plug-in."""
    return sorted(_template_files())


def _template_files() -> dict[str, list[Traversable | Path]]:
    """Return the files of each template name: that of the tool, else those beside the strategies of plug-ins."""
    shipped: dict[str, list[Traversable | Path]] = {
        path.name.removesuffix(SUFFIX): [path] for path in (_HERE / "templates").iterdir()
    }
    found: dict[str, list[Traversable | Path]] = {}
    for folder in STRATEGIES.folders():
        for path in sorted((folder / "templates").glob(f"*{SUFFIX}")):
            found.setdefault(path.stem, []).append(path)
    return {**found, **shipped}


def read_source(name: str) -> TemplateSource:
    """Return the template that ships under this name, with the tool or a plug-in, or stands in the file `name`.

    Raises:
        OptionError: If there is none, its file is not as it has to be, or two packages ship one of this name.
    """
    if name.endswith(SUFFIX):
        path: Traversable | Path = Path(name)
        if not path.is_file():
            raise OptionError(f"there is no template file {name}", hint="Give the path of a TOML file.")
        return _read(path, name)
    known = _template_files()
    if name not in known:
        raise unknown_name("template", name, sorted(known), hint="You can also give the path of a TOML file.")
    if len(known[name]) > 1:
        raise OptionError(
            f"there are several templates {name}: {', '.join(map(str, known[name]))}",
            hint="Give the path of the one you mean.",
        )
    return _read(known[name][0], name)


@cache
def template_parts(part: PartName) -> Mapping[str, TemplatePart]:
    """Return the parts of one kind that ship with the tool, by name."""
    path = _HERE / "parts" / f"{part}{SUFFIX}"
    if not path.is_file():
        return {}
    return {
        name: TemplatePart.parse(table, owner=f"{part}={name}")
        for name, table in read_toml(path.read_text("utf-8")).items()
    }


def shipped_digest() -> str:
    """Return a digest of all templates and parts that ship with the tool."""
    found = [*(_HERE / "templates").iterdir(), *(_HERE / "parts").iterdir()]
    return sha256(b"\0".join(path.read_bytes() for path in sorted(found, key=lambda path: path.name))).hexdigest()


def _read(path: Traversable | Path, name: str) -> TemplateSource:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST:,} bytes")
        table = read_toml(raw.decode("utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"template {name} cannot be read: {error}", hint="It is a TOML file in UTF-8.") from error
    template_file = TemplateFile.parse(table, owner=f"template {name}")
    doubled = [part for part in PART_NAMES if sum(group.count(part) for group in template_file.order) > 1]
    if doubled or {"system", "start"} & {part for group in template_file.order for part in group}:
        raise OptionError(
            f"template {name}: order places {', '.join(doubled) or 'system or start'} wrongly",
            hint="It holds parts of the user's turn, each at most once; system and start are turns of their own.",
        )
    return TemplateSource(Path(name).name.removesuffix(SUFFIX), template_file, sha256(raw).hexdigest())
