"""Explanations of recommendations, judged in pairs: what they are held against, how a judge is asked, what it says."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import exp, fsum, inf
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmrs_bench.core.hashing import hash64
from llmrs_bench.core.types import Item, Message, Prompt, Request, Response
from llmrs_bench.prompts.context import PromptContext, word_forms
from llmrs_bench.prompts.parsing.thoughts import marked_answer, spoken
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.prompts.strategies.comparison import label_logprobs
from llmrs_bench.prompts.template import CompiledPart, PartName, PromptTemplate, template_parts
from llmrs_bench.stats import holm, mean_interval, sign_flip

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Verdict: TypeAlias = Literal["writer", "against", "tie", "same", "malformed"]
Letter: TypeAlias = Literal["A", "B", "tie", "malformed"]
Reading: TypeAlias = Literal["labels", "text"]
# What every writer is held against, beside other writers.
TEMPLATE, SHUFFLED = "template", "shuffled"
QUESTION = "Which explanation says better why this {item} fits this user?"
_CHOICES = (" A", " B")
_ANSWERS: dict[Reading, str] = {
    "labels": "Answer with its letter alone, A or B.",
    "text": "Answer with A, with B, or with tie if neither is better.",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two explanations of one item to one user, of which a judge is to prefer one.

    Args:
        request: The user's history, and the item as its only candidate.
        writer: The run that wrote the first of `texts`.
        against: Whose is the second: another run, `template` or `shuffled`.
        texts: Both, each one line.
    """

    request: Request
    writer: str
    against: str
    texts: tuple[str, str]

    def prompt_id(self, writer_first: bool) -> str:
        """Return the id of the prompt that shows the writer's text first, or second."""
        return f"{self.request.request_id}/{self.writer}/{self.against}/{'AB' if writer_first else 'BA'}"


def template_sentence(item: Item, history: Sequence[Item], item_word: str) -> str:
    """Return the trivial explanation: the item of the history that is most like this one, as a reason.

    That is the one with the largest Jaccard index of its categories with those of the item, the latest of several.

    Args:
        item: What was recommended.
        history: What the user chose, oldest first.
        item_word: What an item is called.
    """
    word, kinds = word_forms(item_word)[0], set(item.categories)
    if not history:
        return f"This {word} is recommended because other users chose it."
    shares = [len(kinds & {*other.categories}) / (len(kinds | {*other.categories}) or 1) for other in history]
    best = max(range(len(history)), key=lambda place: (shares[place], place))
    return f"This {word} is recommended because you chose {history[best].title}."


def donors(explained: Mapping[str, tuple[str, str]], seed: int) -> dict[str, str]:
    """Return request to another request, whose explanation is shown in the place of its own as a control.

    The next one in a seeded order that is of another user and about another item; a request without such a one has no
    donor.

    Args:
        explained: Request to its user and the item that is explained.
        seed: Of the order.
    """
    order = sorted(explained, key=lambda name: hash64(f"shuffled\0{seed}\0{name}"))
    found = {}
    for place, name in enumerate(order):
        for other in (*order[place + 1 :], *order[:place]):
            if all(mine != theirs for mine, theirs in zip(explained[name], explained[other], strict=True)):
                found[name] = other
                break
    return found


