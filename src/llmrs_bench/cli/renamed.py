"""Options under the names they had before, understood for one version: each use is answered by a warning."""

from collections.abc import Iterator, Sequence
from typing import Any

import typer

from llmrs_bench.cli.command import Command
from llmrs_bench.cli.console import warn_before

_RENAMED = {
    "--audit": "--check-determinism",
    "--reparse": "--from-cache",
    "--orders": "--candidate-orders",
    "--slots": "--target-positions",
}
# Options of a recommender, an engine or a fusion: they are written behind -O alone.
_OPTIONS = {name: name.removeprefix("--").replace("-", "_") for name in ("--max-history", "--loss", "--fit-on")}
_FUSION_OPTIONS = {"--runs": "runs", "--method": "method"}
_KEYS = {"tolerate": "unanswered", "waves": "share_prompt"}
_BROUGHT = {"interest": "--user-profile", "notes": "--item-notes"}
_TEMPLATE_OPTIONS = {
    "orders": "--candidate-orders",
    "slots": "--target-positions",
    "interest_run": "--user-profile",
    "notes_run": "--item-notes",
}


class RenamedCommand(Command):
    """A command that also understands the old names of its options."""

    _notes: Sequence[str] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed, old names as the new ones."""
        own = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        typed, self._notes = renamed(args, own)
        return super().parse_args(ctx, typed)

    def invoke(self, ctx: Any) -> Any:
        """Warn of old names, and run the command."""
        warn_before(self._notes)
        return super().invoke(ctx)


def renamed(args: Sequence[str], own: set[str]) -> tuple[list[str], list[str]]:
    """Return what was typed under the names of today, and a note on each old name.

    Args:
        args: As typed, behind the name of the command.
        own: The options that the command has today, which are never taken for old ones.
    """
    typed: list[str] = []
    notes: dict[str, None] = {}
    rest = iter(args)
    for text in rest:
        name, equals, value = text.partition("=")
        short = name[:2] in ("-T", "-O") and not name.startswith("--")
        if name in own and name not in ("-T", "--template-option", "-O", "--option"):
            typed.append(text)
        elif name == "--deterministic":
            typed += ["-O", "deterministic=true"]
            notes["--deterministic is now -O deterministic=true"] = None
        elif "-O" in own and (name == "--option" or (short and name.startswith("-O"))):
            typed += _option(text, rest, notes)
        elif name in _RENAMED and _RENAMED[name] in own:
            typed.append(_RENAMED[name] + equals + value)
            notes[f"{name} is now {_RENAMED[name]}"] = None
        elif (key := {**_OPTIONS, **_FUSION_OPTIONS}.get(name)) and "-O" in own:
            typed += ["-O", f"{key}={_value(equals, value, rest)}"]
            notes[f"{name} is now -O {key}=..."] = None
        elif name == "--event-fraction" and "--train-by" in own:
            if any(other.partition("=")[0] in ("--train-fraction", "--train-by") for other in args):
                raise typer.BadParameter(
                    "--event-fraction is now --train-fraction ... --train-by each-user: give one share."
                )
            typed += ["--train-fraction", _value(equals, value, rest), "--train-by", "each-user"]
            notes["--event-fraction ... is now --train-fraction ... --train-by each-user"] = None
        elif name == "--with" and "--user-profile" in own:
            typed += _brought(text, _value(equals, value, rest), notes)
        elif name == "--template-option" or (short and name.startswith("-T") and "-T" in own):
            typed += _template_option(text, rest, own, notes)
        else:
            typed.append(text)
    return typed, list(notes)


def _template_option(text: str, rest: Iterator[str], own: set[str], notes: dict[str, None]) -> list[str]:
    """Return `-T KEY=VALUE`, or the option that has the place of KEY."""
    pair = text[2:] if text.startswith("-T") and len(text) > 2 else text.partition("=")[2] or next(rest, "")
    key, equals, value = pair.partition("=")
    option = _TEMPLATE_OPTIONS.get(key)
    if option is None or option not in own or not equals:
        return ["-T", pair]
    notes[f"-T {key}=... is now {option} ..."] = None
    return [option, value]


def _brought(text: str, pair: str, notes: dict[str, None]) -> list[str]:
    """Return the option that has the place of `--with WHAT=RUN`, or the text as it was."""
    what, _, run = pair.partition("=")
    if (option := _BROUGHT.get(what)) is None:
        return [text]
    notes[f"--with {what}=RUN is now {option} RUN"] = None
    return [option, run]


def _option(text: str, rest: Iterator[str], notes: dict[str, None]) -> list[str]:
    """Return `-O KEY=VALUE` with the name that KEY has today."""
    pair = text[2:] if text.startswith("-O") and len(text) > 2 else text.partition("=")[2] or next(rest, None)
    if pair is None:
        return [text]  # nothing follows
    key, equals, value = pair.partition("=")
    if (today := _KEYS.get(key)) is None or not equals:
        return ["-O", pair]
    notes[f"-O {key}=... is now -O {today}=..."] = None
    return ["-O", f"{today}={value}"]


def _value(equals: str, value: str, rest: Iterator[str]) -> str:
    return value if equals else next(rest, "")
