"""The shell blocks of the documentation, and how their commands run on small data without a network."""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl
import typer
from typer.core import TyperGroup

from llmrs_bench.cli.main import app
from llmrs_bench.cli.options import pairs
from llmrs_bench.clicks.baselines import TRIVIAL
from llmrs_bench.core.registry import CLICK_MODELS, ENGINES, RECOMMENDERS
from llmrs_bench.stages.serving import TUNED, is_language_model
from tiny_models import tiny_llama

ROOT = Path(__file__).parents[1]
PLUG_INS = ROOT / "docs" / "plug-ins.md"  # runs with the example package alone: test_plugins.py has its commands
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {PLUG_INS})]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# What stands for data sets and models that would be downloaded.
DATA = {"ml1m": "small", "ml100k": "small", "demo": "small"}
MODEL = "mock"
RUN = re.compile(r"llama-[\w.-]*?b(?:-chat)?-(?=listwise)")  # `llama-2-7b-listwise` begins the name of a run
# Recommenders that learn in epochs, of which one is enough here.
NETWORKS = ("bprmf", "fpmc", "gru4rec", "sasrec", "bert4rec")
# What a block may run beside `llmrs-bench`; but for `mkdir`, it is recorded alone.
PROGRAMS = ("llmrs-bench", "make", "python", "sh", "ir_measures", "accelerate")
# Why a block is not run, and how many blocks may say so.
REASONS = {
    "installs packages": 4,
    "needs a GPU": 1,
    "needs a server": 2,
    "needs a cluster": 2,
    "needs files of yours": 6,
    "needs another program": 1,
    "takes hours": 1,
}

_BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>[^\n]*) -->\n)?^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_STUB = """#!/bin/sh
PATH=/usr/bin:/bin
printf '%s\\0' "$#" "${0##*/}" "$@" >> "$RECORD"
echo >> "$RECORD.count"
echo "<$(($(wc -l < "$RECORD.count") - 1))>"
"""
_PLACE = re.compile(r"<(\d+)>")


@dataclass(frozen=True)
class Block:
    """A block of shell commands.

    Args:
        where: Its page and line.
        section: The heading above it, but for that of the page.
        text: The commands.
        reason: Why it is not run; None where it is.
    """

    where: str
    section: str
    text: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    """Return the shell blocks of a page."""
    text = page.read_text("utf-8")
    made = []
    for found in _BLOCK.finditer(text):
        before = text[: found.start("text")]
        section = re.findall(r"^##+ (.*)$", before, re.MULTILINE)[-1:]
        made.append(Block(f"{page.name}:{before.count(chr(10)) + 1}", "".join(section), found["text"], found["reason"]))
    return made


def sections() -> list[tuple[str, str]]:
    """Return page and heading of all sections that have shell blocks."""
    return list(dict.fromkeys((name, found.section) for name in NAMES for found in blocks(ROOT / name)))


def recorded(block: Block, folder: Path) -> list[list[str]]:
    """Return the commands of a block as a shell expands them; none of them is run.

    The words `<0>`, `<1>` stand for what the first and the second command write to stdout.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        (programs / name).write_text(_STUB)
        (programs / name).chmod(0o755)
    (programs / "mkdir").symlink_to("/bin/mkdir")
    record = folder / "record"
    record.touch()
    environment = {"PATH": str(programs), "RECORD": str(record), "GITHUB_STEP_SUMMARY": "summary.md"}
    done = subprocess.run(
        ["/bin/sh", "-eu"], input=block.text, env=environment, capture_output=True, text=True, check=False
    )
    assert not done.returncode, f"{block.where}: {done.stderr}"
    words, commands = record.read_text("utf-8").split("\0")[:-1], []
    while words:
        size = int(words[0]) + 2
        commands.append(words[1:size])
        words = words[size:]
    return commands


def check(words: Sequence[str]) -> None:
    """Hold a command of `llmrs-bench` against its options, and those of an engine behind -O against the engine's."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    if words[0].startswith("-") or "--help" in words:
        return
    command = group.commands[words[0]]
    given = command.make_context(words[0], [*words[1:]]).params
    if words[0] != "infer" or _PLACE.fullmatch(str(given["model"])):  # a model that another command names
        return
    engine, model = given["engine"] or "auto", given["model"]
    if asks_language_model(model) or engine == "openai":
        known = "transformers" if engine == "auto" else engine
        ENGINES.load(known).Options.parse(pairs(given["option"] or []), owner=known)
    else:
        assert is_recommender(model), f"nobody knows the model {model}"


def asks_language_model(model: str) -> bool:
    return not is_recommender(model) and is_language_model(model)


def is_recommender(model: str) -> bool:
    return model in {*RECOMMENDERS.names(), *CLICK_MODELS.names(), *TRIVIAL} or (Path(model) / "manifest.json").exists()


