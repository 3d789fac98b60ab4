"""Layouts of known data sets: which ones files are called like, and the refusal of files that no reader takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmrs_bench.core.errors import DataError
from llmrs_bench.core.registry import SOURCES
from llmrs_bench.data.datasets import AMAZON, ATOMIC, TABLE, Dataset
from llmrs_bench.data.files import SourceFiles


def unlike(dataset: Dataset, files: SourceFiles | None, path: Path | None) -> DataError:
    """Return the refusal of files that are not those of a data set, or of none where some are needed.

    Args:
        dataset: The data set, as it was to be read.
        files: What is there.
        path: Where the user said that it is.
    """
    formats = " or ".join(dataset.sources)
    if files is None:
        return DataError(f"the format {formats} reads files, but none were given", hint="Add --source PATH.")
    folders, own = files.unread_folders, TABLE in dataset.sources
    known = " or ".join(_known_layouts(files)) or ", ".join(n for n in SOURCES.names() if n not in dataset.sources)
    holds = ", ".join(files.names[:8]) or ("folders of folders" if folders else "nothing")
    hints = []
    if folders and files.names:
        hints.append(f"Folders in it are not searched: {', '.join(folders[:8])}; give the one that has the table.")
    elif folders:
        hints.append("Put its files into one folder, or make one table of them.")
    if not own and path is not None:
        hints.append(f"If it is a table of your own, give the data set another name, or add --format {TABLE}.")
    hints.append(
        "Give the owner's archive or folder, RecBole's atomic files (NAME.inter, NAME.item), or a table of events; "
        f"--columns user=NAME,item=NAME says which columns hold their ids. Other formats, with --format: {known}."
    )
    return DataError(
        f"{path or files.path} does not look like {dataset.name} (read as {formats}); it holds: {holds}",
        hint=" ".join(hints),
    )


@contextmanager
def naming_layouts(reader: str, files: SourceFiles | None) -> Iterator[None]:
    """Add to what is wrong with a table of one's own which layouts of known data sets have files of these names."""
    try:
        yield
    except DataError as error:
        if reader == TABLE and (known := _known_layouts(files)):
            error.hint += f" By the names of its files, it may be read with --format {' or '.join(known)}."
        raise


def _known_layouts(files: SourceFiles | None) -> list[str]:
    """Return the formats of known data sets whose files are called so; those of a family have its categories' names."""

    def fits(name: str) -> bool:
        categories = AMAZON.get(name, ("",))
        return any(category in file for file in (files.names if files else ()) for category in categories)

    return [
        name
        for name in SOURCES.names()
        if name not in (ATOMIC, TABLE) and files and fits(name) and SOURCES.load(name)().accepts(files)
    ]
