"""The sandbox of template parts: what a part may do, and how much."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from math import prod
from re import findall
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrs_bench.core.errors import OptionError

MOST = 10_000_000  # letters and steps of one part of one prompt
_STEP, _CALL = 50, 1000  # what a round of a loop and a call count beside what they make


class TooMuchError(Exception):
    """A part writes or computes without measure."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with one limit on what a part may write and compute.

    It takes no second look at the values of items: that is most of its time. Every round of a loop and every call
    count, and so does what an operation or a filter could make at most, before it makes it: the product of the sizes of
    what goes in.

    Args:
        plain: Attributes that are data, by the type that has them: they are not looked at again.
        options: Of Jinja's environment.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    spent = 0

    def __init__(self, plain: Mapping[type, frozenset[str]], **options: Any) -> None:
        super().__init__(**options)
        self._plain = plain
        del self.globals["lipsum"]  # one call writes without end, and what it draws differs from run to run
        self.filters = {name: self._measured(made) for name, made in self.filters.items()}
        self.filters |= {_ROUNDS: self._rounds, _WHOLE: self._whole}

    def spend(self, size: int) -> None:
        """Count what is about to be made."""
        self.spent += size + _STEP
        if self.spent > MOST:
            raise TooMuchError(f"it writes or computes more than {MOST:,} letters or steps for one prompt")

    def getattr(self, obj: Any, attribute: str) -> Any:
        if attribute in self._plain.get(type(obj), ()):
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


FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError, TooMuchError)


def fault_words(error: Exception) -> str:
    """Say in one line why a part cannot be rendered."""
    if isinstance(error, RecursionError):
        return "it calls itself, or is nested, too deep"
    return "there is not enough memory for it" if isinstance(error, MemoryError) else str(error)


_LAZY = {"map", "select", "selectattr", "reject", "rejectattr", "batch", "slice", "unique", "items"}


def check_filters(tree: nodes.Template, where: str) -> None:
    """Refuse filters whose text differs from run to run.

    Raises:
        OptionError: If there is one.
    """
    if any(made.name == "random" for made in tree.find_all(nodes.Filter)):
        raise OptionError(
            f"{where}: the filter random draws anew in every run, so no run could be repeated",
            hint="Leave it out. Seeded draws are options: --candidate-orders, -T samples=N, -T past=shuffled.",
        )
    for output in tree.find_all(nodes.Output):
        for shown in output.nodes:
            if isinstance(shown, nodes.Filter) and shown.name in _LAZY:
                raise OptionError(
                    f"{where}: the filter {shown.name} returns a list, which cannot be printed",
                    hint=f"Go on with `| join(', ')`: {{{{ ... | {shown.name}(...) | join(', ') }}}}.",
                )
