"""A command of the command line, which checks the options that were typed, and those alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand


class _TypedValue:
    """What turns the text of an option into its value; the library's own is built where there is a text.

    The library builds one for each option a command has, typed or not, and imports pydantic for it, even for `--help`.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value; one that is no text is the default, and right."""
        wanted = param.type_descriptor.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if isinstance(wanted, type) and isinstance(value, wanted):
            return value
        if wanted is Path:  # checked as the library does it, without pydantic
            from typer._param_types import coerce_cli_path

            about = param.type_descriptor.parameter_info
            return coerce_cli_path(Path(value), about, path_type=Path, param=param, ctx=ctx)
        from typer._coercion import build_runtime_param

        return build_runtime_param(param.type_descriptor).coerce(value, param=param, ctx=ctx)


def typed_alone(params: Sequence[Any]) -> list[Any]:
    """Return the parameters of a command; those that nobody typed are not checked."""
    for param in params:
        if getattr(param, "_runtime_param", ...) is None:
            param._runtime_param = _TypedValue()
    return list(params)


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its parameters."""
        return typed_alone(super().get_params(ctx))
