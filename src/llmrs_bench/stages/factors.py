"""What a run was made with: the words that set it apart on a board, and the numbers that curves are drawn over."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from llmrs_bench.core.artifacts import Artifact
from llmrs_bench.leaderboard.board import Factors
from llmrs_bench.stages.workspace import Data, limit_of

# What says from how much of the data a model learned; without any of it a model learned from everything.
_PARTS = ("train_fraction", "train_samples", "max_users", "event_fraction")
LEARNERS = ("recommender", "click model")
FUSED = "fusion"  # the kind of runs that are made of others


def setting_words(data: Data, run: Artifact) -> dict[str, str]:
    """Return by name what sets a run apart from other runs of its model, in the order and the words of a board."""
    config, facts = run.manifest.config, run.facts
    words: dict[str, str] = {}
    if facts["kind"] == "language model":
        words["template"] = str(config["template"])
        if (weighed := facts["normalize"]) != "sum":
            words["normalize"] = f"per {weighed}" if weighed in ("token", "byte") else str(weighed)
        if facts["history"] != data.default_history:
            words["history"] = f"history {facts['history']}"
    if (limit := limit_of(run)) is not None:
        words["limit"] = f"first {limit:,} requests"
    words |= {key: f"{key}={value}" for key, value in facts.get("typed", {}).items()}
    if facts["kind"] == FUSED and (learned := facts.get("learned_on")):
        words["learn_on"] = f"learn_on={learned[0]}"
    return words


def asked_share(run: Artifact) -> list[str]:
    """Say for how many requests a cascade asked its second run, where its budget would be another number of them."""
    facts, budget = run.facts, run.manifest.config.get("budget")
    if facts["kind"] != FUSED or budget is None or facts["asked"] == round(budget * facts["requests"]):
        return []
    share = f"{100 * facts['asked'] / facts['requests']:.3g} %"
    return [f"the second run was asked for {facts['asked']:,} of {facts['requests']:,} requests ({share})"]


def factors_of(data: Data, run: Artifact, model: str) -> Factors:
    """Return what decides on which curves a run stands, and where on them.

    Numbers of a language model: `history`, the options of its template and engine, and of a tuned one `samples` and
    the options of its tuning; where a template has an option `samples` as well, that is `template_samples`. Of a
    trained model: its options, and from how much it learned, as a share (`train_fraction`), in samples (`samples`), in
    events (`train_events`) or in users (`max_users`). Defaults are among them, as far as the run says them.

    Args:
        data: The prepared data set.
        run: The run.
        model: The name of its row.
    """
    facts, words = run.facts, setting_words(data, run)
    typed: dict[str, Any] = dict(facts.get("typed", {}))
    seeds = [str(value) for value in (facts.get("seed"), typed.pop("tune_seed", 0)) if value]
    words.pop("tune_seed", None)
    engine = str(facts.get("engine") or "")
    if facts["kind"] == "language model":
        tuned = facts.get("tuned") or {}
        asked = {**(facts.get("template_options") or {}), **typed}
        if "samples" in asked:
            asked["template_samples"] = asked.pop("samples")
            words |= {"template_samples": words.pop("samples")} if "samples" in words else {}
        known = {"history": facts["history"], **asked, **tuned.get("options", {})}
        known |= {"samples": tuned["samples"]} if tuned else {}
        idle = frozenset(tuned.get("options", {})) if known.get("samples") == 0 else frozenset[str]()
        words = {key: said for key, said in words.items() if key not in idle}
        numbers = _numbers({key: value for key, value in known.items() if key not in idle})
        family = tuned.get("name", model)
        tuning = frozenset({*tuned.get("options", {}), "tuned_on", "tuned_for"})
        seed = "" if idle else ", ".join(seeds)
        return Factors(family, words, numbers, seed=seed, engine=engine, idle=idle, tuning=tuning)
    known = {**(run.manifest.config.get("options") or {}), **typed}
    if "event_fraction" in typed and "train_fraction" not in typed:  # the former word for a share of each user's events
        known |= {"train_fraction": known.pop("event_fraction")}
        words.pop("event_fraction")
        words |= {"train_fraction": f"train_fraction={known['train_fraction']}", "train_by": "train_by=each-user"}
    if "train_samples" in typed:
        known["samples"] = known.pop("train_samples")
    part = facts.get("train_part") or {}
    known |= {"train_events": part["events"]} if part else {}
    whole = facts["kind"] in LEARNERS and not set(_PARTS) & typed.keys()
    known |= {"train_fraction": 1.0} if whole else {}
    return Factors(model, words, _numbers(known), whole=whole, seed=", ".join(seeds))


def _numbers(known: Mapping[str, Any]) -> dict[str, float]:
    """Return what is a number, or a text of one; a truth value is none."""
    found: dict[str, float] = {}
    for name, value in known.items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            number = float(value)
        except ValueError:
            continue
        if isfinite(number):
            found[name] = number
    return found
