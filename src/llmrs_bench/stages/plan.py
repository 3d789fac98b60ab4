"""Plans: a template with all that was chosen for it, told apart into views, parts and options of the answer form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from llmrs_bench.config import PromptConfig, ViewOptions
from llmrs_bench.errors import OptionError
from llmrs_bench.prompts.protocol import Template
from llmrs_bench.prompts.sheets import Source, read_source
from llmrs_bench.prompts.wording import PART_NAMES, PartName
from llmrs_bench.registry import FORMS

NOTE = "note"  # the form of templates that rank nothing


@dataclass(frozen=True)
class Plan:
    """What is asked, and what of a request is told.

    Args:
        template: Writes prompts and reads answers.
        views: What of a request is told.
        source: The file it comes from.
        parts: Parts put in place of the template's own.
        form: The options of the answer form.
    """

    template: Template
    views: ViewOptions
    source: Source
    parts: Mapping[PartName, str]
    form: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What to call it: the name of its file, without the ending."""
        return self.source.name

    @property
    def config(self) -> dict[str, Any]:
        """All that was chosen, as plain values."""
        return {"form": dict(self.form), "parts": dict(self.parts), "views": self.views.model_dump(mode="json")}

    @property
    def rated(self) -> bool:
        """Whether it tells ratings."""
        return self.template.wording.uses("rating", "likes", "dislikes")


def open_plan(config: PromptConfig) -> Plan:
    """Return the plan that a configuration means.

    Raises:
        OptionError: If there is no such template, part or option, or one of them is read by nothing.
    """
    source = read_source(config.template)
    views = ViewOptions.parse(_pick(config.options, ViewOptions.model_fields), owner=f"template {source.name}")
    parts = cast("dict[PartName, str]", _pick(config.options, PART_NAMES))
    if views.shots and "examples" not in {**source.sheet.parts, **parts}:
        parts["examples"] = "next"
    kind: Any = FORMS.load(source.sheet.form)
    known = {*ViewOptions.model_fields, *PART_NAMES}
    rest = {key: value for key, value in config.options.items() if key not in known}
    unknown = sorted(rest.keys() - kind.Options.model_fields.keys())
    if unknown:
        raise OptionError(
            f"template {source.name} has no option {unknown[0]!r}",
            hint=f"Its options: {', '.join([*kind.Options.model_fields, *ViewOptions.model_fields])}; "
            f"its parts: {', '.join(PART_NAMES)}. See `llmrs-bench list parts`.",
        )
    options = kind.Options.parse({**source.sheet.options, **rest}, owner=f"template {source.name}")
    template: Template = kind(options, source.wording(parts))
    if views.several and source.sheet.form == NOTE:
        raise OptionError(
            f"orders, samples and slots mean nothing to template {source.name}: nothing is ranked",
            hint="Leave them out.",
        )
    _check_read(template, views, source.name)
    return Plan(template, views, source, parts, options.model_dump(mode="json"))


def open_template(config: PromptConfig) -> Template:
    """Return the template of a plan.

    Raises:
        OptionError: As `open_plan` does.
    """
    return open_plan(config).template


def _pick(options: Mapping[str, str], names: Any) -> dict[str, str]:
    return {name: options[name] for name in names if name in options}


def _check_read(template: Template, views: ViewOptions, name: str) -> None:
    """Refuse what would be gathered and not told, and what would be told and is not there."""
    if views.notes_run is not None and not template.wording.uses("note"):
        raise OptionError(
            f"notes_run=RUN means nothing to template {name} as it is: no part of it tells notes",
            hint="Add a part that does, for instance -T interest=recent-noted.",
        )
    if views.notes_run is None and template.wording.uses("note"):
        raise OptionError(
            f"a part of template {name} tells notes about items, and there are none",
            hint="Add --with notes=RUN, a run of the template notes.",
        )
    needs = {
        "relevant": (bool(views.relevant), "relevant=N", "-T interest=recent-relevant"),
        "interest": (views.interest_run is not None, "interest_run=RUN", "-T interest=recent-written"),
        "examples": (bool(views.shots), "shots=K", "-T examples=next"),
    }
    for used, (given, option, part) in needs.items():
        told = used in _names(template)
        if given and not told and not (used == "interest" and views.query == "interest"):
            raise OptionError(
                f"{option} means nothing to template {name} as it is: no part of it tells that",
                hint=f"Add a part that does, for instance {part}.",
            )
        if told and not given:
            raise OptionError(
                f"a part of template {name} tells what {option} would gather",
                hint=f"Add -T {option}, or choose another part.",
            )
    if views.samples > 1 and template.mode != "generate":
        raise OptionError(
            f"samples={views.samples} means nothing to template {name}: likelihoods are the same every time",
            hint="Leave it out, or choose a template that writes, such as listwise.",
        )
    if views.past == "other" and template.wording.uses("rating", "likes", "dislikes"):
        raise OptionError(
            f"past=other tells items that the user never rated, and a part of template {name} tells ratings",
            hint="Use -T interest=recent.",
        )
    if views.past != "own" and (views.interest_run or views.notes_run or views.shots or views.relevant):
        raise OptionError(
            f"past={views.past} takes the user's history away, and other options tell of it",
            hint="Leave out relevant, shots, interest_run and notes_run.",
        )


def _names(template: Template) -> set[str]:
    return {name for part in template.wording.parts.values() for name in part.variables}
