"""Stage `prompt`: a template with its options, rendered for every request of a data set."""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from hashlib import sha256
from inspect import getfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from llmrs_bench.core.artifacts import Draft, Recipe, StageResult, get_or_create, open_artifact
from llmrs_bench.core.config import CLICK, EXPLANATION, LABELLED, RATING, TEXTS, PromptConfig
from llmrs_bench.core.errors import ModelError, OptionError
from llmrs_bench.core.registry import STRATEGIES
from llmrs_bench.core.schemas import PROMPTS, VIEWS
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.llm.model_aliases import MODEL_ALIASES, ModelSpec
from llmrs_bench.llm.tokenization import CUT, TitleCounter
from llmrs_bench.prompts.frames import read_catalog, read_views, write_prompts
from llmrs_bench.prompts.leakage import check_views
from llmrs_bench.prompts.strategies.base import ItemCatalog, PromptStrategy, written
from llmrs_bench.prompts.template import PART_NAMES, PartName, TemplateSource, read_source, shipped_digest
from llmrs_bench.report.words import shared_words
from llmrs_bench.stages.examples import find_domain
from llmrs_bench.stages.prompt_variants import Shown, find_shown, open_views
from llmrs_bench.stages.workspace import Data

_SCALE = ("lowest", "highest", "rating_format")  # what parts may name of the scale of ratings


