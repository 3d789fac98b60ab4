"""The lines that a stage prints about what it made: answers, cost, and what they have in common beyond chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, fsum, lgamma, log
from typing import TYPE_CHECKING, Any

from llmrs_bench.core.formatting import counted, number, seconds_words

_DOUBT, _EXCESS = 0.001, 0.1
_FEW = 20  # requests whose answers say how fast a model is
_SAME_ITEMS = 0.5  # of the titles of the smaller of two data sets: they are hardly of two domains


def choice_words(facts: Mapping[str, Any] | None) -> list[str]:
    """Say how many answers repeat the order shown, and which first place is too frequent; nothing where none is.

    Args:
        facts: What `FirstChoices` counted; None where there is nothing.
    """
    if not facts:
        return []
    shown, words = int(facts["shown"]), []
    if is_beyond_chance(facts["repeats"], facts["orders"], chance=1 / shown**2, cases=1):
        words.append(f"{_percent(facts['repeats'], facts['orders'])} repeat the order shown")
    if is_beyond_chance(facts["first_count"], facts["answers"], chance=1 / shown, cases=shown):
        words.append(f"{facts['first']} is put first in {_percent(facts['first_count'], facts['answers'])}")
    return words


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.3g} %"


def is_beyond_chance(count: int, total: int, *, chance: float, cases: int) -> bool:
    """Return whether a share is far above what chance allows.

    It is where a binomial distribution reaches `count` with a probability below 0.001 / `cases`, and the share is above
    chance by a tenth of what it could be above it: of many answers a small excess is certain, and yet no matter.

    Args:
        count: How often it happened.
        total: How often it could have.
        chance: The probability of each, between 0 and 1.
        cases: How many such counts this is the largest of.
    """
    if not total or count / total < chance + _EXCESS * (1 - chance):
        return False
    return _tail(count, total, chance) < _DOUBT / cases


def _tail(count: int, total: int, chance: float) -> float:
    """Return the probability of `count` or more of `total`."""

    def term(number: int) -> float:
        ways = lgamma(total + 1) - lgamma(number + 1) - lgamma(total - number + 1)
        return exp(ways + number * log(chance) + (total - number) * log(1 - chance))

    return sum(map(term, range(count, total + 1)))


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
        f"source: {counted(counts['users'], 'user')}, {counted(counts['interactions'], 'interaction')}, "
        f"{counts['items']:,} items with events ({counts['listed_items']:,} listed)",
    ]
    if {name: counts[name] for name in kept} != kept:
        left = counted(kept["interactions"], "interaction")
        lines.append(f"kept: {counted(kept['users'], 'user')}, {counted(kept['items'], 'item')}, {left}")
    for part in ("filtering", "split", "sampling", "source"):
        noted = [f"{name.replace('_', ' ')} {count:,}" for name, count in facts[part].items() if count]
        if noted:
            lines.append(f"{part}: {', '.join(noted)}")
    return [*lines, f"requests: {facts['requests']:,}", *(f"rule: {rule}" for rule in facts["rules"])]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rendered_lines(names: Sequence[str], shown: Sequence[RenderedPrompt]) -> list[str]:
    """Show prompts as a model reads them, and the choices that it may go on with."""
    lines = []
    for name, prompt in zip(names, shown, strict=True):
        lines += [f"--- {name} ({counted(prompt.tokens, 'token')})", prompt.text]
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


def example_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say of prompts or of a run whose choices the examples are, where these are of another data set."""
    if (domain := facts.get("examples_of")) is None:
        return []
    titles, users = f"{domain['same_titles']:,} of its {domain['items']:,} titles", domain["same_users"]
    return [
        f"examples of {domain['dataset']} ({domain['item_word']}): choices in its training part; {titles} are in both "
        f"data sets, and candidates are left out; {users:,} of {domain['tested_users']:,} test users have the id of a "
        f"user there{', who is left out for them' if users else ''}"
    ]


