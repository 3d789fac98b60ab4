"""Read the kept responses of a run in another way: likelihoods normalised anew are another run, and nobody is asked."""

from collections.abc import Iterator
from itertools import chain

import polars as pl

from llmrs_bench.artifacts import Artifact, Draft, Recipe
from llmrs_bench.config import Normalize, PromptConfig
from llmrs_bench.errors import ArtifactError, OptionError
from llmrs_bench.prompts.frames import read_answer
from llmrs_bench.prompts.protocol import Reading
from llmrs_bench.schemas import RANKINGS
from llmrs_bench.stages.conversation import blocks
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.infer_language import read, write_rankings
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.stages.plan import open_plan
from llmrs_bench.stages.priors import find_priors, read_priors
from llmrs_bench.stages.prompt import BLOCK, prompt
from llmrs_bench.types import Response


def has_likelihoods(run: Artifact) -> bool:
    """Tell whether a run holds log-likelihoods of titles that were not normalised yet."""
    return run.facts.get("mode") == "likelihood" and run.facts["normalize"] == "sum"


def normalized(data: Data, run: Artifact, normalize: Normalize) -> Outcome:
    """Make the run that reads the responses of `run` with another normalisation.

    Raises:
        OptionError: If it holds no likelihoods of titles.
        ArtifactError: If its prompts or responses are damaged, or pmi lacks its priors.
    """
    if not has_likelihoods(run):
        raise OptionError(
            f"--normalize {normalize} means nothing to run {run.path.name}",
            hint="It says how the tokens of a title are weighed: choose a run of --template likelihood.",
        )
    old = run.manifest
    priors = find_priors(data, run) if normalize == "pmi" else None
    recipe = Recipe(
        "infer",
        f"{old.name}-{normalize}",
        {**old.config, "normalize": normalize},
        {**old.inputs, "run": old.fingerprint, **({"priors": priors.digest("responses")} if priors else {})},
        old.parts,
    )

    def fill(draft: Draft) -> None:
        config = PromptConfig(
            template=old.config["template"], options=old.config["options"], history=old.facts["history"]
        )
        plan, prompts = open_plan(config), prompt(data, config).artifact
        template = plan.template
        if prompts.digest("prompts") != old.inputs["prompts"]:
            raise ArtifactError(
                f"run {run.path.name} answers other prompts than the template {config.template!r} writes now",
                hint="Make the run again with `llmrs-bench infer`: what was asked before is not asked again.",
            )
        responses = _responses(run)
        prior = read_priors(data, prompts, template, priors) if priors else {}
        draft.write("rankings", pl.DataFrame(schema=RANKINGS))
        for block in blocks(data, prompts):
            exchanges = [[(asked, next(responses)) for asked in group] for group in block.prompts.values()]
            scores = [read(template, group, Reading(normalize, prior)) for group in exchanges]
            write_rankings(draft, block, scores, plan.views.aggregate, seed=data.tie_seed)
        spent = priors.facts if priors else {}
        draft.facts.update({**old.facts, **spent, "normalize": normalize, "responses_of": run.path.name})

    return make_once(recipe.place(data.place.runs), recipe, fill)


def _responses(run: Artifact) -> Iterator[Response]:
    """Yield the responses of a run in the order in which its prompts were asked."""
    rows = chain.from_iterable(part.iter_rows(named=True) for part in run.parts("responses", BLOCK))
    return (read_answer(row["prompt_id"], row) for row in rows)