@dataclass(frozen=True)
class PromptPlan:
    """What is asked, and what of a request is shown.

    Args:
        template: Writes prompts and reads answers.
        views: What of a request is shown.
        source: The file it comes from.
        parts: Parts put in place of the template's own.
        form: The options of the answer form.
    """

    template: PromptStrategy
    views: ViewOptions
    source: TemplateSource
    parts: Mapping[PartName, str]
    form: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What to call it: the name of its file, without the ending."""
        return self.source.name

    @property
    def config(self) -> dict[str, Any]:
        """All that was chosen, as plain values."""
        config: dict[str, Any] = {"form": dict(self.form), "parts": dict(self.parts), "views": views_of(self.views)}
        if self.views.title_tokens is not None:
            from llmrs_bench.llm.loading import tokenizer_digest

            config["title_tokenizer"] = tokenizer_digest(title_counter(self.views).tokenizer)
        return config

    def rated(self, task: str) -> bool:
        """Return whether its prompts show ratings; of labelled requests the history says what was liked."""
        liked = () if task in LABELLED else ("likes", "dislikes")
        return self.template.prompt_template.uses("rating", *liked)

    @property
    def scaled(self) -> bool:
        """Whether its prompts depend on the scale of ratings."""
        return self.template.prompt_template.uses(*_SCALE, "likes", "dislikes")


def views_of(views: ViewOptions) -> dict[str, Any]:
    """Return what is told of a request, as plain values; whose tokens limit titles is a matter of a digest."""
    later = {"title_tokenizer", *(("title_tokens",) if views.title_tokens is None else ())}
    later |= {"scores_run", "scores"} if views.scores_run is None else set()
    later |= {name for name in ("stated", "explained_run") if getattr(views, name) is None}
    return views.model_dump(mode="json", exclude=later)


def open_plan(config: PromptConfig) -> PromptPlan:
    """Return the plan that a configuration means.

    Raises:
        OptionError: If there is no such template, part or option, or one of them is read by nothing.
    """
    source = read_source(config.template)
    given, owner = config.options, f"template {source.name}"
    views = ViewOptions.parse({name: given[name] for name in ViewOptions.model_fields if name in given}, owner=owner)
    parts = cast("dict[PartName, str]", {name: given[name] for name in PART_NAMES if name in given})
    if views.shots and not any("examples" in group for group in source.template_file.order):
        raise OptionError(
            f"shots={views.shots} has no effect on template {source.name}: it has no place for examples",
            hint="Leave it out, or choose another template, such as listwise.",
        )
    if views.shots and "examples" not in {**source.template_file.parts, **parts}:
        parts["examples"] = "next" if views.examples_of is None else "domain"
    if views.stated and "role" not in {**source.template_file.parts, **parts}:
        parts["role"] = "stated"
    kind: Any = STRATEGIES.load(source.template_file.form)
    known = {*ViewOptions.model_fields, *PART_NAMES}
    rest = {key: value for key, value in config.options.items() if key not in known}
    unknown = sorted(rest.keys() - kind.Options.model_fields.keys())
    if unknown:
        near = get_close_matches(unknown[0], [*kind.Options.model_fields, *known], n=1, cutoff=0.5)
        guess = f", did you mean {near[0]!r}?" if near else ""
        raise OptionError(
            f"template {source.name} has no option {unknown[0]!r}{guess}",
            hint=f"Its options: {', '.join([*kind.Options.model_fields, *ViewOptions.model_fields])}; "
            f"its parts: {', '.join(PART_NAMES)}. See `llmrs-bench list parts`.",
        )
    options = kind.Options.parse({**source.template_file.options, **rest}, owner=owner)
    template: PromptStrategy = kind(options, source.prompt_template(parts, views.stated or ""))
    if views.several and source.template_file.form in TEXTS:
        raise OptionError(
            f"orders, samples and slots have no effect on template {source.name}: it ranks nothing",
            hint="Leave them out.",
        )
    _check_read(template, views, source.name)
    if views.explained_run is not None and source.template_file.form != EXPLANATION:
        raise OptionError(
            f"explained_run=RUN has no effect on template {source.name}", hint="Choose the template explanation."
        )
    if {**source.template_file.parts, **parts}.get("goal") == "diversity" and template.mode != "generate":
        raise OptionError(
            f"goal=diversity has no effect on template {source.name}: it reads probabilities, and writes no list",
            hint="Choose a template that writes lists, such as listwise.",
        )
    return PromptPlan(template, views, source, parts, options.model_dump(mode="json"))


def open_template(config: PromptConfig) -> PromptStrategy:
    """Return the template of a plan.

    Raises:
        OptionError: As `open_plan` does.
    """
    return open_plan(config).template


def _check_read(template: PromptStrategy, views: ViewOptions, name: str) -> None:
    """Refuse what would be gathered and not shown, and what would be shown and is not there."""
    if views.notes_run is not None and not template.prompt_template.uses("note"):
        raise OptionError(
            f"notes_run=RUN has no effect on template {name} as it is: no part of it shows notes",
            hint="Add a part that does, for instance -T interest=recent-noted.",
        )
    if views.notes_run is None and template.prompt_template.uses("note"):
        raise OptionError(
            f"a part of template {name} shows notes about items, and there are none",
            hint="Add --item-notes RUN, a run of the template notes.",
        )
    shown = template.prompt_template.uses("opinion")
    if (views.scores_run is not None) is not shown:
        raise OptionError(
            f"a part of template {name} shows a recommender's opinion, and there is none"
            if shown
            else f"scores_run=RUN has no effect on template {name} as it is: no part of it shows an opinion",
            hint="Add -T scores_run=RUN, the run of a recommender."
            if shown
            else "Add -T candidates=scored, or -T candidates=letters-scored where answers are letters.",
        )
    needs = {
        "relevant": (bool(views.relevant), "relevant=N", "-T interest=recent-relevant"),
        "interest": (views.interest_run is not None, "interest_run=RUN", "-T interest=recent-written"),
        "examples": (bool(views.shots), "shots=K", "-T examples=next"),
        "stated": (views.stated is not None, "stated=TEXT", "-T role=stated"),
    }
    for used, (given, option, part) in needs.items():
        told = used in _names(template)
        if given and not told and not (used == "interest" and views.query == "interest"):
            raise OptionError(
                f"{option} has no effect on template {name} as it is: no part of it shows that",
                hint=f"Add a part that does, for instance {part}.",
            )
        if told and not given:
            raise OptionError(
                f"a part of template {name} needs {option}",
                hint=f"Add -T {option}, or choose another part.",
            )
    if views.shots and (views.examples_of is None) is template.prompt_template.uses("example_items"):
        part = "next" if views.examples_of is None else "domain"
        raise OptionError(
            f"shots_from={views.shots_from} shows examples of "
            + (
                "this data set, but a part speaks of another one"
                if part == "next"
                else "another data set, but no part says so"
            ),
            hint=f"Use -T examples={part}, or leave that out.",
        )
    if views.samples > 1 and template.mode != "generate":
        raise OptionError(
            f"samples={views.samples} has no effect on template {name}: likelihoods are the same every time",
            hint="Leave it out, or choose a template that writes, such as listwise.",
        )
    if views.past == "other" and template.prompt_template.uses("rating", "likes", "dislikes"):
        raise OptionError(
            f"past=other shows items that the user never rated, and a part of template {name} shows ratings",
            hint="Use -T interest=recent.",
        )
    if views.past != "own" and (views.interest_run or views.notes_run or views.shots or views.relevant):
        raise OptionError(
            f"past={views.past} removes the user's history, but other options show some of it",
            hint="Leave out relevant, shots, interest_run and notes_run.",
        )


def _names(template: PromptStrategy) -> set[str]:
    return {name for part in template.prompt_template.parts.values() for name in part.variables}


# Tables that decide what a prompt says, by the task.
_RANKED = ("items", "interactions", "requests", "truth")
_READ = {"ranking": _RANKED, **dict.fromkeys(LABELLED, (*_RANKED, "outcomes", "ratings"))}
# Requests that are rendered, asked and ranked together; memory grows with it, not with their number.
BLOCK = 2000


def prompt(data: Data, config: PromptConfig) -> StageResult:
    """Make the artifact `prompts` of a template.

    Raises:
        OptionError: If there is no such template, or an option does not fit it.
        LeakError: If a prompt would reveal its target.
        ArtifactError: If the data set's tables are damaged.
    """
    plan, history = open_plan(config), shown_history(data, config)
    check_task(data, plan)
    shown = find_shown(data, plan.views)
    scale = {"scale": list(data.rating_scale())} if data.task == RATING else {}
    recipe = Recipe(
        "prompt",
        plan.name,
        {"template": plan.name, **plan.config, "history": history, "item_word": data.item_word, **scale},
        {
            **{table: data.artifact.digest(table) for table in _READ[data.task]},
            "template": plan.source.digest,
            **shown.inputs,
        },
        {"prompts": source_digest(plan.template)},
    )

    def fill(draft: Draft) -> None:
        facts = Counter[str]()
        whole = {} if plan.views.title_tokens is None else open_catalog(data).items
        catalog = open_catalog(data, plan)
        if whole:
            facts["titles"] = len(whole)
            facts["titles_cut"] = sum(whole[name].title != item.title for name, item in catalog.items.items())
        draft.write("views", pl.DataFrame(schema=VIEWS))
        draft.write("prompts", pl.DataFrame(schema=PROMPTS))
        parts = data.artifact.parts("requests", BLOCK)
        with closing(_checked_views(data, plan, shown, history, parts)) as checked:
            for views, repeated in checked:
                facts["views_with_target_in_history"] += repeated
                frame = render(plan.template, catalog, views, history)
                draft.write("views", views)
                draft.write("prompts", frame)
                facts.update(views=views.height, prompts=frame.height, characters=_characters(frame))
                if "interest" in shown.texts:
                    facts["views_without_interest"] += views.filter(pl.col("interest") == "").height
                if "notes" in shown.texts:
                    facts["views_without_notes"] += views.filter(pl.col("notes").list.len() == 0).height
        if shown.domain is not None:
            draft.facts["examples_of"] = shown.domain.facts
        if plan.views.title_tokens is not None:
            draft.facts["title_words"] = title_words(facts, plan.views.title_tokens)
        draft.facts["warnings"] = [
            f"{facts[f'views_without_{name}']:,} of {facts['views']:,} prompts show no {name}, because the model wrote "
            "none: raise -O answer_tokens of that run, or see its responses"
            for name in shown.texts
            if facts[f"views_without_{name}"]
        ] + shared_words(draft.facts)
        draft.facts.update(facts, mode=plan.template.mode, rounds=plan.template.rounds)

    return get_or_create(recipe.place(data.place.prompts), recipe, fill)


def _checked_views(
    data: Data, plan: PromptPlan, shown: Shown, history: int, parts: Iterable[pl.DataFrame]
) -> Generator[tuple[pl.DataFrame, int], None, None]:
    """Yield the views of parts of the requests, and how many of them show the target in their history.

    Raises:
        LeakError: If a view reveals its target otherwise.
    """
    truth = data.artifact.table("truth")
    # A text that holds a whole title holds what is left of it.
    titles = {name: item.title.removesuffix(CUT) for name, item in open_catalog(data, plan).items.items()}
    with closing(open_views(data, plan.views, shown, history=history, rated=plan.rated(data.task))) as viewer:
        for part in parts:
            views = viewer.views(part)
            yield views, check_views(views, truth, titles, None if shown.domain is None else shown.domain.same)


def views_of_requests(data: Data, plan: PromptPlan, history: int, requests: pl.DataFrame) -> pl.DataFrame:
    """Return the views of some requests; nothing is written. Errors are those of `prompt`."""
    check_task(data, plan)
    with closing(_checked_views(data, plan, find_shown(data, plan.views), history, [requests])) as found:
        return pl.concat([views for views, _ in found])


def title_words(facts: Mapping[str, int], limit: int) -> str:
    """Say how many titles were cut."""
    return (
        f"titles: {facts['titles_cut']:,} of {facts['titles']:,} have more than {limit} tokens, and are cut after a "
        f"word, with {CUT}"
    )


def check_task(data: Data, plan: PromptPlan) -> None:
    """Refuse a template, or an option of one, that does not fit what a data set was prepared for.

    Raises:
        OptionError: Saying which template does.
    """
    known = getattr(plan.template, "tasks", ("ranking",))
    if data.task not in known:
        asks = {
            "ranking": "ranks candidates",
            CLICK: "asks whether a user will like one item",
            RATING: "asks how a user will rate one item",
        }
        raise OptionError(
            f"template {plan.name} {asks[known[0]]}, and {data.place.reference} was prepared with --task {data.task}",
            hint={CLICK: "Add --template like.", RATING: "Add --template stars."}.get(
                data.task, f"Choose another template, such as likelihood, or prepare the data with --task {known[0]}."
            ),
        )
    if plan.source.template_file.form == EXPLANATION and plan.views.explained_run is None:
        raise OptionError(
            f"template {plan.name} explains an item of each user, but no run says which",
            hint="Add -T explained_run=RUN: the first item of each list of that run is explained.",
        )
    given = {"shots": plan.views.shots, "slots": plan.views.slots, "orders": plan.views.orders > 1}
    idle = [name for name, chosen in given.items() if chosen]
    if data.task != RATING and plan.template.prompt_template.uses(*_SCALE) and not data.rating_scale():
        raise OptionError(
            f"a part of template {plan.name} names the scale of ratings, and {data.place.reference} has no ratings",
            hint="Choose another part, such as -T interest=recent.",
        )
    if data.labelled and idle:
        raise OptionError(
            f"{idle[0]} has no effect with --task {data.task}: a prompt asks about one item, and no item comes next",
            hint="Leave it out.",
        )


def shown_history(data: Data, config: PromptConfig) -> int:
    """Return how many items of history prompts show."""
    return data.default_history if config.history is None else config.history


def render(template: PromptStrategy, catalog: ItemCatalog, views: pl.DataFrame, history: int) -> pl.DataFrame:
    """Return the first prompts of views, as a frame of the schema `prompts`."""
    rows = read_views(views)
    return write_prompts(asked for request in rows for asked in written(template, request, catalog, history=history))


def open_catalog(data: Data, plan: PromptPlan | None = None) -> ItemCatalog:
    """Return what templates may know of a prepared data set, with titles as short as a plan wants them.

    Raises:
        ArtifactError: If the data set of the plan's examples is another one, and not prepared.
        OptionError: If nothing says whose tokens limit titles.
        ModelError: If that tokenizer cannot be had.
    """
    limited = None if plan is None or plan.views.title_tokens is None else plan.views
    scale = data.rating_scale() if data.task == RATING or (plan is not None and plan.scaled) else None
    made = _catalog(data.artifact.path, data.artifact.digest("items"), data.item_word, scale, limited)
    domain = None if plan is None else find_domain(data, plan.views)
    if domain is None:
        return made
    items, word = domain.data.artifact, domain.data.item_word
    return replace(made, examples=_catalog(items.path, items.digest("items"), word, None, limited))


@lru_cache(maxsize=4)  # the prompts of a run and its answers take the same ones, and rows of a study do
def _catalog(
    place: Path, digest: str, item_word: str, scale: tuple[float, ...] | None, views: ViewOptions | None
) -> ItemCatalog:
    """Return the items of the data at `place`, whose table has this digest, with titles as short as `views` want."""
    items = open_artifact(place, hint="prepare it again.").table("items")
    if views is not None and views.title_tokens is not None:
        titles = title_counter(views).shortened(items["title"].to_list(), views.title_tokens)
        items = items.with_columns(pl.Series("title", titles, dtype=pl.String))
    return read_catalog(items, item_word, scale)


def item_warnings(data: Data, facts: Mapping[str, Any]) -> list[str]:
    """Warn where prompts call most items by their ids, or show examples of the same items as of another domain.

    Args:
        data: What is asked about.
        facts: Of the prompts.
    """
    items = data.artifact.table("items")
    untitled = int((items["title"] == items["item_id"]).sum())
    if 2 * untitled <= items.height:
        return shared_words(facts)
    return [
        f"{untitled:,} of {items.height:,} items have no title: prompts call them by their ids",
        *shared_words(facts),
    ]


def title_counter(views: ViewOptions) -> TitleCounter:
    """Return what counts the tokens of titles.

    Raises:
        OptionError: If nothing says whose tokens these are.
        ModelError: If the tokenizer cannot be had.
    """
    if views.title_tokenizer is None:
        raise OptionError(
            f"title_tokens={views.title_tokens} counts tokens, but no tokenizer is named",
            hint="Add -T title_tokenizer=MODEL; infer and tune take their own model where that has a tokenizer.",
        )
    try:
        return TitleCounter(open_tokenizer(views.title_tokenizer)[1])
    except ModelError as error:
        raise ModelError(
            f"title_tokens counts tokens of {views.title_tokenizer}: {error.message}",
            hint=f"{error.hint} To count the tokens of another model, add -T title_tokenizer=MODEL.",
        ) from error


def source_digest(template: PromptStrategy) -> str:
    """Return a digest of the code of all templates and of this one, so that changed words never meet old prompts.

    Of a plug-in, the file of its strategy and the version of its package count. Templates share code. Answers are kept
    by what was asked, so that a change that leaves the words alone asks nothing.
    """
    code = b"".join(path.read_bytes() for path in source_files(template))
    return sha256(code + shipped_digest().encode() + _plugin_version(template).encode()).hexdigest()


def source_files(template: PromptStrategy) -> list[Path]:
    """Return the files of code that decide what a template writes and how its answers are read."""
    shared = Path(getfile(PromptStrategy)).parents[1].rglob("*.py")
    return sorted({Path(getfile(type(template))), *shared})


def _plugin_version(template: PromptStrategy) -> str:
    """Return the versions of the packages that a strategy of a plug-in may come from; nothing for a built-in one."""
    top = type(template).__module__.partition(".")[0]
    names = [name for name, entry in STRATEGIES.plugins().items() if entry.module.partition(".")[0] == top]
    return "".join(f"{package} {version}" for name in names for package, version in STRATEGIES.package(name).items())


def _characters(prompts: pl.DataFrame) -> int:
    text = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
    return int(prompts.select(text.sum()).item() or 0)


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@lru_cache(maxsize=2)
def open_tokenizer(model: str) -> "tuple[ModelSpec, PreTrainedTokenizerBase]":
    """Return what is known of a model and its tokenizer, with transformers; ModelError if it cannot be had."""
    from llmrs_bench.llm.base import ModelOptions
    from llmrs_bench.llm.loading import Checkpoint

    spec = MODEL_ALIASES.get(model) or ModelSpec(Path(model).name, model)
    return spec, Checkpoint(spec, ModelOptions()).tokenizer()
