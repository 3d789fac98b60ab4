"""Stage `prompt`: render a template over the requests of a data set."""

from collections import Counter
from contextlib import closing
from hashlib import sha256
from inspect import getfile
from pathlib import Path

import polars as pl

from llmrs_bench.artifacts import Draft, Recipe
from llmrs_bench.config import PromptConfig
from llmrs_bench.prompts import protocol
from llmrs_bench.prompts.frames import read_shop, read_views, write_prompts
from llmrs_bench.prompts.protocol import Shop, Template, written
from llmrs_bench.prompts.sheets import shipped_digest
from llmrs_bench.schemas import PROMPTS, VIEWS
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.leaks import check_views
from llmrs_bench.stages.notes import find_note, read_interest, read_notes
from llmrs_bench.stages.outcome import Outcome, make_once
from llmrs_bench.stages.plan import open_plan
from llmrs_bench.stages.views import Viewer

# Requests that are rendered, asked and ranked together; memory grows with it, not with their number.
BLOCK = 2000


def prompt(data: Data, config: PromptConfig) -> Outcome:
    """Make the artifact `prompts` of a template.

    Raises:
        OptionError: If there is no such template, or an option does not fit it.
        LeakError: If a prompt would tell its target.
        ArtifactError: If the data set's tables are damaged.
    """
    plan, history = open_plan(config), shown_history(data, config)
    runs = {
        name: find_note(data, name, run)
        for name, run in (("interest", plan.views.interest_run), ("notes", plan.views.notes_run))
        if run is not None
    }
    recipe = Recipe(
        "prompt",
        plan.name,
        {"template": plan.name, **plan.config, "history": history, "item_word": data.item_word},
        {
            **{table: data.artifact.digest(table) for table in ("items", "interactions", "requests", "truth")},
            "template": plan.source.digest,
            **{name: run.digest("responses") for name, run in runs.items()},
        },
        {"prompts": source_digest(plan.template)},
    )

    def fill(draft: Draft) -> None:
        shop, truth, facts = open_shop(data), data.artifact.table("truth"), Counter[str]()
        titles = {item_id: item.title for item_id, item in shop.items.items()}
        interest = read_interest(runs["interest"]) if "interest" in runs else {}
        notes = read_notes(data, runs["notes"]) if "notes" in runs else {}
        draft.write("views", pl.DataFrame(schema=VIEWS))
        draft.write("prompts", pl.DataFrame(schema=PROMPTS))
        viewer = Viewer(data, plan.views, history=history, rated=plan.rated, interest=interest, notes=notes)
        with closing(viewer):
            for part in data.artifact.parts("requests", BLOCK):
                views = viewer.views(part)
                facts["views_with_target_in_history"] += check_views(views, truth, titles)
                frame = render(plan.template, shop, views, history)
                draft.write("views", views)
                draft.write("prompts", frame)
                facts.update(views=views.height, prompts=frame.height, characters=_characters(frame))
                if "interest" in runs:
                    facts["views_without_interest"] += views.filter(pl.col("interest") == "").height
                if "notes" in runs:
                    facts["views_without_notes"] += views.filter(pl.col("notes").list.len() == 0).height
        draft.facts["warnings"] = [
            f"{facts[f'views_without_{name}']:,} of {facts['views']:,} prompts tell no {name}, because the model wrote "
            "none: raise -O answer_tokens of that run, or see its responses"
            for name in runs
            if facts[f"views_without_{name}"]
        ]
        draft.facts.update(facts, mode=plan.template.mode, rounds=plan.template.rounds)

    return make_once(recipe.place(data.place.prompts), recipe, fill)


def shown_history(data: Data, config: PromptConfig) -> int:
    """Return how many items of history prompts show."""
    return data.default_history if config.history is None else config.history


def render(template: Template, shop: Shop, views: pl.DataFrame, history: int) -> pl.DataFrame:
    """Return the first prompts of views, as a frame of the schema `prompts`."""
    rows = read_views(views)
    return write_prompts(asked for request in rows for asked in written(template, request, shop, history=history))


def open_shop(data: Data) -> Shop:
    """Return what templates may know of a prepared data set."""
    return read_shop(data.artifact.table("items"), data.item_word)


def source_digest(template: Template) -> str:
    """Return a digest of the code of all templates and of this one, so that changed words never meet old prompts.

    Templates share code. Answers are kept by what was asked, so that a change that leaves the words alone asks nothing.
    """
    files = {Path(getfile(type(template))), *Path(getfile(protocol)).parent.glob("*.py")}
    return sha256(b"".join(path.read_bytes() for path in sorted(files)) + shipped_digest().encode()).hexdigest()


def _characters(prompts: pl.DataFrame) -> int:
    text = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
    return int(prompts.select(text.sum()).item() or 0)