def shared_words(facts: Mapping[str, Any]) -> list[str]:
    """Warn where examples of another data set are of much the same items as those that are asked about.

    These are at least half of the items of the smaller data set, by their titles.
    """
    if (domain := facts.get("examples_of")) is None:
        return []
    fewest = min(domain["items"], domain.get("target_items", domain["items"]))
    share = min(domain["same_titles"] / fewest, 1.0)
    if share < _SAME_ITEMS:
        return []
    whose = domain["dataset"] if fewest == domain["items"] else domain["target"]
    users = f"{domain['same_users']:,} of {domain['tested_users']:,} test users have the id of a user there"
    return [
        f"examples are of {domain['dataset']}, and {100 * share:.0f} % of the {fewest:,} titles of {whose} are in both "
        f"data sets ({users}): this is hardly another domain, and if both are made of the same file the examples may "
        "show events that are tested; use a data set of other items, or -T shots_from=similar for examples of the same "
        "one"
    ]


def prior_line(facts: Mapping[str, Any]) -> str:
    """Say what it cost to ask for titles without a history."""
    return (
        f"titles without a history, no part of the run's cost: {counted(facts['prior_prompts'], 'prompt')}, "
        f"{_counted(facts['prior_tokens'])} tokens, {seconds_words(facts['prior_seconds'])}"
    )


