"""Names of plug-ins and where to import them from; nothing is imported until a name is used."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmrs_bench.core.errors import OptionError, PluginError

log = logging.getLogger(__name__)


_MANY = 30  # names that nobody reads in a message


def unknown_name(kind: str, name: str, known: Sequence[str], *, hint: str = "", listing: str = "") -> OptionError:
    """Return the error for a name nobody knows.

    Args:
        kind: What it should be the name of.
        name: As typed.
        known: All names there are. The hint has the nearest one, and all, unless they are too many.
        hint: What else can be done.
        listing: Where all of them are listed, as a command; the hint has it in the place of many names.
    """
    spelled = {each.lower(): each for each in reversed(known)}
    nearest = get_close_matches(name.lower(), spelled, n=1, cutoff=0.5)
    if len(known) > _MANY:
        nearest = get_close_matches(name.lower(), spelled, n=3) or nearest
    if name.lower() in spelled:
        nearest = [name.lower()]
    nearest = [spelled[each] for each in nearest]
    guess = f"Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
    if not known:
        every = "There are none."
    elif len(known) <= _MANY or not (listing or nearest):
        every = f"Known: {', '.join(sorted(known))}."
    else:
        every = f"{listing} lists all {len(known)}." if listing else ""
    return OptionError(f"unknown {kind} {name!r}", hint=" ".join(filter(None, (guess, every, hint))))


@dataclass(frozen=True)
class Registry:
    """Plug-ins of one kind: built-in ones and those of installed packages.

    Args:
        kind: What the plug-ins are, in the singular, for messages.
        group: The entry point group in which other packages add theirs.
        builtin: Name to import string, `module:attribute`. No other package can take one of these names.
        required: Attributes that a plug-in must have.
        former_group: A name that the group had before; it is still read, with a warning.
        options: Where the options of built-in plug-ins are that lie beside them, so that reading options imports no
            library of models.
    """

    kind: str
    group: str
    builtin: Mapping[str, str]
    required: tuple[str, ...] = ()
    former_group: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def plugins(self) -> dict[str, EntryPoint]:
        """Return the plug-ins of other packages by name, without importing anything."""
        former = _installed(self.former_group) if self.former_group else ()
        found = {entry.name: entry for entry in (*former, *_installed(self.group))}
        return {name: entry for name, entry in sorted(found.items()) if name not in self.builtin}

    def __contains__(self, name: str) -> bool:
        """Return whether a plug-in has this name; those of other packages are looked for if no built-in one has it."""
        return name in self.builtin or name in self.plugins()

    def names(self) -> list[str]:
        """Return the sorted names."""
        return sorted({*self.builtin, *self.plugins()})

    def check(self, name: str) -> str:
        """Return `name` if it is known.

        Raises:
            OptionError: If it is not; the message names the nearest known one.
        """
        if name not in self:
            raise unknown_name(self.kind, name, self.names())
        return name

    def load(self, name: str) -> Any:
        """Import and return the plug-in called `name`.

        Raises:
            OptionError: If no plug-in has this name.
            PluginError: If another package's plug-in cannot be imported, lacks an attribute, or is there twice.
        """
        if self.check(name) in self.builtin:
            for entry in _installed(self.group).select(name=name):
                _warn_once(
                    f"the {self.kind} {name!r} of {_package_of(entry)} is ignored: a built-in one has the same name"
                )
            return _imported(self.builtin[name])
        entry = self.plugins()[name]
        self._check_entry(entry)
        try:
            plugin = entry.load()
        except Exception as error:
            raise PluginError(
                f"the {self.kind} {name!r} of {_package_of(entry)} cannot be imported from {entry.value}: "
                f"{type(error).__name__}: {error}",
                hint="Repair or uninstall that package.",
            ) from error
        if missing := [attribute for attribute in self.required if not hasattr(plugin, attribute)]:
            raise PluginError(
                f"the {self.kind} {name!r} of {_package_of(entry)} has no {', '.join(missing)}",
                hint=f"See docs/plug-ins.md: a {self.kind} has {', '.join(self.required)}.",
            )
        return plugin

    def options_of(self, name: str) -> Any:
        """Return the class of the options of the plug-in called `name`, which is its `Options`.

        Raises:
            OptionError: If no plug-in has this name.
            PluginError: As `load`.
        """
        if name in self.options:
            return _imported(self.options[name])
        return (_imported(self.builtin[name]) if name in self.builtin else self.load(name)).Options

    def package(self, name: str) -> dict[str, str]:
        """Return the package that brings the plug-in `name`, and its version; nothing for a built-in one.

        It belongs into the fingerprint of whatever the plug-in decides: another version may decide otherwise.
        """
        entry = None if name in self.builtin else self.plugins().get(name)
        return {} if entry is None or entry.dist is None else {entry.dist.name: entry.dist.version}

    def folders(self) -> list[Path]:
        """Return the folders of the modules that other packages' plug-ins are in, without importing anything."""
        found: dict[Path, None] = {}
        for entry in self.plugins().values():
            top, *inner = entry.module.split(".")
            spec = find_spec(top)
            for location in (spec and spec.submodule_search_locations) or ():
                path = Path(location, *inner)
                found[path if path.is_dir() else path.parent] = None
        return list(found)

    def _check_entry(self, entry: EntryPoint) -> None:
        """Refuse a name that two packages give; warn of a group's former name."""
        current = _installed(self.group).select(name=entry.name)
        packages = sorted({_package_of(other) for other in current})
        if len(packages) > 1:
            raise PluginError(
                f"the {self.kind} {entry.name!r} is provided by several packages: {', '.join(packages)}",
                hint="Keep one of them, and uninstall the others.",
            )
        if not packages:
            _warn_once(
                f"{_package_of(entry)} adds the {self.kind} {entry.name!r} in the group {self.former_group}, which the "
                f"next version will not read: rename the group to {self.group}"
            )