def most_prompts(requests: int, writers: int) -> int:
    """Return how many prompts a judge of so many runs is asked at most, where each explains something in each request.

    A run is held against a template sentence, its own texts for others, and each other run, in both orders.
    """
    return 2 * requests * (2 * writers + writers * (writers - 1) // 2)


_PARTS: tuple[tuple[PartName, str], ...] = (("interest", "recent"), ("candidates", "explained"))


@cache
def _shown() -> PromptTemplate:
    """Return what a judge is shown beside both texts: the history and the item."""
    return PromptTemplate(
        {part: CompiledPart(template_parts(part)[name].text, where=f"part {part}={name}") for part, name in _PARTS}
    )


def ask(pair: Pair, catalog: ItemCatalog, *, history: int, question: str, reading: Reading) -> list[Prompt]:
    """Write the two model calls about a pair: the writer's text is A in the first, B in the second.

    The judge sees the latest `history` items of the user and the item, as a writer does by default.

    Args:
        pair: The two explanations.
        catalog: The items.
        history: How many of the latest items are shown.
        question: What is asked; `{item}` is the word for an item.
        reading: Whether the answer is read from the probabilities of both letters, or from what the judge writes.
    """
    context = PromptContext(_shown(), pair.request, catalog, history)
    [shown] = context.messages(pair.request.candidates)
    asked = f"{question.replace('{item}', word_forms(catalog.item_word)[0])} {_ANSWERS[reading]}"
    prompts = []
    for writer_first in (True, False):
        first, second = pair.texts if writer_first else reversed(pair.texts)
        text = f"{shown.content}\n\nExplanation A: {first}\n\nExplanation B: {second}\n\n{asked}"
        prompts.append(
            Prompt(
                pair.prompt_id(writer_first),
                pair.request.request_id,
                (Message("user", text), *((Message("assistant", "Answer:"),) if reading == "labels" else ())),
                (),
                _CHOICES if reading == "labels" else None,
                labels=reading == "labels",
            )
        )
    return prompts


def verdict_of(response: Response, *, writer_first: bool) -> tuple[Verdict, float | None]:
    """Return which text a judge prefers, and the log-odds of A against B where both letters are known.

    Of two letters the likelier one counts; one that a server did not show among its likeliest tokens is less likely
    than one that it did. A response with neither, or a text that names no letter, is `malformed`.
    """
    margin: float | None = None
    letter: Letter
    if response.choice_logprobs is None:
        letter = written_letter(response.text or "")
    else:
        first, second = label_logprobs(response, 2)
        letter = "A" if first > second else "B" if second > first else "malformed" if first == -inf else "tie"
        margin = first - second if min(first, second) > -inf else None
    if letter == "A":
        return ("writer" if writer_first else "against"), margin
    if letter == "B":
        return ("against" if writer_first else "writer"), margin
    return ("tie" if letter == "tie" else "malformed"), margin


_WORDS = r"(?:the )?(?:final |better |best )*(?:answer|verdict|choice|winner|preference|explanation|option)"
_WHOLE = re.compile(
    rf"(?:{_WORDS}\s*(?:is|:)?\s*)*[\W_]*(?P<said>[ab]|tie|both|neither|equal)"
    r"(?:[\W_]*| (?:is|says|fits|are)\b.*|[,;:.)\u2013-].*)",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"\b(?i:explanation|answer|option|verdict|choice|winner)\W{0,8}(?:is\W{1,8})?([AB])\b(?! (?:or|and) )"
)


def written_letter(text: str) -> Letter:
    """Return the letter that a written answer names, or `tie`; `malformed` where it names none, or both.

    Thoughts do not count. The last line counts that is an answer as a whole, such as "A", "**B**", "Answer: A" or
    "Explanation B is better", else what the whole text names as an explanation, if that is one letter alone.
    """
    said = marked_answer(spoken(text))
    lines = [line.strip(" \t*_#>\"'`.()[]") for line in said.splitlines()]
    for line in reversed([line for line in lines if line]):
        if (found := _WHOLE.fullmatch(line)) and len(set(_NAMED.findall(line))) < 2:
            letter = found["said"].upper()
            return "A" if letter == "A" else "B" if letter == "B" else "tie"
    named = set(_NAMED.findall(said))
    return "A" if named == {"A"} else "B" if named == {"B"} else "malformed"


def mass_of(response: Response) -> float:
    """Return the probability that an answer is one of both letters."""
    return fsum(exp(value) for value in label_logprobs(response, 2))


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts on one pair in both orders: with the writer's text first, and second.

    Both are `same` where both texts are: nobody is asked then.

    Args:
        request_id: Which request.
        user_id: Whose.
        writer: The run that wrote the one text.
        against: Whose is the other.
        verdicts: Both.
    """

    request_id: str
    user_id: str
    writer: str
    against: str
    verdicts: tuple[Verdict, Verdict]

    @property
    def well_formed(self) -> bool:
        """Whether both answers name a letter or a tie."""
        return "malformed" not in self.verdicts

    @property
    def outcome(self) -> Literal["writer", "against", "even"]:
        """Who is preferred in both orders; `even` where these disagree, one of them is a tie, or the texts are one."""
        first, second = self.verdicts
        return first if first == second and first in ("writer", "against") else "even"

    @property
    def value(self) -> float:
        """What the pair counts for the writer: 1, 0, or a half; NaN where an answer is malformed."""
        return {"writer": 1.0, "against": 0.0, "even": 0.5}[self.outcome] if self.well_formed else float("nan")

    @property
    def compared(self) -> bool:
        """Whether two different texts were compared, and both answers are well-formed."""
        return self.well_formed and "same" not in self.verdicts

    @property
    def follows(self) -> bool:
        """Whether both verdicts name the same position, and so different texts."""
        return set(self.verdicts) == {"writer", "against"}


@dataclass(frozen=True, slots=True)
class Contest:
    """How often a judge prefers a writer's explanations to others.

    Args:
        writer: The run.
        against: What it is held against.
        pairs: How many are well-formed in both orders; the others are `malformed`.
        malformed: Pairs in which an answer names no letter.
        wins: Pairs in which both orders prefer the writer.
        losses: In which both prefer the other one.
        inconsistent: In which the orders name different texts.
        ties: All others.
        win_rate: Wins plus half of ties and inconsistent pairs, of all `pairs`.
        low: Lower end of its 95 % interval; users are drawn with all their pairs.
        high: Upper end.
        p: That the true rate is one half: sign-flip test over users.
        corrected: The same after Holm, over all contests of the judge.
    """

    writer: str
    against: str
    pairs: int
    malformed: int
    wins: int
    losses: int
    inconsistent: int
    ties: int
    win_rate: float
    low: float
    high: float
    p: float
    corrected: float


def contests(judged: Sequence[Judged], *, samples: int, permutations: int, seed: int) -> list[Contest]:
    """Return what came of each contest, in the order of their first pairs."""
    parts: dict[tuple[str, str], list[Judged]] = {}
    for pair in judged:
        parts.setdefault((pair.writer, pair.against), []).append(pair)
    found = [_contest(part, samples=samples, permutations=permutations, seed=seed) for part in parts.values()]
    corrected = holm(np.array([each.p for each in found]))
    return [replace(each, corrected=float(p)) for each, p in zip(found, corrected, strict=True)]


def _contest(part: Sequence[Judged], *, samples: int, permutations: int, seed: int) -> Contest:
    formed = [pair for pair in part if pair.well_formed]
    outcomes = [pair.outcome for pair in formed]
    low = high = rate = float("nan")
    p = 1.0
    if formed:
        values, clusters = np.array([[pair.value for pair in formed]]), users_of(formed)
        [[low, high]] = mean_interval(values, samples=samples, seed=seed, clusters=clusters).tolist()
        rate = float(values.mean())
        against = np.concatenate([values, np.full_like(values, 0.5)])[None]
        p = float(sign_flip(against, np.array([[0, 1]]), samples=permutations, seed=seed, clusters=clusters)[0, 0])
    inconsistent = sum(pair.follows for pair in formed)
    return Contest(
        part[0].writer, part[0].against, len(formed), len(part) - len(formed), outcomes.count("writer"),
        outcomes.count("against"), inconsistent, outcomes.count("even") - inconsistent, rate, low, high, p, p,
    )  # fmt: skip


def users_of(pairs: Sequence[Judged]) -> Ints:
    """Return (pairs,) the number of the user of each, from 0."""
    names = {name: place for place, name in enumerate(sorted({pair.user_id for pair in pairs}))}
    return np.array([names[pair.user_id] for pair in pairs], dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval over users, each drawn with all its pairs; NaN where it is not defined."""

    value: float
    low: float
    high: float


def position(judged: Sequence[Judged], *, samples: int, seed: int) -> dict[str, Interval]:
    """Return how far a judge goes by the position of a text rather than by the text, over all pairs that it compared.

    Returns:
        - `follows`: the share of pairs in which both verdicts name the same position. A judge who throws a coin has .5.
        - `first`: the share of verdicts that name the text shown first, ties counted as halves; .5 if position is
          nothing to the judge.
        - `kappa`: Cohen's kappa between the verdicts in both orders, see `cohen_kappa`. 1: they always agree; 0: as
          often as by chance; -1: never.
    """
    formed = [pair for pair in judged if pair.compared]
    if not formed:
        return dict.fromkeys(("follows", "first", "kappa"), Interval(*(float("nan"),) * 3))
    clusters = users_of(formed)
    values = np.array([[float(pair.follows) for pair in formed], [_first(pair) for pair in formed]])
    ends = mean_interval(values, samples=samples, seed=seed, clusters=clusters)
    shares = {
        name: Interval(float(row.mean()), float(low), float(high))
        for name, row, (low, high) in zip(("follows", "first"), values, ends, strict=True)
    }
    return {**shares, "kappa": agreement([pair.verdicts for pair in formed], clusters, samples=samples, seed=seed)}


def _first(pair: Judged) -> float:
    """Return the share of the two verdicts that name the text shown first, ties counted as halves."""
    shares = {"writer": (1.0, 0.0), "against": (0.0, 1.0), "tie": (0.5, 0.5)}
    first, second = pair.verdicts
    return (shares[first][0] + shares[second][1]) / 2


_PLACES = {"writer": 0, "against": 1, "tie": 2, "even": 2}


def agreement(said: Sequence[tuple[str, str]], clusters: Ints, *, samples: int, seed: int) -> Interval:
    """Return Cohen's kappa between two readings of the same pairs, with a bootstrap interval over users.

    Args:
        said: Of each pair what both say: `writer`, `against`, or one of `tie` and `even`.
        clusters: (pairs,) the user of each.
        samples: Resamples of users.
        seed: Of the resamples.
    """
    tables = np.zeros((int(clusters.max(initial=-1)) + 1, 3, 3))
    for user, (one, other) in zip(clusters, said, strict=True):
        tables[user, _PLACES[one], _PLACES[other]] += 1
    value = float(cohen_kappa(tables.sum(0)))
    users, generator = len(tables), np.random.default_rng(seed)
    if users < 2:
        return Interval(value, float("nan"), float("nan"))
    drawn = generator.multinomial(users, np.full(users, 1 / users), size=samples)
    kappas = cohen_kappa(np.einsum("su,uij->sij", drawn, tables))
    known = kappas[~np.isnan(kappas)]
    low, high = np.percentile(known, [2.5, 97.5]) if known.size else (float("nan"),) * 2
    return Interval(value, float(low), float(high))


def cohen_kappa(tables: Floats) -> Floats:
    """Return Cohen's kappa (1960) of tables of what two judges say: (share that agrees - chance) / (1 - chance).

    Which of the two texts of a pair is called the first is arbitrary, so each pair counts in both ways, and both judges
    name either text equally often. So two judges that always prefer the same writer have a kappa of 1; without this it
    would not be defined.

    Args:
        tables: (..., 3, 3) counts of pairs, by what the one and the other say: first text, second text, neither.

    Returns:
        (...) NaN where chance alone makes them agree, as where both always say neither.
    """
    both = tables + tables[..., [1, 0, 2], :][..., [1, 0, 2]]
    total = both.sum((-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        agreed = np.trace(both, axis1=-2, axis2=-1) / total
        chance = (both.sum(-1) * both.sum(-2)).sum(-1) / total**2
        kappa: Floats = np.where(chance < 1, (agreed - chance) / (1 - chance), np.nan)
    return kappa


def related(writer: Mapping[str, object], judge: Mapping[str, object], families: Callable[[str], str]) -> str:
    """Say how a writer and a judge are related; nothing if they are not, as far as names tell.

    Args:
        writer: `name`, `family` and `weights`, what identifies its weights, as far as known.
        judge: Likewise.
        families: Guesses the family of a model by its name.
    """
    if writer["name"] == judge["name"] or writer["weights"] == judge["weights"]:
        return "the same model"
    ours, theirs = (str(each["family"] or families(str(each["name"]))) for each in (writer, judge))
    return f"of the same family, {ours}" if ours and ours == theirs else ""