def run_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what a run cost, and what was odd about it."""
    if facts["kind"] != "language model":
        again = facts.get("retrained", [])
        training = {} if again else facts["training"]
        training = {key: value for key, value in training.items() if not isinstance(value, list | dict)}
        if facts["fit_on"]:
            training = {"fitted_on": facts["fit_on"], **training}
        noted = ", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in training.items())
        future, requests = facts.get("timeline"), counted(facts["requests"], "request")
        return [
            f"{requests} in {seconds_words(facts['seconds'])}" + (f"; {noted}" if noted else ""),
            *_part_lines(facts.get("typed", {}), facts.get("train_part")),
            *(
                f"window {each['window']}: {counted(each['requests'], 'request')}, fitted on "
                f"{counted(each['events'], 'event')} of {counted(each['users'], 'user')}{_unseen(each, '; ')}"
                for each in again
            ),
            *([future["words"]] if future else []),
        ]
    asked = counted(facts["prompts"], "prompt")
    lines = [f"{asked}, {_tokens(facts)}, {seconds_words(facts['seconds'])}, engine {facts['engine']}"]
    if facts.get("titles"):
        lines.append(facts["titles"])
    lines += example_lines(facts)
    if facts["requests_per_second"] is not None:
        lines.append(f"{number(facts['requests_per_second'])} requests/s while the engine answered" + _spent(facts))
    lines.extend(f"{name.replace('_', ' ')} {value:.3f}" for name, value in facts["notes"].items())
    if facts["kinds"].keys() - {"complete"}:
        total = sum(facts["kinds"].values())
        shares = ", ".join(f"{kind} {100 * count / total:.1f} %" for kind, count in facts["kinds"].items())
        lines.append(f"answers: {shares}")
    lines.extend(f"answers: {words}" for words in choice_words(facts.get("first_choices")))
    if facts["truncated_prompts"]:
        prompts, items = counted(facts["truncated_prompts"], "prompt"), counted(facts["truncated_items"], "item")
        lines.append(f"history clipped to the context in {prompts} ({items})")
    if facts["prompts_without_attributes"]:
        prompts = counted(facts["prompts_without_attributes"], "prompt")
        lines.append(f"attributes of items left out for the context in {prompts}")
    if plain := facts.get("serving", {}).get("scored_plainly"):
        lines.append(f"titles of {counted(min(plain, facts['prompts']), 'prompt')} were scored one by one, not packed")
    if facts["cut_answers"]:
        lines.append(f"{counted(facts['cut_answers'], 'answer')} ran into the token budget (-O answer_tokens=N)")
    if facts["filtered"]:
        words = "1 prompt or answer was" if facts["filtered"] == 1 else f"{facts['filtered']:,} prompts or answers were"
        lines.append(f"{words} stopped by the server's content filter")
    if left := facts["unanswered"]:
        words = f"{counted(left, 'prompt')} got no answer from the server (-O unanswered)"
        lines.append(f"{words}: nothing is ranked there, and the same command asks again")
    return lines


def _part_lines(typed: Mapping[str, Any], part: Mapping[str, Any] | None) -> list[str]:
    """Say from which part of the training data a model learned, where not the whole, and what is in none of it."""
    if part is None:
        return []
    unseen = [words] if (words := _unseen(part)) else []
    if not typed.keys() & {"train_fraction", "max_users", "train_samples"}:
        return unseen
    how = {
        "users": "whole users",
        "time": "the earliest",
        "events": "drawn from all",
        "each-user": "some of each user",
    }[typed.get("train_by", "users")]
    if part["samples"] is not None:
        how = f"those of {part['samples']:,} samples"
    if part["until"] is not None:
        tied = f" ({part['tied']:,} more of that second are left out by lot)" if part["tied"] else ""
        how += f", up to {datetime.fromtimestamp(part['until'], UTC):%Y-%m-%d %H:%M:%S} UTC{tied}"
    line = (
        f"learned from {part['events']:,} of {part['of_events']:,} training events, and {part['users']:,} of "
        f"{part['of_users']:,} users: {how}"
    )
    return [line, *unseen]


def _unseen(part: Mapping[str, Any], before: str = "") -> str:
    """Say how many candidates are in no event that a model learned from; nothing where there are none."""
    if not part.get("unseen_items"):
        return ""
    places = f"{part['unseen_candidates']:,} of {part['of_candidates']:,} candidates" if "of_candidates" in part else ""
    words = f"{part['unseen_items']:,} of {part['of_items']:,} candidate items" + (f", {places}" if places else "")
    return f"{before}without a training event: {words}"


def forecast_lines(found: Mapping[str, Any]) -> list[str]:
    """Say what a run would ask."""
    later = " (more follow from the answers, and are not counted)" if found["rounds"] else ""
    seen = ""
    if found["sampled"] is not None:
        seen = f", of which {found['sampled']:,} were looked at: what follows is estimated from these"
    left = counted(found["prompts"] - found["kept"], "prompt")
    once = f", of which {found['cached_tokens']:,} are read once for several prompts" if found["cached_tokens"] else ""
    scored = f", and {found['choices_to_ask']:,} of choices" if found["choices_to_ask"] else ""
    lines = [
        f"requests        {found['requests']:,}{seen}",
        f"prompts         {found['prompts']:,}{later}",
        f"prompt tokens   {found['prompt_tokens']:,}{once} ({found['counted']})",
        *(
            [f"choices         {counted(found['choice_tokens'], 'token')}, which are scored"]
            if found["choice_tokens"]
            else []
        ),
        f"kept already    {found['kept']:,} of {found['prompts']:,} answers",
        f"to ask          {left} of {found['tokens_to_ask']:,} tokens{scored}",
    ]
    if found["answer_tokens"] is not None:
        lines.append(f"to be written   {found['answer_tokens']:,} tokens at most (-O answer_tokens)")
    if found["price_usd"] is not None:
        lines.append(f"price           {found['price_usd'][0]:.4f} to {found['price_usd'][1]:.4f} USD")
    else:
        lines.append("price           not known: -O price_in=USD -O price_out=USD, of a million tokens")
    lines.append(f"time            {_time_left(found)}")
    if found["device_gb"] is not None:
        lines.append(f"memory          {found['device_gb']:.1f} GB of the device, as these took")
    return lines


def _time_left(found: Mapping[str, Any]) -> str:
    """Say how long what is left will take, or why that is not known."""
    if found["prompts"] == found["kept"] and not found["rounds"]:
        return "none: every answer is kept, and no model is loaded"
    if found["per_token"] is None:
        why = "no answer of this model is kept"
        if found["kept_answers"]:
            why = "the server did not count the tokens of the kept answers"
        elif found["others_kept"]:
            why = "the kept answers are of another kind, texts or scores of choices"
        few = found["limit"] is not None and found["limit"] <= _FEW
        return f"not known: {why}; {'its answers will say it' if few else f'--limit {_FEW} asks a few'}"
    kept = counted(found["kept_answers"], "kept answer") + (f" on {found['speed_of']}" if found["speed_of"] else "")
    written = f", where {found['written']:,.0f} are written an answer" if found["written"] else ""
    load = "" if found["loading"] is None else f", and a load of {seconds_words(found['loading'])}"
    speed = f"at the {1000 * found['per_token']:.3g} ms a token of {kept}{written}"
    return f"about {seconds_words(found['seconds'])}, {speed}{load}"


def study_lines(rows: Sequence[tuple[str, Any, str]]) -> list[str]:
    """Lay out what the rows of a study would ask: name, forecast (None where it is not known), and why it is not."""
    heads = ("row", "requests", "prompts", "prompt tokens", "kept", "to ask", "USD at most")
    table: list[tuple[str, ...]] = [heads]
    for name, asked, why in rows:
        if asked is None:
            table.append((name, why, "", "", "", "", ""))
            continue
        price = "-" if asked.price_usd is None else f"{asked.price_usd[1]:.4f}"
        counts = (asked.requests, asked.prompts, asked.prompt_tokens, asked.kept, asked.prompts - asked.kept)
        about = "" if asked.sampled is None else "~"
        cells = [f"{about if at else ''}{count:,}" for at, count in enumerate(counts)]
        cells[1] += "+" if asked.rounds else ""
        table.append((name, *cells, price))
    known = [asked for _, asked, _ in rows if asked is not None]
    if len(known) > 1:
        sums = [
            sum(each) for each in zip(*((a.requests, a.prompts, a.prompt_tokens, a.kept) for a in known), strict=True)
        ]
        priced = [asked.price_usd[1] for asked in known if asked.price_usd is not None]
        price = f"{fsum(priced):.4f}" if len(priced) == len(known) else "-"
        table.append(("all of these", *(f"{count:,}" for count in (*sums, sums[1] - sums[3])), price))
    widths = [max((len(row[at]) for row in table if row[2] or at != 1), default=0) for at in range(len(heads))]
    lines = []
    for name, *cells in table:
        alone = not cells[1]
        numbers = cells[:1] if alone else [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *numbers]).rstrip())
    lines += [f"tokens are {how}" for how in dict.fromkeys(asked.counted for asked in known)]
    if any(asked.rounds for asked in known):
        lines.append("+: more prompts follow from the answers, and are not counted")
    lines += dict.fromkeys(
        f"~: estimated from {asked.sampled:,} of {asked.requests:,} requests"
        for asked in known
        if asked.sampled is not None
    )
    return lines


def _tokens(facts: Mapping[str, Any]) -> str:
    if facts.get("uncounted"):
        return f"tokens unknown (the server did not count those of {facts['uncounted']:,})"
    return (
        f"{facts['prompt_tokens']:,} prompt tokens ({facts['cached_tokens']:,} cached), "
        f"{facts['completion_tokens']:,} written"
    )


def _counted(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


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
            f"audit of {counted(facts['requests'], 'request')}, {name}: {jitter}"
            f"first choice changed in {100 * noise['top_changed']:.1f} %"
        )
    return lines


def bias_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what the place of a candidate did: NDCG@10 by the target's place, and how often each place was chosen."""
    tau = "" if facts["kendall_tau"] is None else f"; Kendall's tau between two views {facts['kendall_tau']:.3f}"
    lines = [
        f"position bias: {counted(facts['views'], 'view')} of {facts['requests']:,} requests; NDCG@10 of one view "
        f"{facts['single']:.4f}, of all together {facts['joined']:.4f}{tau}",
        "slot  targets  NDCG@10            chosen first",
    ]
    for row in facts["slots"]:
        found = "-" if row["ndcg"] is None else f"{row['ndcg']:.4f} {_interval(row, 'ndcg')}"
        lines.append(
            f"{row['slot']:>4}  {row['targets']:>7,}  {found:<17}  {row['chosen']:.4f} {_interval(row, 'chosen')}"
        )
    return lines


