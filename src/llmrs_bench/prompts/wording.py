"""Wordings: the named parts of a template, rendered in a sandbox where an unknown name is an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrs_bench.errors import OptionError
from llmrs_bench.prompts.entries import PLAIN
from llmrs_bench.types import Message

PartName: TypeAlias = Literal[
    "system", "role", "interest", "examples", "candidates", "task", "strategy", "answer", "start"
]
LabelKind: TypeAlias = Literal["numbers", "letters", "ids", "none"]
Order: TypeAlias = tuple[tuple[PartName, ...], ...]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)
# Paragraphs of what the user says, and the parts that stand in each.
ORDER: Order = (("role",), ("interest",), ("examples",), ("candidates",), ("task", "strategy", "answer"))
# What a part may name.
SCENE = frozenset(
    {"item", "items", "history", "likes", "dislikes", "relevant", "examples", "interest", "candidates", "count"}
)
_OF_CANDIDATES = {"candidates", "count"}


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which takes no second look at the values of items: that is most of its time."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if attribute in PLAIN.get(type(obj), ()):
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)


_ENVIRONMENT = _Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True)
class Part:
    """One named piece of a prompt: Jinja over what `SCENE` lists.

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
        try:
            tree = _ENVIRONMENT.parse(self.text)
            _ENVIRONMENT.from_string(self.text)
        except TemplateError as error:
            raise OptionError(f"{self.where}: {error}", hint="It is a Jinja template: check its braces.") from error
        if unknown := sorted(find_undeclared_variables(tree) - SCENE):
            raise OptionError(
                f"{self.where} names {', '.join(unknown)}, which a prompt does not know",
                hint=f"It may name {', '.join(sorted(SCENE))}.",
            )

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names of a scene that it uses."""
        return frozenset(find_undeclared_variables(_ENVIRONMENT.parse(self.text)))

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of a scene that it uses, and the attributes of items."""
        tree = _ENVIRONMENT.parse(self.text)
        return self.variables | {node.attr for node in tree.find_all(nodes.Getattr)}

    @cached_property
    def _compiled(self) -> Any:
        return _ENVIRONMENT.from_string(self.text)

    def render(self, scene: Mapping[str, Any]) -> str:
        """Return the piece.

        Raises:
            OptionError: If it asks for something that is not there, or does what a template may not do.
        """
        try:
            return str(self._compiled.render(scene)).rstrip()
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise OptionError(
                f"{self.where} cannot be rendered: {error}", hint="Check it with `llmrs-bench prompt --check`."
            ) from error


@dataclass(frozen=True)
class Wording:
    """The parts of a template, and the paragraphs in which they stand."""

    parts: Mapping[PartName, Part]
    order: Order = ORDER

    @property
    def labels(self) -> LabelKind:
        """What stands before each candidate."""
        return self.parts["candidates"].labels if "candidates" in self.parts else "numbers"

    def uses(self, *names: str) -> bool:
        """Tell whether any part uses one of these names of a scene, or attributes of items."""
        return any(part.names & set(names) for part in self.parts.values())

    def messages(self, scene: Mapping[str, Any], told: dict[PartName, str]) -> tuple[Message, ...]:
        """Return the turns of a prompt: what the system and the user say, and how the answer starts.

        Args:
            scene: All names of `SCENE`.
            told: Rendered parts that no candidate changes, kept from one prompt of a request to the next.
        """
        said = {name: self._say(name, scene, told) for name in self.parts}
        paragraphs = [_joined([said.get(name, "") for name in group]) for group in self.order]
        turns = {
            "system": said.get("system", ""),
            "user": "\n\n".join(paragraph for paragraph in paragraphs if paragraph),
            "assistant": said.get("start", ""),
        }
        return tuple(Message(role, text) for role, text in turns.items() if text)  # type: ignore[arg-type]

    def _say(self, name: PartName, scene: Mapping[str, Any], told: dict[PartName, str]) -> str:
        if name not in told:
            text = self.parts[name].render(scene)
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
