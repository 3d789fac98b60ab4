"""Recipes: TOML files that say a whole study, and the rows that they come to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrs_bench.core.config import (
    LABELLED,
    PROTOCOLS,
    CompareConfig,
    LanguageModelConfig,
    PrepareConfig,
    RecommenderConfig,
)
from llmrs_bench.core.environment import expanded
from llmrs_bench.core.errors import BenchError, OptionError, listed
from llmrs_bench.core.registry import unknown_name
from llmrs_bench.stages.fuse import FusionOptions, check_number
from llmrs_bench.stages.infer import is_asked, is_outside, reads_titles
from llmrs_bench.stages.judge import JudgeConfig
from llmrs_bench.stages.mapping import read_mapping
from llmrs_bench.stages.recipe_files import Values, read_recipe, to_toml
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.study import (
    BoardRequest,
    DataPlan,
    RowPlan,
    Study,
    StudyRequest,
    named_apart,
    ordered,
    same_domains,
    without_limited,
    without_repeats,
)
from llmrs_bench.stages.workspace import Reference

if TYPE_CHECKING:
    from llmrs_bench.stages.tune import TuneConfig

# What tables hold beside the options of `prepare`, `infer`, `tune` and `compare`.
_TOP = {"about", "data", "defaults", "rows", "run", "board"}
_DATA = {"name", "source", "items", "mapping", "format", "protocol"}
_ROW = {"name", "data", "seeds", "tune", "printed"}
_ASKED = {*LanguageModelConfig.model_fields, *RecommenderConfig.model_fields}
_FUSED = {"fuse", *FusionOptions.model_fields} - {"runs"}
_JUDGED = {"judge", *JudgeConfig.model_fields} - {"runs"}
_SERVED = ("model", "engine", "options", "device", "limit")  # what a judge takes from [defaults]


def open_recipe(name: str | Values, changes: Values | None = None, settings: Sequence[str] = ()) -> Study:
    """Return the study that a recipe comes to.

    Args:
        name: A TOML file, or a recipe of the package, as `paper/table-9`; or its tables.
        changes: Tables put over those of the recipe, as `{"defaults": {"model": "mock"}}`.
        settings: More of them as typed: `data.users=50`.

    Raises:
        DataError: If it cannot be read.
        OptionError: Naming every key and value that is wrong, and where.
    """
    return study_of(read_recipe(name, changes or {}, settings), name if isinstance(name, str) else "recipe")


def study_of(content: Values, name: str) -> Study:
    """Return the study that the content of a recipe comes to.

    Raises:
        OptionError: Naming every key and value that is wrong, and where.
    """
    faults: list[BenchError] = []

    def tables(key: str) -> list[Values]:
        found = content.get(key, [])
        found = [found] if isinstance(found, Mapping) else found
        if not isinstance(found, list) or not all(isinstance(table, Mapping) for table in found):
            faults.append(OptionError(f"{key} is not a table", hint=f"Write [{key}], or [[{key}]] for several."))
            return []
        return found

    if unknown := sorted(content.keys() - _TOP):
        homes = {"[data]": _DATA | PrepareConfig.model_fields.keys(), "[[rows]]": _ROW | _ASKED}
        place = next((f" It stands below {table}." for table, keys in homes.items() if unknown[0] in keys), "")
        fault = unknown_name("table", unknown[0], sorted(_TOP))
        faults.append(OptionError(fault.message, hint=place.strip() or fault.hint))
    sources = tables("data")
    plans = _collected(faults, "[data]", sources, lambda table: [_data_plan(table)])
    defaults = next(iter(tables("defaults")), {})
    several = [plan.name for plan in plans]
    if len(plans) < len(sources):  # one that is wrong has its name all the same, and rows may say it
        several += [str(table.get("name") or table.get("dataset", "")) for table in sources]
    asked = _collected(faults, "[run]", tables("run")[:1], lambda table: [StudyRequest.parse_table(table)])
    servers = asked[0].servers if asked else ()
    rows = _collected(faults, "[[rows]]", tables("rows"), lambda table: list(_rows(table, defaults, several, servers)))
    board = _collected(faults, "[board]", tables("board")[:1], lambda table: [_board(table)])
    if not faults:
        rows = named_apart(rows, [str(table["name"]) for table in tables("rows") if "name" in table])
        rows = _judging(faults, rows)
        faults += _cross_faults(plans, rows, tables("board"), servers)
        idle = [key for key in defaults if key != "limit" or not any(row.served is not None for row in rows)]
        if idle and all("model" in table or "fuse" in table for table in tables("rows")):
            faults.append(_without_effect({key: defaults[key] for key in idle}))
    if faults:
        said, hint = listed(faults)
        raise OptionError(f"{name}: {said}", hint=hint)
    plans = [_without_titles(plan, rows) for plan in plans]
    kept, repeated = without_repeats(rows)
    kept, limited = without_limited(kept)
    names = [(row.data, row.name) for row in kept]
    if twice := sorted({shown for at, shown in names if names.count((at, shown)) > 1}):
        raise OptionError(
            f"{name}: several rows are called {twice[0]!r}, with different options", hint="Give each a name = TEXT."
        )
    text = to_toml(content)
    about = str(content.get("about", ""))
    try:
        in_order = tuple(ordered(kept))
    except OptionError as error:
        raise OptionError(f"{name}: {error.message}", hint=error.hint) from error
    return Study(name, about, tuple(plans), in_order, (board or [BoardRequest()])[0], repeated, limited, text)


def _without_effect(defaults: Values) -> OptionError:
    """Return the error for [defaults], or what is typed for it, where no row takes it; it says how rows are reached."""
    fault = f"every row names its model, so {' and '.join(defaults)} of [defaults] would have no effect"
    typed = {"model": "--model", "engine": "--engine", "options": "-O", "limit": "--limit"}
    words = " and ".join(typed.get(key, key) for key in defaults)
    if "limit" in defaults:
        return OptionError(
            f"no row asks a language model, so {' and '.join(defaults)} of [defaults] would have no effect",
            hint=f"Leave {words} out.",
        )
    if "model" in defaults:
        return OptionError(fault, hint=f"Leave {words} out, or take the model of a row away.")
    ways = [f"--set rows.{key}={value}" for key, value in defaults.items() if not isinstance(value, Mapping)]
    ways += [f"--set rows.options.{key}={value}" for key, value in dict(defaults.get("options", {})).items()]
    hint = f"For all rows write {' '.join(ways)}, for one --set rows.NAME.KEY=VALUE; or leave {words} out."
    return OptionError(fault, hint=hint)


def _collected(faults: list[BenchError], where: str, tables: Sequence[Values], made: Any) -> list[Any]:
    """Return what is made of each table; errors are kept, and say in which it was."""
    found: list[Any] = []
    for number, table in enumerate(tables, 1):
        label = f"{where} {table.get('name', number)}" if len(tables) > 1 or "name" in table else where
        try:
            found += made(table)
        except BenchError as error:
            faults.append(OptionError(f"{label}: {error.message}", hint=error.hint))
    return found


def _known(table: Values, known: set[str], command: str) -> None:
    for key in table:
        if key not in known:
            raise unknown_name("key", key, sorted(known), listing=f"`llmrs-bench {command} --help`")


def _data_plan(table: Values) -> DataPlan:
    _known(table, _DATA | PrepareConfig.model_fields.keys(), "prepare")
    if not table.get("dataset"):
        raise OptionError("no data set is named", hint="Add dataset = NAME, or type --dataset NAME.")
    protocol = str(table.get("protocol", "default"))
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, list(PROTOCOLS))
    asked = Reference.parse(str(table["dataset"]))
    if "name" in table and asked.variant is not None and asked.variant != table["name"]:
        raise OptionError(
            f"{asked.text} names a variant, but the recipe names its own, {table['name']}",
            hint=f"Write --dataset {asked.dataset}.",
        )
    mapping = read_mapping(Path(table["mapping"])) if "mapping" in table else None
    places = {"path": table.get("source"), "items": table.get("items"), "format_name": table.get("format")}
    own = {
        key: value if key == "format_name" else expanded(value) for key, value in places.items() if value is not None
    }
    origin = Origin(**{**(mapping.places() if mapping else {}), **own})
    options = {key: value for key, value in table.items() if key in PrepareConfig.model_fields and key not in _DATA}
    for key in {"columns", "item_columns"} & options.keys():
        if not isinstance(options[key], Mapping):
            raise OptionError(
                f"{key} is not a table",
                hint=f'Write {key} = {{ user = "NAME", item = "NAME" }}.'
                if key == "columns"
                else f'Write {key} = {{ item = "NAME", title = "NAME" }}.',
            )
        options[key] = _words(options[key])
    given = {
        **(mapping.policies if mapping else {}),
        **PROTOCOLS[protocol],
        **options,
        "dataset": asked.dataset,
    }
    config = PrepareConfig.parse_table(given)
    said = table.keys() - {"dataset", "name"}
    reference = f"{asked.dataset}@{table['name']}" if "name" in table else asked.text
    return DataPlan(str(table.get("name", asked.text)), reference, config if said or "name" in table else None, origin)


def _without_titles(plan: DataPlan, rows: Sequence[RowPlan]) -> DataPlan:
    """Return how a data set is prepared: items may lack titles where no row reads any."""
    asked = (row for row in rows if plan.name in (row.data, *row.sources) and row.fused is None)
    read = any(reads_titles(row.stem) for row in asked)
    if plan.config is None or read or "allow_untitled" in plan.config.model_fields_set:
        return plan
    return replace(plan, config=plan.config.model_copy(update={"allow_untitled": True}))


def _whole(table: Values, defaults: Values) -> dict[str, Any]:
    """Return a table of rows with what it takes from the defaults, its model among it."""
    _known(table, _ROW | _ASKED, "infer")
    _known(defaults, _ASKED, "infer")
    for said, key in product((table, defaults), ("options", "template_options", "tune")):
        if not isinstance(said.get(key, {}), Mapping):
            raise OptionError(f"{key} is not a table", hint=f"Write {key} = {{ key = value }}, or {{}}.")
    whole = {**defaults, **table} if "model" not in table else dict(table)
    if "limit" in defaults:
        whole.setdefault("limit", defaults["limit"])  # of all language models
    if "options" in defaults and "model" not in table:
        whole["options"] = {**defaults["options"], **table.get("options", {})}
    _check_models(whole)
    return whole


def _check_models(whole: Values) -> None:
    """Refuse a row whose model is not named, or none that a recipe can run."""
    if "model" not in whole:
        raise OptionError("no model is named", hint="Add model = NAME to the row or to [defaults], or --model NAME.")
    for model in _listed(whole["model"]):
        if not isinstance(model, str) or is_outside(model):
            raise OptionError(
                f"model={model} is not a model that a recipe can run",
                hint="Name one as `infer` takes it. A fusion is a row with fuse = [ROW, ROW] in place of a model; "
                "`import` reads rankings from elsewhere.",
            )


def _rows(table: Values, defaults: Values, data: Sequence[str], servers: tuple[str, ...]) -> Iterator[RowPlan]:
    """Yield the rows of a table: one for each combination of what it lists, of each seed, on each of its data sets."""
    if "fuse" in table:
        yield from _fusions(table, data)
        return
    if "judge" in table:
        yield from _judges(table, defaults, data, servers)
        return
    whole = _whole(table, defaults)
    places, tuned = _places(whole, data), "tune" in whole
    if (seeds := whole.get("seeds")) is not None:
        first = whole.get("seed", 0)
        if not isinstance(seeds, int) or not isinstance(first, int) or not 1 <= seeds <= 1000:
            raise OptionError(f"seeds={seeds} is not a number from 1 to 1000", hint="Write seeds = 3.")
        whole["seed"] = list(range(first, first + seeds))
    shape = {key: value for key, value in whole.items() if key in _ASKED or key == "tune"}
    for place, (shared, factors) in product(places or [""], list(_grid(shape))):
        chosen = dict(shared)  # of this data set alone
        if "limit" not in table and not is_asked(chosen["model"]):
            chosen.pop("limit", None)
        label = str(whole.get("name") or " ".join([str(chosen["model"]), *_template(chosen)]))
        varied = [f"{key}={value}" for key, value in factors.items() if key not in ("model", "template")]
        named = [factors[key] for key in ("model", "template") if key in factors] if "name" in whole else []
        tune = dict(chosen.pop("tune", {}))
        if tuned and "seed" in chosen:
            tune["seed"] = chosen.pop("seed")
        tuned_on = tune.pop("on", None)
        if tuned_on is not None and tuned_on not in data:
            raise unknown_name("data set of the recipe", str(tuned_on), list(data))
        values = {key: _words(value) if isinstance(value, Mapping) else value for key, value in chosen.items()}
        if (examples_of := values.get("template_options", {}).get("shots_from")) == place:
            raise OptionError(
                f"shots_from={place} is the data set that is asked about",
                hint="Examples of other users of the same data set are similar; or write a row with data = OTHER.",
            )
        answering = _answering(values, servers)
        row = RowPlan(
            " ".join(map(str, [label, *named, *varied])),
            place,
            values,
            _tune_config(values, tune) if tuned else None,
            str(whole.get("printed", "")),
            () if tuned else answering,
            tuned_on=tuned_on,
            examples_of=examples_of if examples_of in data else None,
        )
        _ = row.config  # checked before anything is asked
        yield row


def _answering(values: dict[str, Any], servers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the servers that may answer a row, and put the first of them among its options."""
    if values.get("engine") != "openai":
        return ()
    options = values.get("options", {})
    if servers and "base_url" not in options:  # answers are kept as those of the first, whichever gives them
        values["options"] = {**options, "base_url": servers[0]}
    return (options["base_url"],) if "base_url" in options else servers or ("",)


