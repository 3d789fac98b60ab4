"""What callers of the Python interface may pass as models, data sets and runs; the rest is an error with a hint."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, cast

from llmrs_bench.core.config import Options
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.results import Prepared, Run
from llmrs_bench.stages.workspace import Data, open_data


def model_name(model: object) -> str:
    """Return a model as it is typed; a path is the text of it.

    Raises:
        OptionError: If it is neither a text nor a path.
    """
    if isinstance(model, Path):
        return str(model)
    return name_of("model", model, "See `llmrs-bench list models`; or name ORG/NAME, a folder, or a GGUF file.")


def name_of(what: str, value: object, hint: str) -> str:
    """Return a text.

    Raises:
        OptionError: If it is none, with `hint`.
    """
    if isinstance(value, str):
        return value
    raise OptionError(f"{what} is {_shown(value)}, not a name", hint=hint)


def check_names(function: object, options: type[Options], more: Mapping[str, object]) -> None:
    """Refuse arguments that are none of a function, whose `more` are fields of `options`.

    Raises:
        OptionError: With the nearest that it has.
    """
    code = cast(FunctionType, function).__code__
    known = sorted({*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], *options.model_fields})
    for name in more:
        if name not in known:
            raise unknown_name(f"argument of {code.co_name}", name, known)


def data_of(dataset: object, home: Path) -> Data:
    """Open a data set that is named, or was prepared.

    Raises:
        ArtifactError: If it was not prepared.
        OptionError: If it is something else.
    """
    if isinstance(dataset, Prepared):
        return dataset.data
    return open_data(home, name_of("dataset", dataset, "Name one, such as 'demo', or pass what `prepare` returned."))


def path_of(what: str, value: object) -> Path:
    """Return a path.

    Raises:
        OptionError: If it is neither a text nor a path, such as a frame.
    """
    if isinstance(value, (str, Path)):
        return Path(value)
    hint = "Write a frame to a file first, in polars with frame.write_parquet('events.parquet')."
    raise OptionError(f"{what} is {_shown(value)}, not a path", hint=hint)


def run_names(runs: object) -> list[str]:
    """Return the names of runs, which may be given as `Run`s; None is none.

    Raises:
        OptionError: If the list is empty, or something else is in it.
    """
    if runs is None:
        return []
    names = [run_name(run) for run in several(runs)]
    if not names:
        raise OptionError("runs is an empty list", hint="Leave it out for all runs, or name some.")
    return [name_of("a run", name, "Pass names, or what `infer` returned.") for name in names]


def run_name(run: Any) -> Any:
    """Return the name of a `Run`, and anything else as it is."""
    return run.name if isinstance(run, Run) else run


def several(values: Any) -> list[Any]:
    """Return what was named as a list; one text or run alone is one of them.

    Raises:
        OptionError: If it cannot be a list.
    """
    if isinstance(values, (str, Run)):
        return [values]
    if isinstance(values, Iterable) and not isinstance(values, Mapping):
        return list(values)
    raise OptionError(f"{_shown(values)} is not a list of names", hint="Pass a list of texts.")


def typed(pairs: Mapping[str, object] | None) -> dict[str, str]:
    """Return options as if they were typed.

    Raises:
        OptionError: If they are no dictionary.
    """
    if pairs is not None and not isinstance(pairs, Mapping):
        raise OptionError(f"options are {_shown(pairs)}, not a dictionary", hint='Write {"key": value}.')
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in (pairs or {}).items()}


def _shown(value: object) -> str:
    """Return a short value as it is, and any other by its kind."""
    return repr(value) if value is None or isinstance(value, (bool, int, float, Path)) else f"a {type(value).__name__}"
