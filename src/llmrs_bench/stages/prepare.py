"""Stage `prepare`: a source becomes items, interactions, requests and truth; candidates are drawn, read or found."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create
from llmrs_bench.core.config import IMPRESSIONS, LABELLED, LISTS, MODELS, WHOLE, PrepareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.hashing import fingerprint
from llmrs_bench.core.registry import RECOMMENDERS, SOURCES, unknown_name
from llmrs_bench.core.types import Progress
from llmrs_bench.data.candidates import Requests, begins_with_mark, make_requests, sampler_file
from llmrs_bench.data.cold import cold_catalogue, cold_targets, hold_out_users, with_known_events
from llmrs_bench.data.datasets import Dataset
from llmrs_bench.data.draws import joined_draws
from llmrs_bench.data.event_warnings import event_warnings
from llmrs_bench.data.files import file_md5
from llmrs_bench.data.impressions import impression_requests, rated_lists, shown_alone
from llmrs_bench.data.labelled import labelled_events, labelled_tables
from llmrs_bench.data.profile import Profile
from llmrs_bench.data.sources import EVENTS, Raw
from llmrs_bench.data.split import (
    TIE_RULE,
    TIE_RULES,
    Filtered,
    Split,
    leave_one_out,
    random_holdout,
    timeline,
    without_targets,
)
from llmrs_bench.data.time_split import read_cut, time_split
from llmrs_bench.llm.model_aliases import MODEL_ALIASES
from llmrs_bench.ranking import rank_best
from llmrs_bench.recommenders.base import Corpus, best_items
from llmrs_bench.stages.source import (
    Found,
    Loaded,
    Origin,
    counts_of,
    find,
    is_published,
    kept_events,
    load,
    mapping_of,
    no_last,
    policies,
    published_rule,
    refuse_untitled,
    require_titles,
    source_warnings,
)
from llmrs_bench.stages.trained_models import FORMAT as TRAINING_FORMAT
from llmrs_bench.stages.trained_models import (
    RecommenderSpec,
    TrainingData,
    fitted,
    is_exported,
    is_recommender,
    settings,
)
from llmrs_bench.stages.workspace import Data, Place, Reference, is_unprepared, open_data

log = logging.getLogger(__name__)


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
        if name in (*MODEL_ALIASES, "mock", "demo-lm"):
            raise OptionError(
                f"candidates {config.candidates!r}: {name!r} is a language model, and only recommenders make lists",
                hint=f"Name one of {', '.join(RECOMMENDERS.names())}; lists made elsewhere are --candidates file:PATH.",
            )
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
# The same for changes that few sources meet: what is there stays, and a warning says what may be otherwise.
READINGS = {
    "atomic": (
        "4",
        "fields in quotes of CSV, times of 14 digits or in ticks of .NET, and ids with unseen marks around them",
    ),
    "table": (
        "4",
        "lists in fields of CSV, columns that number the rows, quotes behind a backslash, and times in ticks of .NET",
    ),
}


def prepare(
    home: Path,
    reference: str,
    config: PrepareConfig,
    origin: Origin,
    progress: Progress,
) -> StageResult:
    """Make the artifact `data` of a data set: items, interactions, requests, truth.

    Args:
        home: Folder of all artifacts.
        reference: `NAME`, or `NAME@VARIANT` to name this way of preparing it.
        config: The options.
        origin: Where the data come from.
        progress: Shows the download, and the training of retrievers.

    Raises:
        DataError: If the source is missing or broken, or nothing is left of it.
        OptionError: If an option names nothing.
        ArtifactError: If the variant's name is taken by other options.
    """
    asked = Reference.parse(reference)
    dataset = origin.dataset(asked.dataset)
    found = find(home, dataset, origin, config, progress)
    item_word = config.item_word or getattr(found.source, "item_word", dataset.item_word)
    config = config.model_copy(update={"item_word": item_word})
    recipe = _recipe(dataset, config, found)
    place = Place(home / dataset.name / (asked.variant or recipe.fingerprint[:8]))
    done = get_or_create(
        place.data, recipe, lambda draft: _fill(draft, dataset, config, found, place, progress), name=place.reference
    )
    if not done.fresh and not config.allow_untitled:  # it may have been prepared for models that read no titles
        items = done.artifact.table("items")
        refuse_untitled(int((items["title"] == items["item_id"]).sum()), items.height, found.reader)
    reading, changed = READINGS.get(found.reader, (None, ""))
    if done.artifact.facts.get("reading") != reading:
        log.warning(
            "%s was prepared by an earlier version, which read %s differently: if the source has such, prepare it "
            "under another name, such as %s@again",
            place.reference,
            changed,
            dataset.name,
        )
    return done


def open_or_prepare(home: Path, text: str, progress: Progress, say: Callable[[str], None]) -> Data:
    """Open a data set; a known one of which no variant was prepared is prepared with its defaults before.

    Args:
        home: Folder of all artifacts.
        text: `NAME` or `NAME@VARIANT`.
        progress: Shows the download.
        say: Called with what is done, and with which options.

    Raises:
        DataError: If the data set cannot be downloaded, or is damaged.
        ArtifactError, OptionError: As `open_data` does.
    """
    if is_unprepared(home, text):
        config = PrepareConfig(dataset=text)
        say(
            f"{text} is not prepared yet; preparing it with the defaults ({config.users:,} users, "
            f"{config.n_candidates} "
            f"{config.candidates} candidates, {config.history} items of history); "
            "`llmrs-bench prepare --help` lists other options"
        )
        done = prepare(home, text, config, Origin(), progress)
        for warning in done.warnings:
            say(f"warning: {warning}")
    return open_data(home, text)


def _recipe(dataset: Dataset, config: PrepareConfig, found: Found) -> Recipe:
    inputs = {"source": found.digest}
    if found.items is not None:
        inputs["items"] = found.items
    options: dict[str, Any] = config.result_options
    path = sampler_file(config.candidates)
    if path is not None:
        inputs["candidates"] = file_md5(path)
        options["candidates"] = LISTS + path.name
    parts = {"format": READER_FORMATS.get(found.reader, FORMAT), "reader": found.reader}
    if config.min_rating is not None and not config.include_seen:
        parts["seen"] = "2"  # items rated low are seen, too
    if path is not None and begins_with_mark(path):
        parts["lists"] = "2"  # the first user has a list
    for package, version in SOURCES.package(found.reader).items():
        parts["package"] = f"{package} {version}"
    if config.windows:
        parts["later_events"] = "1"  # are kept
    if config.candidates.startswith(MODELS):
        inputs["retrievers"] = fingerprint({"retrievers": retriever_settings(config)})
        parts["models"] = TRAINING_FORMAT
    return Recipe("prepare", dataset.name, options, inputs, parts)


def _fill(
    draft: Draft, dataset: Dataset, config: PrepareConfig, found: Found, place: Place, progress: Progress
) -> None:
    loaded = load(dataset, found, config, progress)
    raw, counts = loaded.raw, counts_of(loaded.profile)
    require_titles(raw, found.reader, config)
    draft.facts.update(
        counts=counts,
        **({"reading": READINGS[found.reader][0]} if found.reader in READINGS else {}),
        profile=asdict(loaded.profile),
        source=dict(raw.facts),
        verified=is_published(dataset, found),
        licence=dataset.licence,
        downloads=[asdict(entry) for entry in found.downloads],
        **({"mapping": mapping} if (mapping := mapping_of(raw, found)) else {}),
    )
    rules = [*raw.rules, *published_rule(dataset, counts), *policies(config)]
    warnings = [*source_warnings(dataset, found, counts), *raw.warnings]
    if config.task in LABELLED:
        _fill_labelled(draft, raw, config, rules, warnings)
        return
    if len(raw.labels):
        rules.append("what was shown and not chosen is not trained on, and no target")
    kept = kept_events(raw, config, distinct=not loaded.profile.repeats)
    split, made = _requests(draft, loaded, kept, config, dataset, place, progress)
    tables = {"requests": made.requests, "truth": made.truth, "conditions": made.conditions, "draws": made.draws}
    for name, frame in tables.items():
        if frame is not None:
            draft.write(name, frame)
    draft.facts.update(
        split=dict(split.facts),
        sampling=dict(made.facts),
        tie_rule=TIE_RULES[config.split],
        split_words=split.words,
        **_kept_facts(
            kept,
            split.interactions,
            made.requests,
            [*rules, *kept.rules, *split.rules, *made.rules],
            ties=config.candidates != IMPRESSIONS and config.target != "all",
            whole=loaded.profile if kept.events.height == loaded.profile.events else None,
        ),
        warnings=[
            *warnings,
            *event_warnings(kept.events, config),
            *made.warnings,
            *_list_warnings(made.requests, config),
        ],
    )


def _kept_facts(
    kept: Filtered,
    interactions: pl.DataFrame,
    requests: pl.DataFrame,
    rules: Sequence[str],
    *,
    lists: bool = True,
    ties: bool = True,
    whole: Profile | None = None,
) -> dict[str, Any]:
    """Return what both tasks say of the events that are left, and of the requests made of them.

    `whole` is the profile of the source where all of its events are left.
    """
    users, items = (
        (whole.users, whole.items) if whole else (kept.events[column].n_unique() for column in ("user_id", "item_id"))
    )
    future = timeline(kept.events, interactions, requests, lists=lists, ties=ties)
    return {
        "kept": {
            "users": users,
            "items": items,
            "interactions": kept.events.height,
        },
        "requests": requests.height,
        "filtering": dict(kept.facts),
        "rules": [*rules, *([future.words] if future else [])],
        "timeline": None if future is None else {**asdict(future), "words": future.words},
    }


def _fill_labelled(
    draft: Draft, raw: Raw, config: PrepareConfig, rules: Sequence[str], warnings: Sequence[str]
) -> None:
    """Write the tables of labelled requests."""
    events, label_rules, label_facts = labelled_events(raw, config)
    kept = kept_events(replace(raw, events=events), config)
    made = labelled_tables(kept.events, config, timeless=raw.timeless)
    items = raw.items.join(kept.events.select("item_id"), on="item_id", how="semi", maintain_order="left")
    tables = {
        "items": items,
        "interactions": made.interactions,
        "requests": made.requests,
        "outcomes": made.outcomes,
        "ratings": made.ratings,
        "truth": made.truth,
    }
    for name, frame in tables.items():
        draft.write(name, frame)
    for rows in made.learned:
        for block in rows.blocks():
            draft.write("samples", block)
    said = [*rules, *label_rules, *kept.rules, *made.rules]
    draft.facts.update(
        split={**label_facts, **made.facts},
        sampling={},
        tie_rule=TIE_RULE,
        split_words=made.words,
        label_words=label_rules[0],
        history_words=made.history_words,
        **{f"{config.task}s": {part: dict(counts) for part, counts in made.parts.items()}},
        **({"scale": dict(made.scale)} if made.scale else {}),
        **_kept_facts(
            kept, made.interactions, made.requests.filter(pl.col("part") == "test"), said, lists=False, ties=False
        ),
        warnings=[*warnings, *event_warnings(kept.events, config), *made.warnings],
    )
    draft.facts["requests"] = made.requests.height


def _split(loaded: Loaded, events: pl.DataFrame, dataset: Dataset, config: PrepareConfig) -> Split:
    """Split as the options say.

    Raises:
        OptionError: If the last event is asked for where nothing says which that is.
    """
    if config.split == "random":
        return random_holdout(events, seed=config.seed)
    if loaded.raw.timeless:
        raise no_last(dataset.name, loaded.reader, config.split)
    if config.split == "time":
        return time_split(events, config)
    whole = events.height == len(loaded.users)  # none was dropped, so the numbers of users are known
    return leave_one_out(events, loaded.users if whole else None)


def _held_out_before(split: Split, loaded: Loaded, dataset: Dataset, config: PrepareConfig) -> Split:
    """Put away what a split holds out, and split the events that are left in the same way.

    Raises:
        OptionError: If the cut of the split is a date, which is after all of these events.
    """
    if config.split == "time" and not isinstance(read_cut(config.cut), float):
        raise OptionError(
            f"--held-out validation makes an earlier cut by the same share, but --cut {config.cut} is a date",
            hint="Give a share, such as --cut 0.9.",
        )
    left = split.interactions
    left = without_targets(split).interactions if config.repeats == "all" else left
    made = _split(loaded, left.select(list(EVENTS)).cast(EVENTS), dataset, config)
    gone = f"{split.held.height:,} tested events are put away, and the other {left.height:,} are split alike"
    return replace(
        made, rules=(gone, *made.rules), words=f"validation requests, without the tested events: {made.words}"
    )


def _requests(
    draft: Draft,
    loaded: Loaded,
    kept: Filtered,
    config: PrepareConfig,
    dataset: Dataset,
    place: Place,
    progress: Progress,
) -> tuple[Split, Requests]:
    """Split the events, write what models learn from, and make requests, for which models may be trained."""
    raw, events, ids = loaded.raw, kept.events, kept.events.select("item_id")
    if config.candidates == IMPRESSIONS:
        if raw.timeless:
            raise OptionError(
                f"{dataset.name} has no times of events, so it is unknown what came before a list",
                hint="Leave out --candidates impressions; --split random holds out a random event of each user.",
            )
        lists, start = raw.impressions, raw.tested_from
        if config.relevant_rating is not None:
            lists, start = rated_lists(raw.events, config.relevant_rating)
        split, made = impression_requests(lists, events, config, tested_from=start)
        ids = pl.concat([ids, made.requests.select(item_id="candidates").explode("item_id")])
    else:
        split = _split(loaded, events, dataset, config)
        if config.held_out == "validation":
            split = _held_out_before(split, loaded, dataset, config)
        split = without_targets(split) if config.repeats == "all" else split
        split = split if config.cold_items is None else cold_targets(split, config)
        split = hold_out_users(split, config) if config.cold_users else split
    items = raw.items  # all of them have events, or have to be looked for
    if events.height < loaded.profile.events or loaded.profile.items < items.height or config.candidates == IMPRESSIONS:
        items = items.join(ids, on="item_id", how="semi", maintain_order="left")
    tables = {"items": items, "interactions": split.interactions}
    later = {} if split.later is None else {"later_events": split.later}
    with ThreadPoolExecutor(1) as beside:
        # Writing takes as long as drawing candidates, and neither takes all cores.
        writing = beside.submit(_write, draft, {**tables, **later})
        if config.candidates == IMPRESSIONS:
            writing.result()
            return split, made
        unchosen = shown_alone(raw.impressions) if raw.unchosen.is_empty() else raw.unchosen
        # At a cut in time, candidates are what was there before it.
        catalogue = (
            split.interactions["item_id"].unique(maintain_order=True) if config.split == "time" else items["item_id"]
        )

        def retrieved(requests: pl.DataFrame, depth: int) -> Mapping[str, list[str]]:
            writing.result()
            digests = {name: draft.digest(name) for name in tables}
            training_data = TrainingData(Corpus(split.interactions, items), digests, place.models)
            return retrieve(config, training_data, requests, depth, progress)

        make = partial(
            make_requests,
            split,
            config,
            catalogue=cold_catalogue(catalogue, split.interactions, config),
            retrieve=retrieved,
            seen=pl.concat([kept.disliked, unchosen]),
        )
        made = make() if config.draws == 1 else joined_draws([make(draw=draw) for draw in range(config.draws)])
        writing.result()
    # What was held out is in the requests now; of many users it takes much memory.
    split = replace(split, held=split.held.clear(), told=None, later=None)
    return split, with_known_events(made, config) if config.cold_users else made


def _write(draft: Draft, tables: Mapping[str, pl.DataFrame]) -> None:
    for name, frame in tables.items():
        draft.write(name, frame)


def _list_warnings(requests: pl.DataFrame, config: PrepareConfig) -> list[str]:
    short = requests.filter(pl.col("candidates").list.len() < config.n_candidates).height
    if config.candidates in (WHOLE, IMPRESSIONS) or not short:
        return []
    return [f"{short:,} of {requests.height:,} requests have fewer than the {config.n_candidates} candidates asked for"]
