"""What a stage says to people when it is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrs_bench.report.choices import choice_words

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as a model reads it.

    Args:
        text: Its tokens in writing, special ones included: role markers, and where the answer begins.
        tokens: How many there are.
        choices: The tokens of each choice, which follow them.
        answer_side: Whether choices begin a text of their own, that of a decoder.
    """

    text: str
    tokens: int
    choices: tuple[str, ...] = ()
    answer_side: bool = False


def data_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what `prepare` found, kept and sampled."""
    counts, kept = facts["counts"], facts["kept"]
    lines = [
        f"source: {counts['users']:,} users, {counts['interactions']:,} interactions, "
        f"{counts['items']:,} items with events ({counts['listed_items']:,} listed)",
    ]
    if {name: counts[name] for name in kept} != kept:
        lines.append(f"kept: {kept['users']:,} users, {kept['items']:,} items, {kept['interactions']:,} interactions")
    for part in ("filtering", "split", "sampling", "source"):
        noted = [f"{name.replace('_', ' ')} {count:,}" for name, count in facts[part].items() if count]
        if noted:
            lines.append(f"{part}: {', '.join(noted)}")
    return [*lines, f"requests: {facts['requests']:,}", *(f"rule: {rule}" for rule in facts["rules"])]


def number(value: float) -> str:
    """Return a number in three digits, or whole with its thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rendered_lines(names: Sequence[str], shown: Sequence[RenderedPrompt]) -> list[str]:
    """Show prompts as a model reads them, and the choices that it may go on with."""
    lines = []
    for name, prompt in zip(names, shown, strict=True):
        lines += [f"--- {name} ({prompt.tokens:,} tokens)", prompt.text]
        if prompt.choices:
            lines.append(f"--- choices, {'a text of their own' if prompt.answer_side else 'right behind it'}")
            lines.extend(f"{choice!r}" for choice in prompt.choices)
    return lines


def prompt_lines(prompts: "pl.DataFrame") -> list[str]:
    """Show prompts as they will be asked."""
    lines = []
    for row in prompts.iter_rows(named=True):
        size = sum(len(message["content"]) for message in row["messages"])
        lines.append(f"--- {row['prompt_id']} ({size:,} characters)")
        lines.extend(f"[{message['role']}] {message['content']}" for message in row["messages"])
        lines.extend(f"  choice:{choice}" for choice in row["choices"] or [])
    return lines


def prior_line(facts: Mapping[str, Any]) -> str:
    """Say what it cost to ask for titles without a history."""
    return (
        f"titles without a history, no part of the run's cost: {facts['prior_prompts']:,} prompts, "
        f"{facts['prior_tokens']:,} tokens, {facts['prior_seconds']:.1f} s"
    )


def run_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what a run cost, and what was odd about it."""
    if facts["kind"] != "language model":
        training = {key: value for key, value in facts["training"].items() if not isinstance(value, list | dict)}
        if facts["fit_on"]:
            training = {"fitted_on": facts["fit_on"], **training}
        noted = ", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in training.items())
        return [f"{facts['requests']:,} requests in {facts['seconds']:.1f} s" + (f"; {noted}" if noted else "")]
    lines = [
        f"{facts['prompts']:,} prompts, {facts['prompt_tokens']:,} prompt tokens ({facts['cached_tokens']:,} cached), "
        f"{facts['completion_tokens']:,} written, {facts['seconds']:.1f} s, engine {facts['engine']}"
    ]
    if facts["requests_per_second"] is not None:
        lines.append(f"{number(facts['requests_per_second'])} requests/s" + _spent(facts))
    lines.extend(f"{name.replace('_', ' ')} {value:.3f}" for name, value in facts["notes"].items())
    if facts["kinds"].keys() - {"complete"}:
        total = sum(facts["kinds"].values())
        shares = ", ".join(f"{kind} {100 * count / total:.1f} %" for kind, count in facts["kinds"].items())
        lines.append(f"answers: {shares}")
    lines.extend(f"answers: {words}" for words in choice_words(facts.get("first_choices")))
    if facts["clipped_prompts"]:
        lines.append(
            f"history clipped to the context in {facts['clipped_prompts']:,} prompts ({facts['clipped_items']:,} items)"
        )
    if facts["bare_prompts"]:
        lines.append(f"attributes of items left out for the context in {facts['bare_prompts']:,} prompts")
    if facts["cut_answers"]:
        lines.append(f"{facts['cut_answers']:,} answers ran into the token budget (-O answer_tokens=N)")
    if facts["filtered"]:
        lines.append(f"{facts['filtered']:,} prompts or answers were stopped by the server's content filter")
    if facts["unanswered"]:
        lines.append(
            f"{facts['unanswered']:,} prompts got no answer from the server (-O unanswered), and count as empty"
        )
    return lines


def _spent(facts: Mapping[str, Any]) -> str:
    """Say what else was measured of the machine and the price."""
    known = {
        "thinking_tokens": "{:,} tokens of thought",
        "peak_device_gb": "{:.1f} GB of device memory",
        "joules": "{:,.0f} J",
        "price_usd": "{:.4f} USD",
    }
    return "".join(f", {words.format(facts[name])}" for name, words in known.items() if facts[name])


def audit_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say how much answers change when nothing but the machine's state does."""
    lines = []
    for name, noise in facts["noise"].items():
        jitter = "" if noise["largest"] is None else f"largest {noise['largest']:.2g} nat, mean {noise['mean']:.2g}, "
        lines.append(
            f"audit of {facts['requests']:,} requests, {name}: {jitter}"
            f"first choice changed in {100 * noise['top_changed']:.1f} %"
        )
    return lines
