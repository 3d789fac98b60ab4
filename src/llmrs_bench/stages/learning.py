"""Fitted recommenders: trained once for all candidate lists of the same data, kept, exported and loaded by path."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.artifacts import Draft, Recipe
from llmrs_bench.catalog import ModelSpec
from llmrs_bench.config import Options
from llmrs_bench.engines.identity import identify
from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.hashing import uniform_hash
from llmrs_bench.recommenders.checkpoint import damaged, read_facts
from llmrs_bench.recommenders.protocol import Corpus, Recommender, Work
from llmrs_bench.registry import RECOMMENDERS
from llmrs_bench.stages.outcome import make_once
from llmrs_bench.types import Progress

# Bumped when what a recommender learns from the same data changes: older artifacts are then made anew.
FORMAT = "2"


@dataclass(frozen=True)
class Learner:
    """A recommender as asked for: its name or the folder of an exported one, options, and what it may learn from."""

    model: str
    options: Mapping[str, str]
    seed: int = 0
    device: str = "auto"
    train_fraction: float = 1.0
    max_users: int | None = None


@dataclass(frozen=True)
class Lessons:
    """A corpus, the digests of its tables, and the folder where models fitted on it are kept."""

    corpus: Corpus
    digests: Mapping[str, str]
    models: Path


@dataclass(frozen=True)
class Fitted:
    """A recommender that can score, its parsed options, facts about its training, and where it is kept, if it is."""

    model: Recommender
    options: Options
    facts: dict[str, Any]
    seconds: float = 0.0
    folder: Path | None = None


def is_recommender(name: str) -> bool:
    """Tell whether `name` is a recommender's, or a folder with an exported one."""
    return name in RECOMMENDERS.paths() or is_exported(name)


def is_exported(name: str) -> bool:
    """Tell whether `name` is a folder with an exported recommender."""
    return name not in RECOMMENDERS.paths() and (Path(name) / "model.json").is_file()


def settings(learner: Learner) -> dict[str, Any]:
    """Return everything about `learner` that decides what is learned, for a fingerprint.

    Raises:
        OptionError: If an option is unknown, or is given for a model that is trained already.
    """
    if is_exported(learner.model):
        return {"model": Path(learner.model).resolve().name, "weights": _exported_facts(learner)["sha256"]}
    options = parse_options(learner)
    _refuse_less(learner)
    return {
        "model": learner.model,
        "seed": learner.seed,
        "device": learner.device,
        "options": options.model_dump(mode="json"),
        "train_fraction": learner.train_fraction,
        "max_users": learner.max_users,
        **_contents(options),
    }


def _contents(options: Options) -> dict[str, str]:
    """Return what identifies the pretrained model that `options` name, if they name one: its files, not its path."""
    source, revision = getattr(options, "model", None), getattr(options, "revision", None)
    return identify(ModelSpec(source, source, chat=False, revision=revision)) if isinstance(source, str) else {}


def _refuse_less(learner: Learner) -> None:
    defaults = Learner(learner.model, {})
    for name in ("train_fraction", "max_users"):
        if getattr(learner, name) != getattr(defaults, name) and not RECOMMENDERS.load(learner.model).learns:
            raise OptionError(
                f"{name.replace('_', '-')} means nothing to {learner.model}: it does not learn from interactions",
                hint="Leave it out.",
            )


def parse_options(learner: Learner) -> Options:
    """Return the recommender's own options.

    Raises:
        OptionError: If one is unknown or wrong.
    """
    parsed: Options = RECOMMENDERS.load(learner.model).Options.parse(learner.options, owner=learner.model)
    return parsed


def fitted(learner: Learner, lessons: Lessons, progress: Progress) -> Fitted:
    """Return the fitted model; one that can be saved is fitted once.

    Raises:
        ModelError: If it cannot be fitted, or was exported from other data.
    """
    if is_exported(learner.model):
        return _exported(learner, lessons)
    kind: Any = RECOMMENDERS.load(learner.model)
    options = parse_options(learner)
    if not hasattr(kind, "load"):
        model: Recommender = kind(options, seed=learner.seed, device=learner.device)
        return Fitted(model, options, dict(model.fit(_lesson(learner, lessons), Work(progress))))
    recipe = Recipe("infer", learner.model, settings(learner), lessons.digests, {"format": FORMAT})
    place = recipe.place(lessons.models)
    checkpoint = place.with_name(f"{place.name}.training")

    def fill(draft: Draft) -> None:
        made = kind(options, seed=learner.seed, device=learner.device)
        draft.facts.update(made.fit(_lesson(learner, lessons), Work(progress, checkpoint)))
        made.save(draft.folder("model"))
        (draft.path / "model" / "corpus.json").write_text(json.dumps(dict(lessons.digests)) + "\n", "utf-8")

    trained = make_once(place, recipe, fill).artifact
    for left in place.parent.glob(f"{checkpoint.name}.*"):
        left.unlink(missing_ok=True)
    folder = trained.path / "model"
    model = kind.load(folder, device=learner.device)
    return Fitted(model, options, trained.facts, trained.manifest.seconds, folder)


def export(found: Fitted, target: Path) -> None:
    """Copy a trained model to the folder `target`, from which `--model` takes it.

    Raises:
        OptionError: If the folder exists, or the model has nothing to keep.
    """
    if found.folder is None:
        raise OptionError("this model keeps nothing that could be exported", hint="Leave out --export.")
    if target.exists():
        raise OptionError(f"{target} exists already", hint="Export to a new folder.")
    shutil.copytree(found.folder, target)


def _lesson(learner: Learner, lessons: Lessons) -> Corpus:
    """Return the part of the corpus to learn from: whole users in a seeded order, as many as asked for."""
    interactions = lessons.corpus.interactions
    users = interactions.group_by("user_id", maintain_order=True).len("events")
    order = users.with_columns(place=pl.Series(uniform_hash(learner.seed, users["user_id"]))).sort("place")
    before = pl.col("events").cum_sum() - pl.col("events")
    kept = order.filter(before < learner.train_fraction * len(interactions)).head(learner.max_users or len(order))
    return Corpus(interactions.filter(pl.col("user_id").is_in(kept["user_id"].implode())), lessons.corpus.items)


def _exported(learner: Learner, lessons: Lessons) -> Fitted:
    facts = _exported_facts(learner)
    folder = Path(learner.model)
    try:
        learned = json.loads((folder / "corpus.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} does not say what it was trained on: {error}", hint="Export the model again with --export."
        ) from error
    if learned != dict(lessons.digests):
        raise ModelError(
            f"the model in {folder} was trained on other data, or on another split of them, than this data set",
            hint="Its training may hold what is tested here. Train on this data set: --model " + facts["kind"],
        )
    kind: Any = RECOMMENDERS.load(facts["kind"])
    model = kind.load(folder, device=learner.device)
    return Fitted(model, model.options, {"loaded_from": str(folder), "kind": facts["kind"]})


def _exported_facts(learner: Learner) -> dict[str, Any]:
    defaults = Learner(learner.model, {})
    typed = [
        name
        for name in ("options", "seed", "train_fraction", "max_users")
        if getattr(learner, name) != getattr(defaults, name)
    ]
    if typed:
        raise OptionError(
            f"{typed[0].replace('_', '-')} means nothing to the model in {learner.model}: it is trained already",
            hint="Leave it out, or train one: --model NAME.",
        )
    facts = read_facts(Path(learner.model))
    RECOMMENDERS.check(str(facts.get("kind")))
    if "sha256" not in facts:
        raise damaged(Path(learner.model), str(facts["kind"]), "model.json names no digest of the weights")
    return facts
