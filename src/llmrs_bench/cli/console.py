"""Everything a person sees while a stage runs: messages, progress and exit codes."""

import json
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import pairwise
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from llmrs_bench.cli.command import typed_alone
from llmrs_bench.cli.logs import emit, log, logged, terminal
from llmrs_bench.core.errors import BenchError, next_step
from llmrs_bench.core.types import Step

INTERRUPTED, TERMINATED = 130, 143
stdout = Console(highlight=False, emoji=False)

_json = False


def log_as_json(wanted: bool) -> None:
    """Write what the next command says as one JSON object a line, or for people."""
    global _json  # noqa: PLW0603  # one process has one stderr
    _json = wanted


def say(text: str) -> None:
    """Print a line for people."""
    emit("info", text)


def shows(signs: str) -> bool:
    """Return whether stdout can show these characters."""
    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def show(lines: Sequence[str]) -> None:
    """Write lines of a result to stdout; what its encoding lacks becomes a question mark."""
    encoding = sys.stdout.encoding or "ascii"
    for line in lines:
        typer.echo(line.encode(encoding, "replace").decode(encoding))


def show_json(value: object) -> None:
    """Write a result to stdout as JSON."""
    typer.echo(json.dumps(value, indent=2))


def warn(text: str) -> None:
    """Print a warning."""
    emit("warning", text)


def warn_before(notes: Sequence[str]) -> None:
    """Print warnings about how a command was called, before it runs."""
    with logged(_json):
        for note in notes:
            warn(note)


_LONG = 2000  # letters of a message


def fail(text: str, hint: str) -> None:
    """Print an error and what to do next; a value of a thousand letters would bury what is wrong with it."""
    emit("error", text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 2 :]}", hint=hint)


def track(label: str, total: int) -> AbstractContextManager[Step]:
    """Show how many of `total` units are done: a bar on a terminal, else a line every 10 s and one at the end."""
    from llmrs_bench.cli.progress import bar, lines

    return _ending(lines(label, total) if _json or not terminal().is_terminal else bar(label, total))


def track_lines(label: str, total: int) -> AbstractContextManager[Step]:
    """Show how many of `total` units are done in lines: bars of several jobs at once overwrite each other."""
    from llmrs_bench.cli.progress import lines

    return _ending(lines(label, total))


@contextmanager
def _ending(shown: AbstractContextManager[Step]) -> Iterator[Step]:
    """End a job at its next step after a signal whose exception got lost, as in a callback of a library."""
    with shown as step:

        def checked(done: int, note: str = "", total: int | None = None) -> None:
            step(done, note, total)
            if _signals.sent is not None:
                raise _signals.sent

        yield checked


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came; unlike Python's own exception it can be watched."""


class Terminated(Interrupted):
    """SIGTERM came: what is under way ends as after Ctrl-C."""


_ENDING = {signal.SIGTERM: Terminated, signal.SIGINT: Interrupted}
_AGAIN = 1.0  # seconds until a signal whose exception got lost is sent again