def _interval(row: Mapping[str, Any], name: str) -> str:
    if row[f"{name}_low"] is None:
        return "-"
    ends = (f"{row[f'{name}_{end}']:.3f}".removeprefix("0") for end in ("low", "high"))
    return "-".join(ends)


def outside_lines(facts: Mapping[str, Any]) -> list[str]:
    """Say what a ranking was made of."""
    if facts["kind"] == "import":
        return [f"{facts['rows']:,} ranked items of {counted(facts['requests'], 'request')} from {facts['file']}"]
    runs = len(facts["runs"])
    lines = [f"{counted(facts['requests'], 'request')}, {counted(runs, 'run')}"]
    if facts["kind"] == "oracle":
        lines.append("no model: the better run of each request, chosen by its target; an upper bound")
        better = facts["better"]
        lines.extend(f"{run} is better than all others in {count:,} requests" for run, count in better.items())
        lines.append(f"the best are equal in {facts['requests'] - sum(better.values()):,} requests")
    lines.extend(f"weight of {run}: {weight:.2f}" for run, weight in facts.get("weights", {}).items())
    if "asked" in facts:
        asked = f"the second run is asked for {facts['asked']:,} of {facts['requests']:,} requests"
        lines.append(asked + ("" if facts["threshold"] is None else f", where {_unsure(facts)}"))
    if learned := facts.get("learned_on"):
        lines.append(f"learned on {learned[1]:,} validation requests of {learned[0]}")
    elif facts.get("threshold") is not None:
        lines.append("the threshold is the quantile of the tested requests, without their targets")
    for name, runs in facts["cost_unknown"].items():
        lines.append(f"{name.replace('_', ' ')}: unknown for {', '.join(runs)}, so the sum leaves it out")
    return lines


