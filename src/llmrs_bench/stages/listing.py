"""What there is: data sets and how they were prepared, models, templates and their parts."""

import shlex
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmrs_bench.core.artifacts import Manifest, open_artifact
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.formatting import counted, rounded, size_words
from llmrs_bench.core.registry import CLICK_MODELS, ENGINES, RECOMMENDERS, SOURCES, Registry, unknown_name
from llmrs_bench.data.datasets import AMAZON, DATASETS, Counts, Dataset, known_dataset, plain_name
from llmrs_bench.data.download import Download, ask, downloads
from llmrs_bench.llm.model_aliases import MODEL_ALIASES
from llmrs_bench.prompts.template import PART_NAMES, read_source, template_names, template_parts
from llmrs_bench.stages.workspace import (
    Place,
    Reference,
    leaving_out,
    prepare_command,
    prepared,
)

# What a model was trained for after its pretraining, as the catalogue has it, and as a reader does.
_TUNED = {"none": "base", "instruction": "instructions", "chat": "chat", "reasoning": "reasoning"}


HEADINGS = ("name", "domain", "users", "items", "interactions", "size", "titles", "licence")
NARROW = 20  # characters of a name, where there is little room; a longer one has a line of its own
WIDE = 36
STANDS_FOR_ALL = "Books"  # the category of each family that is asked for; there is one in all of them


def list_data(home: Path, width: int, dataset: str | None = None) -> list[str]:
    """Lay out the known and the prepared data sets, how each was prepared, and the formats that can be read.

    Args:
        home: Folder of all artifacts.
        width: Characters of a line; numbers are rounded where they do not fit.
        dataset: This one alone, without the formats.

    Raises:
        OptionError: If `dataset` is neither known nor prepared.
    """
    made = prepared(home)
    rows, variants = list[tuple[Dataset, Counts, int | None]](), dict[str, list[str]]()
    names = [Reference.parse(dataset).dataset] if dataset else [*DATASETS, *sorted(made.keys() - DATASETS.keys())]
    for name in names:
        manifests = {}
        for place in (Place(home / name / variant) for variant in made.get(name, [])):
            with leaving_out():
                manifests[place.reference] = open_artifact(place.data, hint=prepare_command(name)).manifest
        known = known_dataset(name)
        if known is None and name not in made:
            raise unknown_name("data set", name, sorted({*DATASETS, *made}))
        if known is None and not manifests:
            continue
        all_made = list(manifests.values())
        rows.append((known or _own(name, all_made), *_measures(home / name, known, all_made)))
        options = {
            reference: _differs(manifest.config, None if known else manifest.parts["reader"])
            for reference, manifest in manifests.items()
        }
        apart = _apart(manifests, options)
        variants[name] = [f"  {reference}\t{words}{apart.get(reference, '')}" for reference, words in options.items()]
    if dataset is None:
        rows += [(replace(_example(family), name=f"{family}:CATEGORY"), Counts(), None) for family in AMAZON]
    lines = _table(rows, variants, width)
    if dataset is None:
        built_in = "--format " + ", ".join(name for name in SOURCES.names() if not SOURCES.package(name))
        lines += [
            f"CATEGORY as its owner writes it: amazon-2023:{STANDS_FOR_ALL}; amazon-2023: lists all",
            "- the owner publishes no number: once prepared, the row has what was read",
            *textwrap.wrap(built_in, width, subsequent_indent="  ", break_on_hyphens=False),
            *(f"--format {name}\t{_origin(SOURCES, name)}" for name in SOURCES.names() if SOURCES.package(name)),
        ]
    return lines


PLACES = ("--source", "--items", "--mapping", "--candidates")


def _apart(manifests: Mapping[str, Manifest], options: Mapping[str, str]) -> dict[str, str]:
    """Return what tells apart the variants whose options are the same: their files, the word for an item, and when."""
    found = {}
    counts = Counter(options.values())
    for words in (words for words, count in counts.items() if count > 1):
        marks = {reference: _marks(manifests[reference]) for reference in manifests if options[reference] == words}
        for reference, own in marks.items():
            differ = [text for key, text in own.items() if any(other.get(key) != text for other in marks.values())]
            found[reference] = "; " + ", ".join([*differ, f"prepared {manifests[reference].started:%Y-%m-%d %H:%M:%S}"])
    return found


