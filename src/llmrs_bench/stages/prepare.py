"""Stage `prepare`: a source becomes items, interactions, requests and truth; candidates are drawn, read or found."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import LISTS, MODELS, WHOLE, PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.registry import RECOMMENDERS, SOURCES, unknown_name
from llmrs_bench.core.types import Progress
from llmrs_bench.data.candidates import make_requests, sampler_file
from llmrs_bench.data.codes import Codes, first_lines
from llmrs_bench.data.files import DAYS, GB, SourceFiles, file_md5
from llmrs_bench.data.profile import PAIR, Profile
from llmrs_bench.data.profile import profile as describe_raw
from llmrs_bench.data.sources import Dataset, Raw, Source, check_raw, fetch, find_dataset
from llmrs_bench.data.split import TIE_RULE, filter_events, leave_one_out, timeline
from llmrs_bench.data.titles import natural_titles
from llmrs_bench.ranking import rank_best
from llmrs_bench.recommenders.base import Corpus, best_items
from llmrs_bench.stages.infer_recommender import FORMAT as TRAINING_FORMAT
from llmrs_bench.stages.infer_recommender import (
    RecommenderSpec,
    TrainingData,
    fitted,
    is_exported,
    is_recommender,
    settings,
)
from llmrs_bench.stages.workspace import Data, Place, Reference, is_unprepared, open_data


def retrievers(config: PrepareConfig) -> list[RecommenderSpec]:
    """Return the recommenders that `config.candidates` names, with their options.

    Raises:
        OptionError: If one is unknown or named twice, or an option belongs to none.
    """
    names = config.candidates.removeprefix(MODELS).split("+")
    if len(set(names)) < len(names) or not all(names):
        raise OptionError(
            f"candidates {config.candidates!r} must name distinct models",
            hint="Write, for instance, model:sasrec+bm25.",
        )
    for name in names:
        if not is_recommender(name):
            raise unknown_name("recommender", name, RECOMMENDERS.names(), hint="Or the folder of an exported one.")
    options: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, value in config.retriever_options.items():
        model, dot, option = key.partition(".")
        if not dot or model not in options:
            raise OptionError(
                f"-O {key}={value} belongs to none of the retrievers {', '.join(names)}",
                hint=f"Write -O {names[0]}.KEY=VALUE.",
            )
        options[model][option] = value
    return [RecommenderSpec(name, options[name], seed=0 if is_exported(name) else config.seed) for name in names]


def retriever_settings(config: PrepareConfig) -> list[dict[str, Any]]:
    """Return everything that decides what the retrievers find, for a fingerprint."""
    return [settings(spec) for spec in retrievers(config)]


def retrieve(
    config: PrepareConfig, training_data: TrainingData, requests: pl.DataFrame, depth: int, progress: Progress
) -> Mapping[str, list[str]]:
    """Return the best `depth` items of each request id, best first.

    Several models take turns in the order of their names; an item named before is passed over. Ties are
    ordered by the seeded hash of every ranking.

    Args:
        config: Which models, and whether seen items may be among them.
        training_data: What the models learn from: no held-out event is in it.
        requests: Frame of the schema `requests`; its candidates are not read.
        depth: How many items of each request.
        progress: Shows trainings.
    """
    catalogue = training_data.corpus.items["item_id"]
    found: list[dict[str, list[str]]] = []
    for spec in retrievers(config):
        model = fitted(spec, training_data, progress).model
        best = best_items(model, requests, catalogue, depth=depth, include_seen=config.include_seen)
        ranked = pl.concat([rank_best(part, depth=depth, seed=config.seed) for part in best])
        lists = ranked.sort("request_id", "rank").group_by("request_id", maintain_order=True).agg("item_id")
        found.append(dict(lists.iter_rows()))
    return {name: _in_turn([lists.get(name, []) for lists in found], depth) for name in requests["request_id"]}


def _in_turn(lists: list[list[str]], size: int) -> list[str]:
    """Return the first `size` distinct items when each list names its next new one in turn."""
    taken: dict[str, None] = {}
    queues: list[Iterator[str]] = [iter(items) for items in lists]
    while queues and len(taken) < size:
        for queue in list(queues):
            item = next((item for item in queue if item not in taken), None)
            if item is None:
                queues.remove(queue)
            elif len(taken) < size:
                taken[item] = None
    return list(taken)


# Bumped when the tables made from the same source and options change: older artifacts are then recomputed.
FORMAT = "2"
READER_FORMATS = {"atomic": "3"}  # of one reader alone


@dataclass(frozen=True, slots=True)
class Found:
    """A raw source that was found: its files (None: generated), the reader for them, and their checksum."""

    files: SourceFiles | None
    source: Source
    reader: str
    digest: str


def prepare(
    home: Path,
    reference: str,
    config: PrepareConfig,
    source: Path | None,
    progress: Progress,
    *,
    format_name: str | None = None,
) -> StageResult:
    """Make the artifact `data` of a data set: items, interactions, requests, truth.

    Args:
        home: Folder of all artifacts.
        reference: `NAME`, or `NAME@VARIANT` to name this way of preparing it.
        config: The options.
        source: A zip archive or a folder to read; None downloads the data set.
        progress: Shows the download, and the training of retrievers.
        format_name: The data source that reads it; None tries those of the data set.

    Raises:
        DataError: If the source is missing or broken, or nothing is left of it.
        OptionError: If an option names nothing.
        ArtifactError: If the variant's name is taken by other options.
    """
    asked = Reference.parse(reference)
    dataset = find_dataset(asked.dataset, has_source=source is not None, format_name=format_name)
    config = config.model_copy(update={"item_word": config.item_word or dataset.item_word})
    found = _find(home, dataset, source, progress, config)
    recipe = _recipe(dataset, config, found)
    place = Place(home / dataset.name / (asked.variant or recipe.fingerprint[:8]))
    return get_or_create(
        place.data, recipe, lambda draft: _fill(draft, dataset, config, found, place, progress), name=place.reference
    )


@dataclass(frozen=True, slots=True)
class Description:
    """What a source holds, before anything is made of it.

    Args:
        title: What was read, and how.
        profile: A `Profile` as a mapping.
        rules: How it was read, and what the options drop.
        warnings: What to look at.
    """

    title: str
    profile: dict[str, Any]
    rules: tuple[str, ...]
    warnings: tuple[str, ...]


def describe(
    home: Path,
    reference: str,
    config: PrepareConfig,
    source: Path | None,
    progress: Progress,
    *,
    format_name: str | None = None,
) -> Description:
    """Read a data set as `prepare` does, and say what it holds; nothing is written but a download.

    Args and errors are those of `prepare`.
    """
    dataset = find_dataset(Reference.parse(reference).dataset, has_source=source is not None, format_name=format_name)
    found = _find(home, dataset, source, progress, config)
    raw, _, profile = _load(dataset, found)
    counts = _counts(profile)
    rules = [*raw.rules, *_published_rule(dataset, counts)]
    warnings = [*_source_warnings(dataset, found, counts), *raw.warnings, *_event_warnings(raw.events)]
    if config.min_rating is not None or config.k_core > 1:
        try:
            kept = filter_events(raw.events, min_rating=config.min_rating, k_core=config.k_core)
        except (DataError, OptionError) as error:  # which the profile explains
            warnings.append(f"{error.message}. {error.hint}")
        else:
            left = [kept.events.height, kept.events["user_id"].n_unique(), kept.events["item_id"].n_unique()]
            rules += [*kept.rules, "{:,} events of {:,} users with {:,} items are left by these options".format(*left)]
    return Description(
        f"{dataset.name}, read as {found.reader}" + (f" from {found.files.path}" if found.files else ""),
        asdict(profile),
        tuple(rules),
        tuple(warnings),
    )


def open_or_prepare(home: Path, text: str, progress: Progress, say: Callable[[str], None]) -> Data:
    """Open a data set; a known one of which no variant was prepared is prepared with its defaults before.

    Args:
        home: Folder of all artifacts.
        text: `NAME` or `NAME@VARIANT`.
        progress: Shows the download.
        say: Told what is done, and with which options.

    Raises:
        DataError: If the data set cannot be downloaded, or is damaged.
        ArtifactError, OptionError: As `open_data` does.
    """
    if is_unprepared(home, text):
        config = PrepareConfig(dataset=text)
        say(
            f"{text} is not prepared yet: it is now, with the defaults ({config.users:,} users, {config.n_candidates} "
            f"{config.candidates} candidates, {config.history} items of history); "
            "`llmrs-bench prepare --help` says how to choose others"
        )
        done = prepare(home, text, config, None, progress)
        for warning in done.warnings:
            say(f"warning: {warning}")
    return open_data(home, text)


def _find(home: Path, dataset: Dataset, source: Path | None, progress: Progress, config: PrepareConfig) -> Found:
    files = None
    if source is not None:
        limit = None if config.max_unpacked is None else int(config.max_unpacked * GB)
        files = SourceFiles.open(source, limit)
    elif dataset.url and dataset.md5:
        folder = home / dataset.name / "source"
        path = folder / dataset.url.rsplit("/", 1)[-1]
        files = SourceFiles.open(fetch(dataset.url, dataset.md5, path, progress=progress, homepage=dataset.homepage))
    for reader in dataset.sources:
        candidate = _reader(reader, config)
        if candidate.accepts(files):
            digest = files.digest(candidate.uses(files)) if files else reader
            return Found(files, candidate, reader, digest)
    formats = " or ".join(dataset.sources)
    if files is None:
        raise DataError(f"the format {formats} reads files, and none are given", hint="Add --source PATH.")
    others = ", ".join(name for name in SOURCES.names() if name not in dataset.sources)
    raise DataError(
        f"{source or files.path} does not look like {dataset.name} (read as {formats}); it holds: "
        + (", ".join(files.names[:8]) or "nothing"),
        hint="Give the owner's archive or folder, or a folder of RecBole atomic files (NAME.inter, NAME.item). "
        f"Other formats: --format {others}.",
    )


def _reader(name: str, config: PrepareConfig) -> Source:
    """Return the data source `name`, told which columns to read.

    Raises:
        OptionError: If it cannot be told.
    """
    kind: Any = SOURCES.load(name)
    if not config.columns and config.unrated is None:
        source: Source = kind()
    elif getattr(kind, "reads_columns", False):
        source = kind(config.columns, config.unrated.split(",") if config.unrated else ())
    else:
        raise OptionError(
            f"--columns and --unrated have no effect on the format {name}: its columns are known",
            hint="Leave them out, or choose another format with --format.",
        )
    return source


def _recipe(dataset: Dataset, config: PrepareConfig, found: Found) -> Recipe:
    inputs = {"source": found.digest}
    options: dict[str, Any] = config.result_options
    path = sampler_file(config.candidates)
    if path is not None:
        inputs["candidates"] = file_md5(path)
        options["candidates"] = LISTS + path.name
    parts = {"format": READER_FORMATS.get(found.reader, FORMAT), "reader": found.reader}
    if config.min_rating is not None and not config.include_seen:
        parts["seen"] = "2"  # items rated low are seen, too
    for package, version in SOURCES.package(found.reader).items():
        parts["package"] = f"{package} {version}"
    if config.candidates.startswith(MODELS):
        inputs["retrievers"] = fingerprint({"retrievers": retriever_settings(config)})
        parts["models"] = TRAINING_FORMAT
    return Recipe("prepare", dataset.name, options, inputs, parts)


def _fill(
    draft: Draft, dataset: Dataset, config: PrepareConfig, found: Found, place: Place, progress: Progress
) -> None:
    raw, users, profile = _load(dataset, found)
    items, counts = raw.items, _counts(profile)
    kept = filter_events(raw.events, min_rating=config.min_rating, k_core=config.k_core)
    split = leave_one_out(kept.events, users if kept.events.height == len(users) else None)
    del users
    items = items.join(kept.events.select("item_id"), on="item_id", how="semi", maintain_order="left")
    tables = {"items": items, "interactions": split.interactions}
    for name, frame in tables.items():
        draft.write(name, frame)
    training_data = TrainingData(
        Corpus(split.interactions, items), {name: draft.digest(name) for name in tables}, place.models
    )
    made = make_requests(
        split,
        config,
        catalogue=items["item_id"],
        retrieve=lambda requests, depth: retrieve(config, training_data, requests, depth, progress),
        seen=pl.concat([kept.disliked, raw.unchosen]),
    )
    for name, frame in {"requests": made.requests, "truth": made.truth}.items():
        draft.write(name, frame)
    future = timeline(kept.events, split.interactions, made.requests)
    draft.facts.update(
        counts=counts,
        profile=asdict(profile),
        kept={
            "users": split.facts["users"],
            "items": items.height,
            "interactions": kept.events.height,
        },
        requests=made.requests.height,
        filtering=dict(kept.facts),
        split=dict(split.facts),
        sampling=dict(made.facts),
        source=dict(raw.facts),
        verified=_is_published(dataset, found),
        tie_rule=TIE_RULE,
        rules=[*raw.rules, *_published_rule(dataset, counts), *kept.rules, *split.rules, *made.rules]
        + ([future.words] if future else []),
        timeline=None if future is None else {**asdict(future), "words": future.words},
        warnings=[
            *_source_warnings(dataset, found, counts),
            *raw.warnings,
            *_event_warnings(kept.events),
            *made.warnings,
            *_list_warnings(made.requests, config),
        ],
    )


def _load(dataset: Dataset, found: Found) -> tuple[Raw, Codes, Profile]:
    """Return what the source holds, with titles as people write them; its users as numbers; and its profile."""
    raw = check_raw(found.source.load(found.files), found.reader)
    if dataset.natural_titles:
        raw = replace(raw, items=natural_titles(raw.items))
    users = first_lines(raw.events.drop_nulls(PAIR)["user_id"])
    return raw, users, describe_raw(raw, users)


def _counts(profile: Profile) -> dict[str, int]:
    return {
        "users": profile.users,
        "items": profile.items,
        "interactions": profile.events + profile.without_ids,
        "listed_items": profile.listed,
    }


def _is_published(dataset: Dataset, found: Found) -> bool:
    """Tell whether the source is the published archive, byte for byte; generated data always is."""
    return found.files is None or (dataset.md5 is not None and found.digest == dataset.md5)


def _source_warnings(dataset: Dataset, found: Found, counts: dict[str, int]) -> list[str]:
    warnings = []
    if found.files is not None and dataset.md5 is not None and found.digest != dataset.md5:
        warnings.append(
            f"{found.files.path} is not the published archive (md5 {found.digest}, published {dataset.md5}): "
            "used as it is and recorded as unverified"
        )
    for name, (have, want) in _unpublished(dataset, counts).items():
        warnings.append(f"{have:,} {name} in the source, {want:,} published")
    return warnings


def _unpublished(dataset: Dataset, counts: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Return the counts that are not the published ones: what was found, what should be."""
    if dataset.published is None:
        return {}
    published = asdict(dataset.published)
    return {name: (counts[name], want) for name, want in published.items() if counts[name] != want}


