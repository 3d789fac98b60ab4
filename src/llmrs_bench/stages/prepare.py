"""Stage `prepare`: a source becomes items, interactions, requests and truth; candidates are drawn, read or found."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import IMPRESSIONS, LISTS, MODELS, WHOLE, PrepareConfig
from llmrs_bench.core.errors import DataError, OptionError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.registry import RECOMMENDERS, SOURCES, unknown_name
from llmrs_bench.core.types import Progress
from llmrs_bench.data.candidates import Requests, make_requests, sampler_file
from llmrs_bench.data.datasets import Dataset, find_dataset
from llmrs_bench.data.download import Download, download
from llmrs_bench.data.files import DAYS, GB, SourceFiles, file_md5
from llmrs_bench.data.impressions import impression_requests, rated_lists, shown_alone
from llmrs_bench.data.sources import Raw, Source, check_raw
from llmrs_bench.data.split import TIE_RULES, Filtered, Split, filter_events, leave_one_out, random_holdout, timeline
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
    """A raw source that was found: its files (None: generated), the reader for them, their checksum, the downloads."""

    files: SourceFiles | None
    source: Source
    reader: str
    digest: str
    downloads: tuple[Download, ...] = ()


def prepare(
    home: Path,
    reference: str,
    config: PrepareConfig,
    source: Path | None,
    progress: Progress,
    *,
    format_name: str | None = None,
    accept_new: bool = False,
) -> StageResult:
    """Make the artifact `data` of a data set: items, interactions, requests, truth.

    Args:
        home: Folder of all artifacts.
        reference: `NAME`, or `NAME@VARIANT` to name this way of preparing it.
        config: The options.
        source: A zip archive or a folder to read; None downloads the data set.
        progress: Shows the download, and the training of retrievers.
        format_name: The data source that reads it; None tries those of the data set.
        accept_new: Take downloads that differ from earlier ones, where no checksum is published.

    Raises:
        DataError: If the source is missing or broken, or nothing is left of it.
        OptionError: If an option names nothing.
        ArtifactError: If the variant's name is taken by other options.
    """
    asked = Reference.parse(reference)
    dataset = find_dataset(asked.dataset, has_source=source is not None, format_name=format_name)
    found = _find(home, dataset, source, progress, config, accept_new=accept_new)
    item_word = config.item_word or getattr(found.source, "item_word", dataset.item_word)
    config = config.model_copy(update={"item_word": item_word})
    recipe = _recipe(dataset, config, found)
    place = Place(home / dataset.name / (asked.variant or recipe.fingerprint[:8]))
    return get_or_create(
        place.data, recipe, lambda draft: _fill(draft, dataset, config, found, place, progress), name=place.reference
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


def _find(
    home: Path, dataset: Dataset, source: Path | None, progress: Progress, config: PrepareConfig, *, accept_new: bool
) -> Found:
    files, downloads = None, tuple[Download, ...]()
    limit = None if config.max_unpacked is None else int(config.max_unpacked * GB)
    if source is not None:
        files = SourceFiles.open(source, limit)
    elif dataset.files:
        folder = home / dataset.name / "source"
        downloads = download(dataset, folder, progress=progress, accept_new=accept_new)
        files = SourceFiles.open(folder / dataset.archive.name if dataset.archive else folder, limit)
    for reader in dataset.sources:
        if SOURCES.load(reader)().accepts(files):
            candidate = _reader(reader, config)
            digest = files.digest(candidate.uses(files)) if files else reader
            return Found(files, candidate, reader, digest, downloads)
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
    raw = check_raw(found.source.load(found.files), found.reader)
    items = natural_titles(raw.items) if dataset.natural_titles else raw.items
    counts = _counts(raw)
    kept = filter_events(raw.events, min_rating=config.min_rating, k_core=config.k_core)
    split, made = _requests(draft, raw, items, kept, config, dataset, place, progress)
    for name, frame in {"requests": made.requests, "truth": made.truth}.items():
        draft.write(name, frame)
    future = timeline(kept.events, split.interactions, made.requests)
    draft.facts.update(
        counts=counts,
        kept={
            "users": kept.events["user_id"].n_unique(),
            "items": kept.events["item_id"].n_unique(),
            "interactions": kept.events.height,
        },
        requests=made.requests.height,
        filtering=dict(kept.facts),
        split=dict(split.facts),
        sampling=dict(made.facts),
        source=dict(raw.facts),
        verified=_is_published(dataset, found),
        licence=dataset.licence,
        downloads=[asdict(entry) for entry in found.downloads],
        tie_rule=TIE_RULES[config.split],
        split_words=split.words,
        rules=[*raw.rules, *_published_rule(dataset, counts), *kept.rules, *split.rules, *made.rules]
        + ([future.words] if future else []),
        timeline=None if future is None else {**asdict(future), "words": future.words},
        warnings=[
            *_source_warnings(dataset, found, counts),
            *raw.warnings,
            *_event_warnings(kept.events, config),
            *made.warnings,
            *_list_warnings(made.requests, config),
        ],
    )


def _split(raw: Raw, events: pl.DataFrame, dataset: Dataset, config: PrepareConfig) -> Split:
    """Split as the options say.

    Raises:
        OptionError: If the last event is asked for where nothing says which that is.
    """
    if config.split == "random":
        return random_holdout(events, seed=config.seed)
    if raw.timeless:
        raise OptionError(
            f"{dataset.name} does not say when its events were, so no event of a user is the last: leave-one-out does "
            "not fit",
            hint="--split random holds out a random event of each user.",
        )
    return leave_one_out(events)


def _requests(
    draft: Draft,
    raw: Raw,
    items: pl.DataFrame,
    kept: Filtered,
    config: PrepareConfig,
    dataset: Dataset,
    place: Place,
    progress: Progress,
) -> tuple[Split, Requests]:
    """Split the events, write what models learn from, and make requests, for which models may be trained."""
    events, ids = kept.events, kept.events.select("item_id")
    if config.candidates == IMPRESSIONS:
        if raw.timeless:
            raise OptionError(
                f"{dataset.name} does not say when its events were, so nothing says what came before a list",
                hint="Leave out --candidates impressions; --split random holds out a random event of each user.",
            )
        lists, start = raw.impressions, raw.tested_from
        if config.relevant_rating is not None:
            lists, start = rated_lists(raw.events, config.relevant_rating)
        split, made = impression_requests(lists, events, config, tested_from=start)
        ids = pl.concat([ids, made.requests.select(item_id="candidates").explode("item_id")])
    else:
        split = _split(raw, events, dataset, config)
    items = items.join(ids, on="item_id", how="semi", maintain_order="left")
    tables = {"items": items, "interactions": split.interactions}
    for name, frame in tables.items():
        draft.write(name, frame)
    if config.candidates == IMPRESSIONS:
        return split, made
    unchosen = shown_alone(raw.impressions) if raw.unchosen.is_empty() else raw.unchosen
    training_data = TrainingData(
        Corpus(split.interactions, items), {name: draft.digest(name) for name in tables}, place.models
    )
    return split, make_requests(
        split,
        config,
        catalogue=items["item_id"],
        retrieve=lambda requests, depth: retrieve(config, training_data, requests, depth, progress),
        seen=pl.concat([kept.disliked, unchosen]),
    )


def _counts(raw: Raw) -> dict[str, int]:
    return {
        "users": raw.events["user_id"].n_unique(),
        "items": raw.events["item_id"].n_unique(),
        "interactions": raw.events.height,
        "listed_items": raw.items.height,
    }


def _is_published(dataset: Dataset, found: Found) -> bool:
    """Tell whether the source is what was published, byte for byte; generated data always are."""
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


def _source_warnings(dataset: Dataset, found: Found, counts: dict[str, int]) -> list[str]:
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


def _published_rule(dataset: Dataset, counts: dict[str, int]) -> list[str]:
    if dataset.published is None or _unpublished(dataset, counts):
        return []
    *names, last = [name.replace("_", " ") for name, want in asdict(dataset.published).items() if want is not None]
    return [f"{', '.join(names)}{' and ' if names else ''}{last} are as many as published"]


def _event_warnings(events: pl.DataFrame, config: PrepareConfig) -> Iterator[str]:
    """Say which times and ratings may mean something else than what they are taken for."""
    times, count = events["timestamp"], events.height
    if times.n_unique() == 1 < count:
        if config.split == "leave-one-out":
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
    if config.candidates in (WHOLE, IMPRESSIONS) or not short:
        return []
    return [f"{short:,} of {requests.height:,} requests have fewer than the {config.n_candidates} candidates asked for"]