def _marks(manifest: Manifest) -> dict[str, str]:
    """Return what a data set was made of, and with, beside its options, in words."""
    typed = list[str]()
    with suppress(ValueError):  # a command that no shell wrote
        typed = shlex.split(manifest.command)
    places = {option: f"{option} {typed[at + 1]}" for at, option in enumerate(typed[:-1]) if option in PLACES}
    bytes_ = {f"{name} ": f"{name} md5 {digest[:8]}" for name, digest in manifest.inputs.items()}
    return {
        **places,
        **bytes_,
        "events": counted(manifest.facts.get("counts", {}).get("interactions", 0), "event"),
        "item_word": f"item_word={manifest.config.get('item_word')}",
        **{key: f"{key} {value}" for key, value in manifest.parts.items()},
    }


def _example(family: str) -> Dataset:
    """Return a data set of a family of data sets, with the words for all of them."""
    found = known_dataset(plain_name(f"{family}:{STANDS_FOR_ALL}"))
    assert found is not None
    return replace(found, domain="products")


def _own(name: str, manifests: Sequence[Manifest]) -> Dataset:
    """Return a data set that is not built in, with titles if most of its items have one."""
    profile = manifests[0].facts.get("profile", {})
    untitled = profile.get("titles", {}).get("untitled", 0)
    return Dataset(name, (), titles=2 * untitled <= profile.get("items", 0))


def _measures(folder: Path, known: Dataset | None, manifests: list[Manifest]) -> tuple[Counts, int | None]:
    """Return how large a data set is, as published, else as it was read; and the bytes of its download, if known."""
    counts = known.published if known else None
    if counts is None and manifests:
        found = manifests[0].facts.get("counts", {})
        counts = Counts(**{name: found.get(name) for name in ("users", "items", "interactions", "listed_items")})
    there: Mapping[str, Download] = {}
    with leaving_out():
        there = downloads(folder)
    sizes = [there[file.name].size if file.name in there else file.size for file in (known.files if known else ())]
    bytes_ = sum(size for size in sizes if size) if sizes and all(sizes) else None
    return counts or Counts(), bytes_


def _table(
    rows: Sequence[tuple[Dataset, Counts, int | None]], variants: Mapping[str, list[str]], width: int
) -> list[str]:
    """Lay out rows in columns, each with the lines of its variants below it."""
    for short, gap in ((False, 2), (True, 1)):
        cells = [HEADINGS if not short else tuple(word.replace("interactions", "events") for word in HEADINGS)]
        cells += [_cells(dataset, counts, size, short=short) for dataset, counts, size in rows]
        most = NARROW if short else WIDE
        widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
        widths[0] = max(len(row[0]) for row in cells if len(row[0]) <= most)
        if sum(widths) + gap * (len(widths) - 1) <= width:
            break
    lines = []
    for row in cells:
        name = row[0] if len(row[0]) <= widths[0] else ""
        lines += [] if name else [row[0]]
        fields = [name.ljust(widths[0]), row[1].ljust(widths[1])]
        fields += [field.rjust(room) for field, room in zip(row[2:6], widths[2:6], strict=True)]
        lines.append((" " * gap).join([*fields, row[6].ljust(widths[6]), row[7]]).rstrip())
        lines += variants.get(row[0], [])
    return lines


def _cells(dataset: Dataset, counts: Counts, size: int | None, *, short: bool) -> tuple[str, ...]:
    numbers = (counts.users, counts.items or counts.listed_items, counts.interactions)
    return (
        dataset.name,
        dataset.domain or "-",
        *("-" if number is None else rounded(number) if short else f"{number:,}" for number in numbers),
        "-" if size is None else size_words(size),
        "yes" if dataset.titles else "no",
        dataset.licence.partition(":")[0] or "-",
    )