def _imported(place: str) -> Any:
    """Return what an import string, `module:attribute`, names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def _installed(group: str) -> EntryPoints:
    """Return the entry points of a group; packages are read again where the folders they are in have changed."""
    return _entry_points(group, tuple((path, _changed(path)) for path in sys.path))


def _changed(folder: str) -> int:
    """Return when a folder changed last, in nanoseconds; 0 where there is none."""
    try:
        return os.stat(folder or os.curdir).st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=32)
def _entry_points(group: str, folders: tuple[tuple[str, int], ...]) -> EntryPoints:
    """Return the entry points of a group in these folders, as they were at these times."""
    return entry_points(group=group)


def _package_of(entry: EntryPoint) -> str:
    return "an unknown package" if entry.dist is None else f"the package {entry.dist.name}"


@cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


SOURCES = Registry(
    "data source",
    "llmrs_bench.sources",
    {
        "movielens-1m": "llmrs_bench.data.movielens:MovieLens1M",
        "book-crossing": "llmrs_bench.data.book_crossing:BookCrossing",
        "goodreads": "llmrs_bench.data.goodreads:Goodreads",
        "kuairec": "llmrs_bench.data.kuairec:KuaiRec",
        "lastfm-1k": "llmrs_bench.data.lastfm:LastFM1K",
        "lastfm-hetrec": "llmrs_bench.data.lastfm:LastFMHetRec",
        "movielens-100k": "llmrs_bench.data.movielens:MovieLens100K",
        "movielens-10m": "llmrs_bench.data.movielens:MovieLens10M",
        "movielens-csv": "llmrs_bench.data.movielens:MovieLensCSV",
        "steam": "llmrs_bench.data.steam:Steam",
        "amazon-2014": "llmrs_bench.data.amazon:Amazon2014",
        "amazon-2018": "llmrs_bench.data.amazon:Amazon2018",
        "amazon-2023": "llmrs_bench.data.amazon:Amazon2023",
        "atomic": "llmrs_bench.data.atomic:Atomic",
        "mind": "llmrs_bench.data.mind:Mind",
        "table": "llmrs_bench.data.tables:Tables",
        "demo": "llmrs_bench.data.demo:Demo",
    },
    required=("accepts", "uses", "load"),
)
STRATEGIES = Registry(
    "prompt strategy",
    "llmrs_bench.strategies",
    {
        "listwise": "llmrs_bench.prompts.strategies.listwise:Listwise",
        "likelihood": "llmrs_bench.prompts.strategies.likelihood:Likelihood",
        "label": "llmrs_bench.prompts.strategies.label:Label",
        "yes-no": "llmrs_bench.prompts.strategies.yes_no:YesNo",
        "like": "llmrs_bench.prompts.strategies.yes_no:Like",
        "stars": "llmrs_bench.prompts.strategies.stars:Stars",
        "pairwise": "llmrs_bench.prompts.strategies.pairwise:Pairwise",
        "setwise": "llmrs_bench.prompts.strategies.setwise:Setwise",
        "sliding-window": "llmrs_bench.prompts.strategies.sliding_window:SlidingWindow",
        "note": "llmrs_bench.prompts.strategies.free_text:FreeText",
        "explanation": "llmrs_bench.prompts.strategies.explanation:Explanation",
    },
    required=("Options", "mode", "rounds", "render", "parse"),
    former_group="llmrs_bench.forms",
)
ENGINES = Registry(
    "engine",
    "llmrs_bench.engines",
    {
        "transformers": "llmrs_bench.llm.backends.transformers:TransformersEngine",
        "vllm": "llmrs_bench.llm.backends.vllm:VllmEngine",
        "openai": "llmrs_bench.llm.backends.openai:OpenAIEngine",
        "ray": "llmrs_bench.llm.backends.ray:RayEngine",
        "mock": "llmrs_bench.llm.backends.mock:MockEngine",
    },
    required=(
        *("Options", "packages", "identity", "count_tokens", "check", "batches", "answer", "answer_batches"),
        *("reset_cache", "close", "facts"),
    ),
    options={
        "transformers": "llmrs_bench.llm.engine_options:TransformersOptions",
        "vllm": "llmrs_bench.llm.engine_options:VllmOptions",
    },
)
RECOMMENDERS = Registry(
    "recommender",
    "llmrs_bench.recommenders",
    {
        "random": "llmrs_bench.recommenders.random:Random",
        "popularity": "llmrs_bench.recommenders.popularity:Popularity",
        "recent-popularity": "llmrs_bench.recommenders.recent_popularity:RecentPopularity",
        "itemknn": "llmrs_bench.recommenders.itemknn:ItemKNN",
        "rp3beta": "llmrs_bench.recommenders.rp3beta:RP3beta",
        "ease": "llmrs_bench.recommenders.ease:Ease",
        "bm25": "llmrs_bench.recommenders.bm25:BM25",
        "embedding": "llmrs_bench.recommenders.embedding:Embedding",
        "bprmf": "llmrs_bench.recommenders.bprmf:BPRMF",
        "fpmc": "llmrs_bench.recommenders.fpmc:FPMC",
        "gru4rec": "llmrs_bench.recommenders.gru4rec:GRU4Rec",
        "bert4rec": "llmrs_bench.recommenders.bert4rec:BERT4Rec",
        "sasrec": "llmrs_bench.recommenders.sasrec:SASRec",
    },
    required=("Options", "learns", "fit", "score"),
)
CLICK_MODELS = Registry(
    "click model",
    "llmrs_bench.click_models",
    {
        "fm": "llmrs_bench.clicks.fm:FM",
        "deepfm": "llmrs_bench.clicks.deepfm:DeepFM",
        "dcnv2": "llmrs_bench.clicks.dcnv2:DCNv2",
        "din": "llmrs_bench.clicks.din:DIN",
    },
    required=("Options", "learns", "fit", "score", "save", "load"),
)