def _judges(table: Values, defaults: Values, data: Sequence[str], servers: tuple[str, ...]) -> Iterator[RowPlan]:
    """Yield the judges of a table: one for each combination of what it lists, on each of its data sets."""
    _known(table, _JUDGED | {"name", "data"}, "judge")
    reaching = ("limit",) if "model" in table else _SERVED
    taken = {key: defaults[key] for key in reaching if key in defaults}
    judged = table["judge"]
    several = isinstance(judged, list) and any(isinstance(each, list) for each in judged)
    shape = {**taken, **{key: value for key, value in table.items() if key in _JUDGED}}
    _check_models(shape)
    for chosen, factors in _grid({**shape, "judge": judged if several else [judged]}):
        names = _listed(chosen.pop("judge"))
        if not names or not all(isinstance(name, str) for name in names):
            raise OptionError(
                "judge names no rows", hint='Write judge = ["ROW", "ROW"], or ["*"] for all explanations.'
            )
        values = {key: _words(value) if isinstance(value, Mapping) else value for key, value in chosen.items()}
        answering = _answering(values, servers)
        config = JudgeConfig.parse_table({**values, "runs": tuple(names)})
        named = {key: value for key, value in factors.items() if key != "judge"}
        label = [str(table.get("name", f"judge {config.model}"))]
        label += [f"{key}={value}" for key, value in named.items() if key != "model"]
        label += [str(named["model"])] if "model" in named and "name" in table else []
        label += ["of " + "+".join(names)] if "judge" in factors else []
        for place in _places(table, data) or [""]:
            yield RowPlan(" ".join(label), place, values, servers=answering, judging=config)


