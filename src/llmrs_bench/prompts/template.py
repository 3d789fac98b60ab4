"""Prompt templates: TOML files of parts, and how the parts are rendered."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property, lru_cache, wraps
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from math import prod
from pathlib import Path
from re import findall
from typing import Annotated, Any, Literal, TypeAlias, get_args

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BeforeValidator, Field

from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import STRATEGIES, unknown_name
from llmrs_bench.core.toml_text import read_toml
from llmrs_bench.core.types import Message


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
PLAIN = {kind: frozenset(field.name for field in fields(kind)) for kind in (ItemView, ExampleView)}


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
_PLAIN = {"item", "items", "a_item", "count", "lowest", "highest", "rating_format", "stated"}
_MEMO = 100  # texts of such a part


_MOST = 10_000_000  # letters and steps of one part of one prompt
_STEP, _CALL = 50, 1000  # what a round of a loop and a call count beside what they make


class _TooMuchError(Exception):
    """A part writes or computes without measure."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with one limit on what a part may write and compute.

    It takes no second look at the values of items: that is most of its time. Every round of a loop and every call
    count, and so does what an operation or a filter could make at most, before it makes it: the product of the sizes of
    what goes in.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    spent = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self.globals["lipsum"]  # one call writes without end
        self.filters = {name: self._measured(made) for name, made in self.filters.items()}
        self.filters |= {_ROUNDS: self._rounds, _WHOLE: self._whole}

    def spend(self, size: int) -> None:
        """Count what is about to be made."""
        self.spent += size + _STEP
        if self.spent > _MOST:
            raise _TooMuchError(f"it writes or computes more than {_MOST:,} letters or steps for one prompt")

    def getattr(self, obj: Any, attribute: str) -> Any:
        if attribute in PLAIN.get(type(obj), ()):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(obj, "__self__", None)
        self.spend(_CALL + _product(owner if isinstance(owner, str) else "", *args, *kwargs.values()))
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.spend(_size(left) + _size(right) if operator == "+" else _product(left, right))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:
        made = super().wrap_str_format(value)
        if made is None:
            return None

        @wraps(made)
        def measured(*args: Any, **kwargs: Any) -> Any:
            self.spend(_product(value.__self__, *args, *kwargs.values()))
            return made(*args, **kwargs)

        return measured

    def bounded(self, text: str) -> Template:
        """Compile a part in which loops count their rounds and joined texts their letters."""
        tree = self.parse(text)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _ROUNDS, [], [], None, None)
        for concat in list(tree.find_all(nodes.Concat)):
            concat.nodes = [nodes.Filter(node, _WHOLE, [], [], None, None) for node in concat.nodes]
        return self.from_string(tree)

    def _rounds(self, values: Any) -> Iterator[Any]:
        for value in values:
            self.spend(0)
            yield value

    def _whole(self, value: Any) -> Any:
        self.spend(_size(value))
        return value

    def _measured(self, made: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(made)
        def measured(*args: Any, **kwargs: Any) -> Any:
            self.spend(_product(*args, *kwargs.values()))
            return made(*args, **kwargs)

        return measured


_ROUNDS, _WHOLE = "rounds of a loop", "a joined text"  # no filters that a part could name


def _size(value: Any) -> int:
    """Return how much a value adds to what is made of it: its letters, its number, or those of what it holds."""
    if isinstance(value, str):
        widths = findall(r"[0-9]+", value) if "%" in value or "{" in value else ()  # of a format, as in '%9d'
        return len(value) + max((int(width[:12]) for width in widths), default=0)
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value)) + 20 * len(value)
    return 1


def _product(*values: Any) -> int:
    return prod(max(_size(value), 1) for value in values)


_ENVIRONMENT = _Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError, _TooMuchError)


@dataclass(frozen=True)
class CompiledPart:
    """One named piece of a prompt: Jinja over what `TEMPLATE_VARIABLES` lists.

    Args:
        text: The piece; empty leaves it out.
        labels: For `candidates`: what stands before each of them.
        where: Where it was written, for messages.

    Raises:
        OptionError: If it is no Jinja, or names what a scene does not have.
    """

    text: str
    labels: LabelKind = "numbers"
    where: str = "part"

    def __post_init__(self) -> None:
        _ENVIRONMENT.spent = 0  # what is constant is computed now
        try:
            tree = _ENVIRONMENT.parse(self.text)
            _ENVIRONMENT.bounded(self.text)
        except _FAILURES as error:
            raise OptionError(
                f"{self.where}: {_fault(error)}", hint="It is a Jinja template: check its braces, and how deep it goes."
            ) from error
        if unknown := sorted(find_undeclared_variables(tree) - TEMPLATE_VARIABLES):
            raise OptionError(
                f"{self.where} names {', '.join(unknown)}, which a prompt does not know",
                hint=f"It may name {', '.join(sorted(TEMPLATE_VARIABLES))}.",
            )

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names of a scene that it uses."""
        return frozenset(find_undeclared_variables(_ENVIRONMENT.parse(self.text)))

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], str]:
        return {}

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of a scene that it uses, and the attributes of items."""
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
                if sandbox.spent > _MOST:
                    sandbox.spend(0)
                written.append(text)
        except _FAILURES as error:
            raise OptionError(
                f"{self.where} cannot be rendered: {_fault(error)}", hint="Check it with `llmrs-bench prompt --check`."
            ) from error
        return "".join(written).rstrip()


def _fault(error: Exception) -> str:
    """Say in one line why a part cannot be rendered."""
    if isinstance(error, RecursionError):
        return "it calls itself, or is nested, too deep"
    return "there is not enough memory for it" if isinstance(error, MemoryError) else str(error)


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
        """Return whether any part uses one of these names of a scene, or attributes of items."""
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
        raise unknown_name("template", name, sorted(known), hint="A path of a TOML file will do, too.")
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
