"""The environment of this process: the home of its user, and what libraries read of it, set while it is needed."""

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Return a path with a leading `~` as the home of its user; of a user that is not known, it stays."""
    return Path(os.path.expanduser(path))


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set the variables that are not set, for whoever set one means it, and remove them afterwards."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Have transformers draw no bars while a model is loaded, which is one line of the log."""
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    drawn = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            with warnings.catch_warnings():  # huggingface_hub warns where a variable keeps its own bars away
                warnings.simplefilter("ignore")
                enable_progress_bar()


@contextmanager
def prints_on_stderr() -> Iterator[None]:
    """Have stderr get what libraries, C code and other processes print to stdout, where results stand alone."""
    if sys.stdout is None or sys.stderr is None:  # the process was started without them
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