def _judging(faults: list[BenchError], rows: Sequence[RowPlan]) -> list[RowPlan]:
    """Return rows in which judges name the rows that their patterns fit; what fits none is a fault."""
    found: list[RowPlan] = []
    for row in rows:
        if row.judging is None:
            found.append(row)
            continue
        there = [other.name for other in rows if other.data == row.data and other is not row]
        texts = [
            other.name
            for other in rows
            if other.data == row.data and "explained_run" in other.values.get("template_options", {})
        ]
        chosen: list[str] = []
        for name in row.judging.runs:
            fits = [each for each in texts if each == name or fnmatchcase(each, name)]
            if not fits and name in there:
                faults.append(
                    OptionError(
                        f"[[rows]] {row.name}: {name} writes no explanations",
                        hint='Name rows with template = "explanation".',
                    )
                )
            elif not fits:
                fault = unknown_name("row with explanations", name, texts)
                faults.append(OptionError(f"[[rows]] {row.name}: {fault.message}", hint=fault.hint))
            chosen += fits
        config = row.judging.model_copy(update={"runs": tuple(dict.fromkeys(chosen))})
        found.append(replace(row, judging=config))
    return found


def _places(table: Values, data: Sequence[str]) -> list[str]:
    """Return the names of the data sets of some rows: all, unless they say which."""
    places = [str(name) for name in _listed(table.get("data", list(data)))]
    if not places and "data" in table:
        raise OptionError("data names no data set", hint="Leave it out for all of them.")
    for name in places:
        if data and name not in data:
            raise unknown_name("data set of the recipe", name, list(data))
    return places