def check_data(dataset: str | None, *, timeout: float = 20.0) -> tuple[list[str], list[str]]:
    """Ask every address of the known data sets, or of one; of each family, one category stands for all.

    Returns:
        A line for each data set and, below it, for each address what it answered; and the names of the data sets of
        which a file that is needed is at no address.

    Raises:
        OptionError: If the data set is unknown, or is at no address.
    """
    if dataset is None:
        chosen = [*DATASETS.values(), *(known_dataset(plain_name(f"{name}:{STANDS_FOR_ALL}")) for name in AMAZON)]
    else:
        chosen = [known_dataset(Reference.parse(dataset).dataset)]
    found = [known for known in chosen if known is not None and known.files]
    if not found:
        raise OptionError(f"nothing of {dataset!r} can be downloaded", hint="`llmrs-bench list data` says what can.")
    answers = ask([file for known in found for file in known.files], timeout=timeout)
    lines, lost = [], []
    for known in found:
        lines.append(known.name)
        for file in known.files:
            lines += [f"  {'ok' if answer.fits else '--'}  {answer.url}\t{answer.words}" for answer in answers[file]]
            usable = answers[file] if file.md5 else answers[file][:1]  # a mirror is used only for bytes that are known
            if not file.optional and not any(answer.fits for answer in usable):
                lost.append(known.name)
    return lines, list(dict.fromkeys(lost))


def _origin(registry: Registry, name: str) -> str:
    """Say where a plug-in comes from."""
    found = [f"from the package {package} {version}" for package, version in registry.package(name).items()]
    return found[0] if found else "built in"


def _differs(config: dict[str, Any], reader: str | None) -> str:
    """Say which options are not the defaults, and the format of a data set that is not built in."""
    skipped = ("dataset", "item_word")
    defaults = PrepareConfig(dataset="any").model_dump()
    typed = {
        key: ",".join(f"{role}:{name}" for role, name in value.items()) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in skipped and value != defaults.get(key)
    }
    chosen = [f"{key}={value}" for key, value in typed.items()]
    return ", ".join([*([f"format {reader}"] if reader else []), *(chosen or ["defaults"])])


def list_models() -> list[str]:
    """One line for each recommender, for what else `--model` takes, and for each language model of the catalogue."""
    others = {
        "demo-lm": "language model, trained on the spot, for trying things out",
        "ORG/NAME": "any language model of the Hugging Face hub",
        "FOLDER, FILE.gguf": "any local one; the folder of a LoRA adapter",
        **{f"--engine {name}": f"its own models, {_origin(ENGINES, name)}" for name in ENGINES.plugins()},
    }
    trained = {
        name: registry.kind if name in registry.builtin else f"{registry.kind}, {_origin(registry, name)}"
        for registry in (RECOMMENDERS, CLICK_MODELS)
        for name in registry.names()
    }
    lines = [f"{name:17} {about}" for name, about in {**trained, **others}.items()]
    width = max(map(len, MODEL_ALIASES))
    kind = None
    for spec in MODEL_ALIASES.values():
        about = f"{spec.family}: {spec.context} tokens, {spec.architecture}, {_TUNED[spec.tuning or 'none']}"
        about += f"; released {spec.released}" if spec.released else ""
        about += f", data to {spec.cutoff}" if spec.cutoff else ""
        if about != kind:
            lines.append(kind := about)
        lines.append(f"  {spec.name:{width}} {spec.size_b or 0:>5g}B {spec.source}")
    return lines


def list_templates() -> list[str]:
    """One line for each template."""
    lines = []
    for name in template_names():
        template_file = read_source(name).template_file
        parts = ", ".join(f"{part}={value}" for part, value in template_file.parts.items() if isinstance(value, str))
        lines.append(f"{name}\t{template_file.about}\t{parts}")
    return lines


def list_parts() -> list[str]:
    """One line for each part that can be put into a template, as `-T PART=NAME`."""
    return [
        f"{part}={name}\t{template_part.about}"
        for part in PART_NAMES
        for name, template_part in template_parts(part).items()
    ]