class _Signals:
    """Has Ctrl-C, and SIGTERM as schedulers and containers send it, end a command, which keeps what it has.

    `sent` is what came; while the command says that it ends, `over`, more of them change nothing. Where a library loses
    the exception, as sockets that wait do and callbacks, the signal comes again until one gets through.
    """

    def __init__(self) -> None:
        self.sent: type[Interrupted] | None = None
        self.over = False

    def came(self, signum: int, frame: object) -> None:
        """Raise what a signal means, wherever the main thread is."""
        if not self.over:
            self.sent = _ENDING[signal.Signals(signum)]
            raise self._watched(signum)

    def _watched(self, signum: int) -> Interrupted:
        """Return the exception; it has no other name, so that it is gone once nobody handles it."""
        assert self.sent is not None
        made = self.sent()
        with suppress(RuntimeError):  # no thread can be started
            threading.Thread(target=self._repeat, args=(signum, weakref.ref(made)), daemon=True).start()
        return made

    def _repeat(self, signum: int, made: weakref.ref[Interrupted]) -> None:
        """Send a signal to the main thread once more if its exception is gone and the command goes on."""
        while made() is not None:
            time.sleep(_AGAIN)
        if self.sent is not None and not self.over:
            signal.pthread_kill(threading.main_thread().ident or 0, signum)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Listen to both."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are none of another thread's business
            return
        heard = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # as below nohup
        before = {number: signal.signal(number, self.came) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.sent, self.over = None, False


_signals = _Signals()


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn every failure into one message and its exit code; the only place that does."""
    global _json  # noqa: PLW0603
    try:
        with _signals.caught(), logged(_json), _failures():
            yield
    finally:
        _json = False


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except BenchError as error:
        fail(error.message, error.hint)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        _signals.over = True
        fail(
            f"{'terminated' if isinstance(error, Terminated) else 'interrupted'}; no unfinished files were left",
            "Run the same command to resume: training after its last epoch, language models after the last saved "
            "answers.",
        )
        raise typer.Exit(TERMINATED if isinstance(error, Terminated) else INTERRUPTED) from error
    except BrokenPipeError as error:
        # The reader of our results went away, as `| head` does; keep the interpreter from complaining again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from error
    except OSError as error:
        fail(str(error), next_step(error))
        raise typer.Exit(1) from error
    except (typer.Exit, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if hasattr(error, "format_message"):  # a mistake in what was typed
            raise
        if _lacks_memory(error):
            fail(
                f"there is not enough memory: {_one_line(error)}",
                "Lower the options that need memory (users, candidates, samples, dim, batch), or use a larger machine.",
            )
        else:
            fail_unforeseen(error)
        raise typer.Exit(1) from error


def _lacks_memory(error: BaseException) -> bool:
    """Return whether memory ran out: PyTorch says so in errors of its own."""
    said = "allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and said)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")[:300]


def fail_unforeseen(error: BaseException) -> None:
    """Print what went wrong that nothing foresaw, a fault of this program: in a line, with the traceback elsewhere."""
    what = _one_line(error)
    if _json:
        log.error("%s", what, exc_info=error)
        return
    text = "".join(traceback.format_exception(error))
    try:
        number, name = tempfile.mkstemp(prefix="llmrs-bench-", suffix=".log", text=True)
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{shlex.join(sys.argv)}\n\n{text}")
    except OSError:
        name = "(it could not be written; with --log json the traceback is part of the log)"
    fail(f"this is a fault of llmrs-bench: {what}", f"Please report it with the log {name}")


class Commands(TyperGroup):
    """The command line, whose wrong options, too, are JSON where `--log json` was typed.

    An option that takes one value and is given twice is refused; the library would take the last.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options before the name of a command."""
        return typed_alone(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was typed, and look at its options."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not {"-h", "--help"} & {*args}:
            _refuse_repeated(command, command.make_context(name, [], parent=ctx, resilient_parsing=True), rest)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what is wrong with a value is said in the words of options, not in those of a library."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # before the command began, or after its end
            raise typer.Exit(INTERRUPTED) from error
        except typer.BadParameter as error:
            if faults := getattr(error.__cause__, "errors", None):
                from llmrs_bench.core.option_faults import fault_words

                error.message = fault_words(faults()[0] | {"loc": ()}, ()).removeprefix("=")
            if " is not one of " in error.message:
                from llmrs_bench.core.registry import unknown_name

                typed, *known = re.findall("'(.*?)'", error.message)
                guess, found, _ = unknown_name("value", typed, known).hint.partition("?")
                error.message += f" {guess}?" if found else ""
            raise

    def main(self, args: Sequence[str] | None = None, *others: Any, **more: Any) -> Any:
        """Run a command, and leave with its exit code."""
        typed = list(sys.argv[1:] if args is None else args)
        as_json = _asks_for_json(typed)
        if fault := _unreadable(typed):
            with logged(as_json):
                fail(*fault)
            sys.exit(2)
        again = os.environ.get("RANK", "0") != "0"  # the first process of a launch says what is wrong for all
        if not as_json and not again:
            return super().main(typed, *others, **more)
        try:
            code = super().main(typed, *others, **{**more, "standalone_mode": False})
        except Exception as error:
            if not hasattr(error, "format_message"):  # no mistake in what was typed
                raise
            if not again:
                with logged(as_json=True):
                    fail(error.format_message(), "Run the command with --help.")
            code = getattr(error, "exit_code", 2)
        sys.exit(code)


def _refuse_repeated(command: Any, ctx: Any, args: list[str]) -> None:
    parser = command.make_parser(ctx)
    parser.ignore_unknown_options = True  # whoever reads them in earnest refuses them
    *_, given = parser.parse_args(args=list(args))
    for place, option in enumerate(given):
        if option in given[:place] and not getattr(option, "multiple", True):
            raise typer.BadParameter("was given twice, and takes one value.", ctx=ctx, param=option)


def _unreadable(typed: Sequence[str]) -> tuple[str, str] | None:
    """Say what is wrong with arguments that are empty, or no text."""
    for name, value in os.environ.items():
        if name.startswith("LLMRS_BENCH_") and not _is_text(value):
            return f"{name}={_shown(value)} is not in UTF-8", "Set another value."
    for before, argument in pairwise(["llmrs-bench", *typed]):
        if not _is_text(argument):
            return (
                f"{_shown(argument)} is not in UTF-8",
                "Write it in UTF-8; if it is the name of a file, rename the file.",
            )
        if not argument.strip() or re.fullmatch(r"--[\w-]+=\s*", argument):
            option = argument.strip() or before
            return f"{_shown(option)}: the value is empty", "Give a value, or leave the option out."
    return None


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in argument


def _shown(argument: str) -> str:
    return argument.encode("utf-8", "backslashreplace").decode()


def _asks_for_json(typed: Sequence[str]) -> bool:
    return "--log=json" in typed or ("--log", "json") in pairwise(typed)


def say_made(done: Any) -> None:
    """Say what a stage warns of, and where its artifact is."""
    for warning in done.warnings:
        warn(warning)
    say(f"{'made' if done.fresh else 'already there'}: {done.artifact.path}")


def finish(done: Any, more: str = "") -> None:
    """Say what a stage has made, and write its name to stdout."""
    say_made(done)
    typer.echo(done.name + more)


def confirmed(question: str) -> bool:
    """Ask a question, and return whether it is answered with yes; what nobody answers is not."""
    terminal().print(f"{question} [y/N]: ", end="", markup=False, soft_wrap=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def ask(stage: Callable[..., Any], data: Any, config: Any, spending: Any) -> Any:
    """Run a stage that asks a language model, within a budget; say where prompts go, and what it made."""
    from llmrs_bench.stages.serving import OpenEngine, destination

    if config.engine == "openai":
        say(f"prompts without a cached answer are sent to {destination(config.served)}")
    with closing(OpenEngine(spending)) as engines:
        done = stage(data, config, track, engines=engines)
    say_made(done)
    return done