def substituted(words: Sequence[str], source: Path, outputs: Sequence[str]) -> list[str]:
    """Return a command that runs here: on small data, with the mock model, and for an epoch at most.

    Where an earlier command of the block tuned a model, its base stands for the language models of those after it.

    Args:
        words: The command, without `llmrs-bench`.
        source: The folder of the small data.
        outputs: What the earlier commands of the block wrote to stdout.
    """
    found = [_PLACE.sub(lambda place: outputs[int(place[1])], RUN.sub(f"{MODEL}-", word)) for word in words]
    found = [name for word in found for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    for place, word in enumerate(found):
        name, at, variant = word.partition("@")
        if found[place - 1] in ("--dataset", "-d", "--learn-on", "--transfer") and name in DATA:
            found[place] = DATA[name] + at + variant
        option, _, value = word.partition("=")
        if option == "shots_from" and value in DATA:
            found[place] = f"{option}={DATA[value]}"
    if "--help" in found:
        return found
    if found[0] == "prepare":
        return _preparing(found, source)
    if found[0] in ("probe", "judge", "run"):
        found = [MODEL if found[place - 1] in ("--model", "-m") else word for place, word in enumerate(found)]
        return found if found[0] != "run" or found[1].endswith(".toml") else [*found, "--source", str(source)]
    if found[0] == "tune":
        return _tuning(found, source)
    if any(word.startswith("title_tokens=") for word in found):
        found = _counting(found, _tiny(source.parent / "tiny-model"))
    if found[0] == "infer":
        tuned = any(name.startswith(TUNED) for name in outputs)
        return _inferring(found, str(_tiny(source.parent / "tiny-model")) if tuned else MODEL)
    return found


def _counting(found: list[str], folder: Path) -> list[str]:
    """Return a command whose title_tokens are counted by a tokenizer: the mock model has no tokens of its own."""
    counting = f"title_tokenizer={folder}"
    named = [place for place, word in enumerate(found) if word.startswith("title_tokenizer=")]
    if not named:
        return [*found, "-T", counting]
    return [*found[: named[0]], counting, *found[named[0] + 1 :]]


def _preparing(found: list[str], source: Path) -> list[str]:
    """Return a command `prepare` of the small data, unless it is of files of the reader's own."""
    own = [word for place, word in enumerate(found) if found[place - 1] in ("--source", "--mapping")]
    if own and all(Path(name).is_file() for name in own):
        return found
    taken = [found.index("--source")] if "--source" in found else []
    found = [word for place, word in enumerate(found) if place not in [*taken, *(place + 1 for place in taken)]]
    trained = [name for name in NETWORKS if any(word.startswith(f"model:{name}") for word in found)]
    return [*found, "--source", str(source), *(word for name in trained for word in ("-O", f"{name}.epochs=1"))]


def _inferring(found: list[str], other: str) -> list[str]:
    """Return a command `infer` of one epoch, or of the model `other` in place of a language model."""
    model = next(place for place, word in enumerate(found) if word in ("--model", "-m")) + 1
    if found[model] in NETWORKS:
        return [*found, "-O", "epochs=1"]
    if asks_language_model(found[model]) and not found[model].startswith(TUNED):
        found[model] = other
        options = [place for place, word in enumerate(found) if word in ("-O", "--engine")]
        return [word for place, word in enumerate(found) if not {place, place - 1} & set(options)]
    return found


def _tuning(found: list[str], source: Path) -> list[str]:
    """Return a command `tune` of a tiny model, with few samples."""
    model = next(place for place, word in enumerate(found) if word in ("--model", "-m")) + 1
    found[model] = str(_tiny(source.parent / "tiny-model"))
    options = [place for place, word in enumerate(found) if word in ("-O", "--samples")]
    samples = "0" if ("--samples", "0") in pairwise(found) else "8"
    kept = [word for place, word in enumerate(found) if not {place, place - 1} & set(options)]
    return [*kept, "--samples", samples, "-O", "epochs=1", "-O", "valid=4"]


def _tiny(folder: Path) -> Path:
    """Return a model of random weights, written once."""
    return folder if (folder / "config.json").exists() else tiny_llama(folder, chat=True, context=1024)


def write_own_files(folder: Path) -> None:
    """Write the tables that readers of docs/data.md have: films, a shop's orders, and songs that were played."""
    events = [(user, (user * 5 + step * (1 + user % 3)) % 30, step) for user in range(25) for step in range(9)]
    ratings = "".join(f"{user},{film},{3 + step % 3},{1600000000 + step}\n" for user, film, step in events)
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + ratings)
    films = "".join(f'{film},"Film of {film} Days, The ({1990 + film})",Drama|Comedy\n' for film in range(30))
    (folder / "movies.csv").write_text("movieId,title,genres\n" + films)
    moments = [f"2024-05-0{step + 1}T09:30:00Z" for _, _, step in events]
    orders = [
        {"client": f"c{user}", "sku": f"{thing:03}", "ordered_at": moment, "qty": 1}
        for (user, thing, _), moment in zip(events, moments, strict=True)
    ]
    lamps = [{"sku": f"{at:03}", "name": f"Lamp {at}", "tags": ["Home", "Light"], "price": 39.9} for at in range(30)]
    for name, rows in {"orders": orders, "products": lamps}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plays = [
        {"listener": f"l{user}", "track_id": song, "track_name": f"Song {song}", "played_at": moment}
        for (user, song, _), moment in zip(events, moments, strict=True)
    ]
    pl.DataFrame(plays).with_columns(pl.col("played_at").str.to_datetime(time_zone="UTC")).write_parquet(
        folder / "plays.parquet"
    )


def exists(words: Sequence[str], extras: set[str], targets: set[str]) -> bool:
    """Tell whether a command that is not ours names files, extras and targets of the repository."""
    program, *rest = words
    if program == "make":
        return all(word in targets or re.fullmatch(r"VLLM=(cpu|gpu)", word) for word in rest)
    if program == "python" and rest[:3] == ["-m", "pip", "install"]:
        named = {extra for word in rest for extra in re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*)\]", word)))}
        return named <= extras and all((ROOT / word).exists() for word in rest if word.endswith(".txt"))
    if program in ("python", "sh"):
        return (ROOT / rest[0]).is_file()
    if program == "accelerate":
        check(rest[rest.index("llmrs_bench") + 1 :])
        return True
    return program == "ir_measures"