def _fusions(table: Values, data: Sequence[str]) -> Iterator[RowPlan]:
    """Yield the fusions of a table: one for each combination of what it lists, on each of its data sets."""
    if "model" in table:
        raise OptionError("model and fuse exclude each other", hint="A fusion is made of other rows: leave model out.")
    _known(table, _FUSED | {"name", "data"}, "fuse")
    fused = table["fuse"]
    several = isinstance(fused, list) and any(isinstance(each, list) for each in fused)
    shape = {**{key: value for key, value in table.items() if key in _FUSED}, "fuse": fused if several else [fused]}
    for chosen, factors in _grid(shape):
        members = _listed(chosen.pop("fuse"))
        if not members or not all(isinstance(member, str) for member in members):
            raise OptionError("fuse names no rows", hint='Write fuse = ["ROW", "ROW"], with names of rows.')
        options = FusionOptions.parse_table({**chosen, "runs": tuple(members)})
        check_number(options, set(members))
        learned_on = options.learn_on if options.learn_on in data else None
        named = {key: value for key, value in factors.items() if key != "fuse"}
        label = [str(table.get("name", options.stem)), *(f"{key}={value}" for key, value in named.items())]
        if "fuse" in factors:
            label.append("of " + "+".join(members))
        for place in _places(table, [name for name in data if name != learned_on or "data" in table]) or [""]:
            if place == learned_on:
                raise OptionError(f"learn_on={place} is the data set that the row ranks", hint="Name another data set.")
            yield RowPlan(" ".join(label), place, chosen, fused=options, learned_on=learned_on)


