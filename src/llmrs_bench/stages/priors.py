"""How likely titles are where no history is told: asked for on request, kept and paid apart from any run."""

from math import fsum

import polars as pl

from llmrs_bench.artifacts import Artifact, Draft, Recipe, find_made
from llmrs_bench.errors import ArtifactError, OptionError
from llmrs_bench.prompts.frames import read_answer, responses_frame
from llmrs_bench.prompts.protocol import Template
from llmrs_bench.schemas import RESPONSES
from llmrs_bench.stages.asking import Asker
from llmrs_bench.stages.clip import Question
from llmrs_bench.stages.conversation import blocks
from llmrs_bench.stages.cost import Cost
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.stages.plan import Plan
from llmrs_bench.stages.prompt import open_shop
from llmrs_bench.types import Progress, Prompt


def check_priors(plan: Plan) -> None:
    """Refuse to ask for titles without a history where a template does not ask for titles.

    Raises:
        OptionError: If it does not.
    """
    if plan.template.mode != "likelihood":
        raise OptionError(
            f"--prior means nothing to template {plan.name}: it reads no likelihoods of titles",
            hint="Leave it out, or add --template likelihood.",
        )


def ask_priors(data: Data, run: Artifact, prompts: Artifact, plan: Plan, asker: Asker, progress: Progress) -> Outcome:
    """Make the artifact `priors` of a run: what the model says to each of its titles where no history is told.

    Raises:
        EngineError: If the engine fails; what it answered before is kept.
    """
    recipe = _recipe(run)

    def fill(draft: Draft) -> None:
        asked = _prompts(data, prompts, plan.template)
        with progress(f"{run.facts['model']['name']}, titles without a history", len(asked)) as step:
            asker.show(step, len(asked))
            asker.turn_to(len(asked))
            rows = asker.ask([Question(asked, 0, lambda fewer, *, bare=False: asked)] if asked else [])
        responses = responses_frame((prior, rows[prior.prompt_id]) for prior in asked)
        draft.write("responses", pl.DataFrame(schema=RESPONSES))
        draft.write("responses", responses)
        spent = Cost()
        spent.add(responses, [], requests=0)
        draft.facts.update(spent.of_priors())

    return make_once(recipe.place(data.place.priors), recipe, fill)


def find_priors(data: Data, run: Artifact) -> Artifact:
    """Return the artifact `priors` of a run.

    Raises:
        ArtifactError: If they were not asked for.
    """
    recipe = _recipe(run)
    found = find_made(recipe.place(data.place.priors), recipe)
    if found is None:
        raise ArtifactError(
            f"the titles of run {run.path.name} were never asked for without a history, which pmi subtracts",
            hint=f"Run: {run.manifest.command} --prior. What was answered before is not asked again.",
        )
    return found


def read_priors(data: Data, prompts: Artifact, template: Template, priors: Artifact) -> dict[str, float]:
    """Return the summed log-probability of every title without a history.

    Raises:
        ArtifactError: If a table is damaged, or the priors lack a title.
    """
    rows = {row["prompt_id"]: row for row in priors.table("responses").iter_rows(named=True)}
    found: dict[str, float] = {}
    for prompt in _prompts(data, prompts, template):
        if prompt.prompt_id not in rows:
            raise ArtifactError(
                f"{priors.path} lacks the titles of prompt {prompt.prompt_id!r}",
                hint=f"Delete {priors.path} and run `llmrs-bench infer --prior` again.",
            )
        response = read_answer(prompt.prompt_id, rows[prompt.prompt_id])
        values = zip(prompt.choices or (), response.choice_logprobs or (), strict=True)
        found |= {choice: fsum(logprobs) for choice, logprobs in values}
    return found


def _recipe(run: Artifact) -> Recipe:
    old = run.manifest
    inputs = {name: old.inputs[name] for name in ("answers", "prompts")}
    return Recipe("infer", f"{old.name}-priors", old.config, inputs, {"prompts": old.parts["prompts"]})


def _prompts(data: Data, prompts: Artifact, template: Template) -> list[Prompt]:
    """Return the prompts that ask for each title of a run once, in the order of their first appearance."""
    choices: dict[str, None] = {}
    for block in blocks(data, prompts):
        choices.update(dict.fromkeys(c for group in block.prompts.values() for p in group for c in p.choices or ()))
    return template.priors(list(choices), open_shop(data))
