"""The source of a data set: where it is, how it is read, and what is warned about."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmrs_bench.core.config import IMPRESSIONS, LABELLED, PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.registry import SOURCES
from llmrs_bench.core.types import Progress, no_progress
from llmrs_bench.data.codes import Codes, first_lines
from llmrs_bench.data.datasets import ATOMIC, TABLE, Dataset, RemoteFile, find_dataset
from llmrs_bench.data.download import Download, download
from llmrs_bench.data.event_warnings import event_warnings
from llmrs_bench.data.files import GB, SourceFiles, file_md5
from llmrs_bench.data.ids import WRITE_ALIKE
from llmrs_bench.data.profile import PAIR, Profile
from llmrs_bench.data.profile import profile as profile_of
from llmrs_bench.data.sources import BY_ID, Raw, Source, check_raw
from llmrs_bench.data.split import Filtered, filter_events
from llmrs_bench.data.titles import natural_titles, without_years
from llmrs_bench.stages.layouts import naming_layouts, unlike
from llmrs_bench.stages.workspace import Reference


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the data come from.

    Args:
        path: A zip archive, a folder or a table to read; None downloads the data set.
        items: Where the table of items is, if not beside that of events.
        format_name: The data source that reads it; None tries those of the data set.
        remote: URL and md5 of the source of a data set that has none of its own, where there is no `path`.
        accept_new: Take downloads that differ from earlier ones, where no checksum is published.
        saves: Whether it is to be saved how they are read.
    """

    path: Path | None = None
    items: Path | None = None
    format_name: str | None = None
    remote: tuple[str, str] | None = None
    accept_new: bool = False
    saves: bool = False

    def dataset(self, name: str) -> Dataset:
        """Return the data set called `name`, as it is to be read.

        Raises:
            OptionError: As `find_dataset` does.
        """
        found = find_dataset(name, has_source=bool(self.path or self.remote), format_name=self.format_name)
        if self.remote is None or self.path is not None:
            return found
        url, md5 = self.remote
        return replace(
            found, files=(RemoteFile(url.rsplit("/", 1)[-1], (url,), md5=md5),), homepage=found.homepage or url
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A raw source that was found: its files (None: generated), the reader for them, and their checksum.

    `downloads` are those of its files; `items` is the checksum of a table of items that lies elsewhere.
    """

    files: SourceFiles | None
    source: Source
    reader: str
    digest: str
    downloads: tuple[Download, ...] = ()
    items: str | None = None


def find(home: Path, dataset: Dataset, origin: Origin, config: PrepareConfig, progress: Progress) -> Found:
    """Download what is to be, and find the reader for it.

    Raises:
        DataError: If there are no files, or nothing reads them.
        OptionError: If an option is read by nothing.
    """
    limit, others = _limit(config), _other_items(origin, config)
    readers = _readers(dataset, config, others)
    files, downloads = None, tuple[Download, ...]()
    if origin.path is not None:
        files = SourceFiles.open(origin.path, limit)
    elif dataset.files:
        folder = home / dataset.name / "source"
        downloads = download(dataset, folder, progress=progress, accept_new=origin.accept_new)
        files = SourceFiles.open(folder / dataset.archive.name if dataset.archive else folder, limit)
    reader, source = _choose(readers, files, dataset, origin)
    with naming_layouts(reader, files):
        digest = files.digest(source.uses(files)) if files else reader
    return Found(files, source, reader, digest, downloads, others.digest() if others else None)


def check_source(dataset: Dataset, origin: Origin, config: PrepareConfig) -> None:
    """Look at the beginning of a source on this machine for what `prepare` would refuse, such as a missing column.

    Raises:
        DataError: As `find` and `load` do.
        OptionError: If an option is read by nothing, or names no column.
    """
    readers = _readers(dataset, config, _other_items(origin, config))
    if origin.path is None:
        return
    files = SourceFiles.open(origin.path, _limit(config))
    reader, source = _choose(readers, files, dataset, origin)
    check = getattr(source, "check", None)
    if check is not None:
        with naming_layouts(reader, files):
            dated = check(files)
        lists = config.task not in LABELLED and config.candidates != IMPRESSIONS  # others say it in words of their own
        if lists and not dated and config.split != "random":
            raise no_last(dataset.name, reader, config.split)


def _limit(config: PrepareConfig) -> int | None:
    """Return the most bytes that a file may unpack to, if that was said."""
    return None if config.max_unpacked is None else int(config.max_unpacked * GB)


def _other_items(origin: Origin, config: PrepareConfig) -> SourceFiles | None:
    return None if origin.items is None else SourceFiles.open(origin.items, _limit(config))


def _readers(dataset: Dataset, config: PrepareConfig, items: SourceFiles | None) -> dict[str, tuple[Source, list[str]]]:
    """Return the data sources that may read a data set, by name, each with the options that it does not read.

    Raises:
        OptionError: If none reads all that are given.
    """
    readers = {name: _reader(name, config, items) for name in dataset.sources}
    if all(idle for _, idle in readers.values()):
        raise _idle(*next((name, idle) for name, (_, idle) in readers.items()))
    return readers


def _choose(
    readers: Mapping[str, tuple[Source, list[str]]], files: SourceFiles | None, dataset: Dataset, origin: Origin
) -> tuple[str, Source]:
    """Return the first data source that accepts the files, and its name.

    Raises:
        DataError: If none does.
        OptionError: If it does not read an option.
    """
    for reader, (candidate, idle) in readers.items():
        if candidate.accepts(files):
            if origin.saves and reader not in (ATOMIC, TABLE):
                idle.append("--save-mapping")
            if idle:
                raise _idle(reader, idle)
            return reader, candidate
    raise unlike(dataset, files, origin.path)


def _idle(reader: str, options: Sequence[str]) -> OptionError:
    return OptionError(
        f"{' and '.join(options)} {'has' if len(options) == 1 else 'have'} no effect on the format {reader}",
        hint="Leave out what the format does not read, or choose another one with --format.",
    )


def _reader(name: str, config: PrepareConfig, items: SourceFiles | None) -> tuple[Source, list[str]]:
    """Return the data source `name`, with the options that it reads, and the options that it does not read."""
    kind: Any = SOURCES.load(name)
    unrated = config.unrated.split(",") if config.unrated else ()
    columns = {"--columns": config.columns, "--unrated": unrated}
    tables = {
        "--items": items,
        "--item-columns": config.item_columns,
        "--encoding": config.encoding,
        "--time-unit": None if config.time_unit == "auto" else config.time_unit,
        "--line-order": config.line_order,
        "--drop-bad": config.drop_bad,
    }
    given = {option: value for option, value in {**columns, **tables}.items() if value}
    takes_tables = getattr(kind, "reads_tables", False)
    read = {**(columns if getattr(kind, "reads_columns", False) else {}), **(tables if takes_tables else {})}
    told = {option[2:].replace("-", "_"): value for option, value in given.items() if option in read}
    return kind(**told), [option for option in given if option not in read]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a source holds, as the options take it.

    Args:
        raw: With titles as people write them, and without ratings where these are to be ignored.
        users: The `first_lines` of the users of its events that have a user and an item.
        profile: What it looks like.
        reader: The format that it was read as.
    """

    raw: Raw
    users: Codes
    profile: Profile
    reader: str


LARGE = 10**8  # bytes of a source whose reading takes long enough to be shown


def load(dataset: Dataset, found: Found, config: PrepareConfig, progress: Progress) -> Loaded:
    """Read a source; of a large one it is shown how far that is.

    Raises:
        DataError: If it is malformed.
        PluginError: If its reader returns something else than it has to.
    """
    shown = progress if found.files is not None and found.files.size > LARGE else no_progress
    with shown("read", 3) as step, naming_layouts(found.reader, found.files):
        step(0, "rows")
        raw = found.source.load(found.files)
        step(1, "items")
        raw = _as_people_write(check_raw(raw, found.reader), dataset, config)
        # Rows are picked from all over the events: from one piece that is quick.
        raw = replace(raw, events=raw.events.rechunk())
        step(2, "counts")
        users = first_lines(raw.events.drop_nulls(PAIR)["user_id"])
        loaded = Loaded(raw, users, profile_of(raw, users), found.reader)
        step(3)
    return _without_untitled(loaded, config) if config.untitled == "drop" else loaded


def _without_untitled(loaded: Loaded, config: PrepareConfig) -> Loaded:
    """Return what a source holds without the items that have no title, and without their events.

    Raises:
        DataError: If most items have none, unless that is allowed.
    """
    raw = loaded.raw
    require_titles(raw, loaded.reader, config)
    untitled = _untitled(raw)
    if untitled.is_empty():
        return loaded
    element, ids = pl.element(), untitled.implode()
    kept, shown = (~frame["item_id"].is_in(ids).fill_null(False) for frame in (raw.events, raw.unchosen))
    told = {name: pl.col(name).list.eval(element.filter(~element.is_in(ids))) for name in ("shown", "clicked")}
    labels = raw.labels
    if len(labels):
        chosen, mask = labels.to_numpy(), np.ones(len(labels), dtype=bool)
        mask[chosen], mask[~chosen] = kept.to_numpy(), shown.to_numpy()
        labels = labels.filter(pl.Series(mask))
    dropped = int((~kept).sum())
    raw = replace(
        raw,
        items=raw.items.filter(~pl.col("item_id").is_in(ids)),
        events=raw.events.filter(kept),
        unchosen=raw.unchosen.filter(shown),
        impressions=raw.impressions.with_columns(**told),
        labels=labels,
        facts={**raw.facts, "untitled_items_dropped": len(untitled), "events_of_untitled_items_dropped": dropped},
        rules=tuple(rule for rule in raw.rules if not rule.endswith(BY_ID)),
        warnings=(
            *(warning for warning in raw.warnings if not warning.endswith(BY_ID)),
            f"{len(untitled):,} items without a title are dropped, and {dropped:,} of {len(kept):,} events with them",
        ),
    )
    return replace(loaded, raw=raw, users=first_lines(raw.events.drop_nulls(PAIR)["user_id"]))


def _untitled(raw: Raw) -> pl.Series:
    """Return the items that are called by their id for want of a title."""
    if raw.facts.get("items_without_title") == raw.facts.get("items_not_listed") == 0:
        return pl.Series(dtype=pl.String)  # some may be called as their id is
    return raw.items.filter(pl.col("title") == pl.col("item_id"))["item_id"]


def _as_people_write(raw: Raw, dataset: Dataset, config: PrepareConfig) -> Raw:
    """Return a source with titles as the options want them, and without ratings where these are to be ignored."""
    if config.titles == "natural":
        raw = replace(raw, items=natural_titles(without_years(raw.items)))
    elif dataset.natural_titles and config.titles is None:
        raw = replace(raw, items=natural_titles(raw.items))
    if config.implicit:
        raw = replace(raw, events=raw.events.with_columns(rating=pl.lit(None, dtype=pl.Float32)))
    return raw


@dataclass(frozen=True, slots=True)
class Description:
    """What a source holds, before anything is made of it.

    Args:
        title: What was read, and how.
        profile: A `Profile` as a mapping.
        rules: How it was read, and what the options drop.
        warnings: What to look at.
        mapping: The format, and the columns that were read, where it has any to name.
    """

    title: str
    profile: dict[str, Any]
    rules: tuple[str, ...]
    warnings: tuple[str, ...]
    mapping: dict[str, Any]


def describe(home: Path, reference: str, config: PrepareConfig, origin: Origin, progress: Progress) -> Description:
    """Read a data set as `prepare` does, and say what it holds; nothing is written but a download.

    Args and errors are those of `prepare`.
    """
    dataset = origin.dataset(Reference.parse(reference).dataset)
    found = find(home, dataset, origin, config, progress)
    loaded = load(dataset, found, config, progress)
    raw, counts = loaded.raw, counts_of(loaded.profile)
    rules = [*raw.rules, *published_rule(dataset, counts), *policies(config)]
    warnings = [*source_warnings(dataset, found, counts), *raw.warnings]
    if raw.timeless and config.split == "leave-one-out":
        refusal = no_last(dataset.name, found.reader, config.split)
        warnings.append(f"{refusal.message}. {refusal.hint}")
    else:
        warnings += event_warnings(raw.events, config)
    if config.min_rating is not None or config.k_core > 1 or config.repeats != "first":
        try:
            kept = kept_events(raw, config)
        except (DataError, OptionError) as error:  # which the profile explains
            warnings.append(f"{error.message}. {error.hint}")
        else:
            left = [kept.events.height, kept.events["user_id"].n_unique(), kept.events["item_id"].n_unique()]
            rules += [*kept.rules, "{:,} events of {:,} users with {:,} items are left by these options".format(*left)]
    title = f"{dataset.name}, read as {found.reader}" + (f" from {found.files.path}" if found.files else "")
    return Description(title, asdict(loaded.profile), tuple(rules), tuple(warnings), mapping_of(raw, found))


def mapping_of(raw: Raw, found: Found) -> dict[str, Any]:
    """Return the format, and the columns that were read, where it has any to name."""
    return {"format": found.reader, **raw.columns} if raw.columns else {}


def kept_events(raw: Raw, config: PrepareConfig, *, distinct: bool = False) -> Filtered:
    """Return the events that the options leave.

    Args and errors are those of `filter_events`.
    """
    return filter_events(
        raw.events, min_rating=config.min_rating, k_core=config.k_core, repeats=config.repeats, distinct=distinct
    )


def require_titles(raw: Raw, reader: str, config: PrepareConfig) -> None:
    """Refuse a source most of whose items have no title, unless that is allowed.

    Raises:
        DataError: Saying where titles may come from.
    """
    if config.allow_untitled or (found := _untitled(raw)).is_empty():
        return
    items = raw.items.join(raw.events.select("item_id").unique(), on="item_id", how="semi")
    refuse_untitled(int(items["item_id"].is_in(found.implode()).sum()), items.height, reader, raw.warnings)


def refuse_untitled(untitled: int, items: int, reader: str, warnings: Sequence[str] = ()) -> None:
    """Refuse items most of which have no title; `warnings` may say why.

    Raises:
        DataError: Saying where titles may come from.
    """
    if 2 * untitled > items:
        raise DataError(
            f"{untitled:,} of {items:,} items with events have no title, or their id as title",
            hint="".join(f"{warning}. " for warning in warnings if warning.endswith(WRITE_ALIKE))
            + "Language models need titles: "
            + (
                "add a table that has them (--items FILE), or name the column (--columns title=NAME)"
                if reader in (ATOMIC, TABLE)
                else "put the owner's file that has them beside the others"
            )
            + ". --allow-untitled continues, with ids as titles.",
        )


def policies(config: PrepareConfig) -> Iterator[str]:
    """Say what the options make of ratings, titles and the word for an item."""
    if config.implicit:
        yield "ratings are not read"
    if config.titles:
        yield {"keep": "titles are as they are stored", "natural": "articles stand in front of titles, years apart"}[
            config.titles
        ]
    if config.item_word == "item":
        yield "prompts speak of items: --item-word movie, song or product says what they are"


def counts_of(profile: Profile) -> dict[str, int]:
    """Return how many users, items, interactions and listed items a source holds."""
    return {
        "users": profile.users,
        "items": profile.items,
        "interactions": profile.events + profile.without_ids,
        "listed_items": profile.listed,
    }


def is_published(dataset: Dataset, found: Found) -> bool:
    """Return whether the source is what was published, byte for byte; generated data always are."""
    if found.files is None:
        return True
    published = bool(dataset.files) and all(file.md5 for file in dataset.files)
    return published and (bool(found.downloads) or not [*_replaced(dataset, found)])


def _replaced(dataset: Dataset, found: Found) -> Iterator[str]:
    """Name the files of a source that are not the published ones, with both checksums."""
    if found.files is None or found.downloads:
        return
    if len(dataset.files) == 1:
        md5 = dataset.files[0].md5
        if md5 is not None and found.digest != md5:
            yield f"{found.files.path} is not the published archive (md5 {found.digest}, published {md5})"
        return
    for file in dataset.files:
        path = found.files.path / file.name
        if file.md5 and not path.exists():
            yield f"{found.files.path} holds no {file.name} to be compared with the published one"
        elif file.md5 and (md5 := file_md5(path)) != file.md5:
            yield f"{path} is not the published file (md5 {md5}, published {file.md5})"


def source_warnings(dataset: Dataset, found: Found, counts: dict[str, int]) -> list[str]:
    """Say which files are not the published ones, and which counts are not."""
    warnings = [f"{words}: used as it is and recorded as unverified" for words in _replaced(dataset, found)]
    for name, (have, want) in _unpublished(dataset, counts).items():
        warnings.append(f"{have:,} {name.replace('_', ' ')} in the source, {want:,} published")
    return warnings


def _unpublished(dataset: Dataset, counts: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Return the counts that are not the published ones: what was found, what should be."""
    if dataset.published is None:
        return {}
    published = asdict(dataset.published)
    return {name: (counts[name], want) for name, want in published.items() if want is not None and counts[name] != want}


def published_rule(dataset: Dataset, counts: dict[str, int]) -> list[str]:
    """Say which counts are as published, where all are."""
    if dataset.published is None or _unpublished(dataset, counts):
        return []
    *names, last = [name.replace("_", " ") for name, want in asdict(dataset.published).items() if want is not None]
    return [f"{', '.join(names)}{' and ' if names else ''}{last} are as many as published"]


def no_last(dataset: str, reader: str, split: str) -> OptionError:
    """Return the refusal of leave-one-out, or of a split by time, where nothing says when events were."""
    choices = "--split random holds out a random event of each user."
    if reader == TABLE:
        choices = (
            "Name the column of times (--columns time=NAME); or, if the lines are in chronological order, add "
            f"--line-order; otherwise {choices}"
        )
    lost = "leave-one-out cannot find the last event of a user"
    if split == "time":
        lost = "it cannot be split by time"
    return OptionError(f"{dataset} has no times of events, so {lost}", hint=choices)