def _template(chosen: Values) -> list[str]:
    return [Path(str(chosen["template"])).stem] if "template" in chosen else []


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _tune_config(values: Values, tune: Values) -> "TuneConfig":
    if "template" not in values and "template" not in tune:
        raise OptionError(
            "a row with tune names no template, so there are no prompts and answers to learn",
            hint="Add template = NAME: listwise, likelihood, label or yes-no.",
        )
    from llmrs_bench.stages.tune import TuneConfig  # brings PyTorch, which other rows may do without

    shared = ("model", "template", "template_options", "history", "device")
    taken = {key: values[key] for key in shared if key in values}
    options = {key: _words(value) if isinstance(value, Mapping) else value for key, value in tune.items()}
    return TuneConfig.parse({**taken, **options}, owner="tune")


def _grid(values: Values) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each combination of what is listed, at any depth, and what was chosen, by the last part of its key."""
    choices: list[list[tuple[str, Any, dict[str, Any]]]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            choices.append([(key, inner, factors) for inner, factors in _grid(value)])
        elif isinstance(value, list):
            if not value:
                raise OptionError(f"{key} is an empty list", hint="Name a value, or leave it out.")
            choices.append([(key, each, {key: each} if len(value) > 1 else {}) for each in value])
        else:
            choices.append([(key, value, {})])
    for combination in product(*choices):
        found: dict[str, Any] = {}
        for _, _, factors in combination:
            found |= factors
        yield {key: value for key, value, _ in combination}, found


def _words(values: Values) -> dict[str, str]:
    """Return values as if they were typed KEY=VALUE."""
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()}


def _board(table: Values) -> BoardRequest:
    own = BoardRequest.model_fields.keys() - {"config"}
    _known(table, own | CompareConfig.model_fields.keys(), "compare")
    asked = {key: value for key, value in table.items() if key not in own}
    if isinstance(names := asked.get("metrics"), str):
        asked["metrics"] = names.split(",")
    config = CompareConfig.parse_table(asked)
    return BoardRequest.parse_table({**{key: table[key] for key in own & table.keys()}, "config": config})


def _cross_faults(
    plans: Sequence[DataPlan], rows: Sequence[RowPlan], boards: Sequence[Values], servers: tuple[str, ...]
) -> list[BenchError]:
    """Return what is wrong with a recipe whose parts are right each by itself."""
    found: list[BenchError] = []
    if servers and not any(row.servers == servers for row in rows):
        found.append(
            OptionError(
                "servers of [run] would have no effect: no row asks a server, or all rows name their own",
                hint='Rows that they answer have engine = "openai", and no base_url among their options.',
            )
        )
    names = [plan.name for plan in plans]
    if not plans:
        found.append(OptionError("there is no [data]", hint="Add [data] with dataset = NAME."))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        found.append(OptionError(f"two [[data]] are called {twice[0]}", hint="Give each its own name."))
    if not rows:
        found.append(OptionError("there are no [[rows]]", hint="Add [[rows]] with model = NAME."))
    if len(boards) > 1:
        found.append(
            OptionError(
                "there are two [board]", hint="Write one: its options apply to the leaderboard of each data set."
            )
        )
    found += same_domains(plans, rows, transfer=any(table.get("transfer") for table in boards))
    known = {(row.data, row.name) for row in rows}
    tasks = {plan.name: plan.config.task for plan in plans if plan.config is not None}
    for row in rows:
        for needed in row.needs:
            if needed not in known:
                there = [other.name for other in rows if other.data == needed[0] and other is not row]
                fault = unknown_name(f"row on {needed[0]}" if len(plans) > 1 else "row", needed[1], there)
                found.append(OptionError(f"[[rows]] {row.name}: {fault.message}", hint=fault.hint))
        if row.fused is not None and tasks.get(row.data) in LABELLED:
            found.append(
                OptionError(
                    f"[[rows]] {row.name}: a fusion combines rankings, but {row.data} has one item per request",
                    hint="Leave it out.",
                )
            )
    return found