def _published_rule(dataset: Dataset, counts: dict[str, int]) -> list[str]:
    if dataset.published is None or _unpublished(dataset, counts):
        return []
    return ["users, items and interactions are as many as published"]


def _event_warnings(events: pl.DataFrame) -> Iterator[str]:
    """Say which times and ratings may mean something else than what they are taken for."""
    times, count = events["timestamp"], events.height
    if times.min() == times.max() and count > 1:
        yield f"all {count:,} events are of one time: the order of the source's lines says which come last"
    elif (zeros := int((times == 0).sum())) and (times != 0).sum() == (times > DAYS[1]).sum():
        yield f"{zeros:,} of {count:,} events are of time 0, and so come first"
    rated = events["rating"].drop_nulls()
    odd, others = rated.filter(rated <= 0), rated.filter(rated > 0)
    if odd.n_unique() == 1 and len(others):
        low, high, one = *others.sort().gather([0, -1]).to_list(), odd[0]
        yield (
            f"{len(odd):,} of {len(rated):,} ratings are {one:g}, the others {low:g} to {high:g}: if that means "
            f"disliked or unrated, --min-rating {min(low, 1):g} drops these events, --unrated {one:g} keeps them"
        )


def _list_warnings(requests: pl.DataFrame, config: PrepareConfig) -> list[str]:
    short = requests.filter(pl.col("candidates").list.len() < config.n_candidates).height
    if config.candidates == WHOLE or not short:
        return []
    return [f"{short:,} of {requests.height:,} requests have fewer than the {config.n_candidates} candidates asked for"]