def _unsure(facts: Mapping[str, Any]) -> str:
    """Say for which requests a cascade asks its second run; doubt by margin is a distance, negated."""
    limit = facts["threshold"]
    if facts.get("doubt", "margin") == "margin":
        return f"the first run's two best scores, standardised, are less than {-limit:.4g} apart"
    return f"the entropy of the first run's scores is above {limit:.4g} (1: all alike)"


def sample_lines(shown: Sequence[RenderedPrompt], counts: Mapping[str, Any]) -> Iterator[str]:
    """Yield samples for tuning with what is learned of them in [[ ]], and counts over all of them."""
    for place, sample in enumerate(shown, 1):
        yield f"--- sample {place} ({sample.tokens} tokens of prompt)"
        yield f"{sample.text}{' => ' if sample.answer_side else ''}[[{sample.choices[0]}]]"
    yield (
        f"--- {counted(counts['samples'], 'sample')}, {counts['tokens']:,} tokens, the longest {counts['longest']:,}; "
        f"{100 * counts['supervised']:.1f} % of them stand in [[ ]] and are learned; {counts['n_truncated']:,} show "
        f"less history to fit; {100 * counts['share_yes']:.1f} % are about an item that was chosen, or liked"
    )


def tuning_forecast_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Say what a tuning would take."""
    yield f"model           {found['label']}"
    counts = found["counts"]
    if not counts["samples"]:
        yield "samples         0: the model as it is, under the name of a tuned one"
        return
    yield (
        f"samples         {counts['samples']:,} of {counts['tokens']:,} tokens, the longest of {counts['longest']:,}; "
        f"{100 * counts['supervised']:.1f} % of them are learned"
    )
    yield f"validation      {counted(found['valid'], 'request')}, {found['validations']:,} times at most"
    yield f"steps           {found['steps']:,} at most; -O patience may end them earlier"
    if found["made"]:
        yield f"kept already    the model: {found['place']}"
    elif found["kept"]:
        yield f"kept already    {found['kept']:,} of {found['steps']:,} steps of an interrupted training"
    else:
        yield "kept already    nothing"
    if found["made"]:
        yield "time            none: it is there"
    elif found["seconds"] is None:
        yield "time            not known: this model was not tuned in the same way on this machine yet"
    else:
        took = f"{counted(found['sessions'], 'earlier tuning')} took"
        yield f"time            about {found['seconds']:,.0f} s at most, as {took}"
    fits = "" if found["gb"] <= found["free_gb"] else ": it does not fit"
    yield f"memory          about {found['gb']:.1f} GB of {found['free_gb']:.1f} GB free on {found['device']}{fits}"


def tuning_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what came of tuning a model."""
    if "metric" not in facts:
        yield f"{facts['label']}: the model as it is, under the name of a tuned one"
        return
    yield (
        f"{facts['label']}: {facts['samples']:,} samples, {facts['trained_weights']:,} of {facts['all_weights']:,} "
        f"weights; {facts['metric']} on validation {facts['valid_before']:.4f} before, {facts['valid_best']:.4f} after "
        f"{facts['best_step']:,} of {facts['steps_planned']:,} steps"
    )
    joules = facts["joules"]
    yield (
        f"{seconds_words(facts['seconds'])} ({seconds_words(facts['seconds_evaluating'])} of them validation), "
        f"{facts['samples_per_second']:.2f} samples/s, {facts['peak_memory_gb']:.1f} GB at most, "
        f"{facts['dtype']} on {facts['device']}" + (f", {joules:,.0f} J" if joules is not None else "")
    )
