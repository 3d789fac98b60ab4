"""Judged explanations: what they are held against, how verdicts are read, and what planted judges come to."""

import math
from collections.abc import Sequence
from typing import TypeAlias, get_args

import numpy as np
import pytest

from llmrs_bench.core.types import Item, Request, Response
from llmrs_bench.explanations import (
    Judged,
    Pair,
    Reading,
    Verdict,
    agreement,
    ask,
    cohen_kappa,
    contests,
    donors,
    position,
    related,
    template_sentence,
    verdict_of,
    written_letter,
)
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.stages.judge import family_of

FILMS = {
    "a": Item("a", "Alien", year=1979, categories=("Horror", "Sci-Fi")),
    "b": Item("b", "Big", year=1988, categories=("Comedy",)),
    "c": Item("c", "Cube", year=1997, categories=("Horror", "Sci-Fi")),
    "d": Item("d", "Dune", year=1984, categories=("Sci-Fi",)),
}
CATALOG = ItemCatalog(FILMS, "movie")
DRAWN = {"samples": 400, "seed": 0}


Both: TypeAlias = tuple[Verdict, Verdict]
FIRST: Both = ("writer", "against")
SECOND: Both = ("against", "writer")
WRITER: Both = ("writer", "writer")
OTHER: Both = ("against", "against")


def judged(*verdicts: Both, users: Sequence[int] | None = None) -> list[Judged]:
    users = range(len(verdicts)) if users is None else users
    pairs = enumerate(zip(users, verdicts, strict=True))
    return [Judged(f"r{n}", f"u{user}", "w", "template", each) for n, (user, each) in pairs]


@pytest.mark.parametrize(
    ("history", "named"),
    [("ab", "Alien"), ("ba", "Alien"), ("ad", "Alien"), ("db", "Dune"), ("bb", "Big"), ("ca", "Alien"), ("ac", "Cube")],
)
def test_the_trivial_reason_is_the_latest_of_the_most_similar_items(history: str, named: str) -> None:
    item = Item("e", "Event Horizon", categories=("Horror", "Sci-Fi"))
    said = template_sentence(item, [FILMS[name] for name in history], "movie")
    assert said == f"This movie is recommended because you chose {named}."


def test_without_a_history_the_trivial_reason_is_what_others_chose() -> None:
    assert (
        template_sentence(FILMS["a"], [], "story/stories") == "This story is recommended because other users chose it."
    )


def test_a_control_is_of_another_user_and_about_another_item() -> None:
    explained = {f"r{n}": (f"u{n % 7}", f"i{n % 5}") for n in range(40)}
    found = donors(explained, 3)
    assert found.keys() == explained.keys()
    for name, other in found.items():
        assert explained[name][0] != explained[other][0]
        assert explained[name][1] != explained[other][1]
    assert found == donors(explained, 3) != donors(explained, 4)
    assert donors({"r1": ("ann", "a"), "r2": ("bob", "a"), "r3": ("ann", "b")}, 0) == {"r2": "r3", "r3": "r2"}


@pytest.mark.parametrize("reading", get_args(Reading))
def test_a_pair_is_asked_about_in_both_orders_and_nothing_else_differs(reading: Reading) -> None:
    pair = Pair(Request("r", "u", ("a", "b"), ("c",)), "w", "template", ("It is dark.", "Because of Alien."))
    one, other = ask(pair, CATALOG, history=1, question="Is this {item} it?", reading=reading)
    text = one.messages[0].content
    assert text.startswith("A user chose these movies, one after the other:\n- Big\n\nThis movie was recommended to")
    assert "the user: Cube (1997; Horror, Sci-Fi)\n\nExplanation A: It is dark.\n\nExplanation B: Because of" in text
    assert "Is this movie it? Answer with" in text
    swapped = text.replace("It is dark.", "?!").replace("Because of Alien.", "It is dark.")
    assert other.messages[0].content == swapped.replace("?!", "Because of Alien.")
    assert one.prompt_id != other.prompt_id
    assert (one.mode, one.choices) == (("label", (" A", " B")) if reading == "labels" else ("generate", None))
    assert "tie" in text if reading == "text" else "tie" not in text


def logprobs(*values: float | None) -> Response:
    found = tuple(() if value is None else (math.log(value),) for value in values)
    return Response("p", None, found, 1, 0, 1, "choices")


@pytest.mark.parametrize(
    ("response", "writer_first", "verdict"),
    [
        (logprobs(0.6, 0.2), True, "writer"),
        (logprobs(0.6, 0.2), False, "against"),
        (logprobs(0.1, 0.2), True, "against"),
        (logprobs(0.1, 0.2), False, "writer"),
        (logprobs(0.3, 0.3), True, "tie"),
        (logprobs(None, 0.2), False, "writer"),  # A is not among the likeliest tokens of a server
        (logprobs(0.2, None), False, "against"),
        (logprobs(None, None), True, "malformed"),
        (Response("p", "B", None, 1, 0, 1, "stop"), False, "writer"),
        (Response("p", "I cannot.", None, 1, 0, 1, "stop"), False, "malformed"),
        (Response("p", None, None, 1, 0, 1, "filtered"), True, "malformed"),
    ],
)
def test_a_verdict_is_the_text_that_stands_behind_the_letter(
    response: Response, writer_first: bool, verdict: Verdict
) -> None:
    assert verdict_of(response, writer_first=writer_first)[0] == verdict


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        (" b.", "B"),
        ("**B**", "B"),
        ("Answer: A", "A"),
        ("The better explanation is B.", "B"),
        ("Explanation A is better, because it names a movie that the user chose.", "A"),
        ("A, because it names the history.", "A"),
        ("<think>B? No, A.</think>\nA", "A"),
        ("Explanation A is vague. Explanation B is not.\n\nVerdict: B", "B"),
        ("I prefer Explanation B since it is about this user.", "B"),
        ("tie", "tie"),
        ("Neither.", "tie"),
        ("Both are good", "tie"),
        ("Explanation A says more, and Explanation B less.", "malformed"),
        ("A user who likes films will like it.", "malformed"),
        ("Answer: A or B", "malformed"),
        ("<think>A, surely A", "malformed"),
        ("", "malformed"),
    ],
)
def test_written_verdicts_are_read_by_rule(text: str, letter: str) -> None:
    assert written_letter(text) == letter


def test_a_judge_that_always_says_first_is_seen_through() -> None:
    pairs = judged(*[FIRST] * 20)
    [contest] = contests(pairs, permutations=400, **DRAWN)
    assert (contest.win_rate, contest.low, contest.high, contest.corrected) == (0.5, 0.5, 0.5, 1.0)
    assert (contest.pairs, contest.inconsistent, contest.ties, contest.wins, contest.malformed) == (20, 20, 0, 0, 0)
    bias = position(pairs, **DRAWN)
    assert (bias["follows"].value, bias["first"].value) == (1.0, 1.0)
    # Of both names half of the verdicts, by chance they agree on half of the pairs, and do so on none: (0 - .5) / .5.
    assert bias["kappa"].value == -1.0
    assert position(judged(*[SECOND] * 5), **DRAWN)["first"].value == 0.0


def test_a_judge_that_knows_is_believed() -> None:
    pairs = judged(*[WRITER] * 20)
    [contest] = contests(pairs, permutations=400, **DRAWN)
    assert (contest.win_rate, contest.wins) == (1.0, 20)
    assert (contest.low, contest.high) == pytest.approx((0.838875, 1.0), abs=1e-6)  # 20 of 20, by Wilson
    assert contest.corrected < 0.01
    bias = position(pairs, **DRAWN)
    assert (bias["follows"].value, bias["first"].value, bias["kappa"].value) == (0.0, 0.5, 1.0)


def test_ties_and_split_pairs_are_halves_and_malformed_ones_count_for_nobody() -> None:
    pairs = judged(
        ("writer", "writer"), ("writer", "writer"), ("writer", "against"), ("tie", "writer"), ("same", "same"),
        ("against", "against"), ("malformed", "against"), ("malformed", "malformed"),
    )  # fmt: skip
    [contest] = contests(pairs, permutations=400, **DRAWN)
    assert contest.win_rate == pytest.approx((2 + 3 * 0.5) / 6)
    assert (contest.pairs, contest.wins, contest.losses, contest.inconsistent, contest.ties) == (6, 2, 1, 1, 2)
    assert contest.malformed == 2
    bias = position(pairs, **DRAWN)
    assert bias["follows"].value == pytest.approx(1 / 5)  # the pair with one text twice was not judged
    assert bias["first"].value == pytest.approx((0.5 + 0.5 + 1.0 + 0.25 + 0.5) / 5)


def test_malformed_verdicts_alone_leave_nothing_to_say() -> None:
    [contest] = contests(judged(("malformed", "writer")), permutations=400, **DRAWN)
    assert math.isnan(contest.win_rate)
    assert (contest.pairs, contest.malformed, contest.corrected) == (0, 1, 1.0)
    assert all(math.isnan(each.value) for each in position(judged(("malformed", "writer")), **DRAWN).values())


def test_users_are_drawn_with_all_their_pairs() -> None:
    pairs = judged(*[WRITER] * 10, *[OTHER] * 10, users=[0] * 10 + [1] * 10)
    [contest] = contests(pairs, permutations=400, **DRAWN)
    assert (contest.win_rate, contest.low, contest.high) == (0.5, 0.0, 1.0)
    [alone] = contests(judged(*[WRITER] * 10, users=[0] * 10), permutations=400, **DRAWN)
    assert alone.p == 1.0  # ten pairs of one user are no ten users
    assert np.isnan([alone.low, alone.high]).all()
    assert np.isnan(position(judged(WRITER, OTHER, users=[0, 0]), **DRAWN)["first"].low)


def test_p_values_are_corrected_over_the_contests_of_a_judge() -> None:
    one = judged(*[WRITER] * 8)
    other = [Judged(each.request_id, each.user_id, "w", "shuffled", each.verdicts) for each in one]
    first, second = contests([*one, *other], permutations=400, **DRAWN)
    assert (first.against, second.against) == ("template", "shuffled")
    assert first.corrected == pytest.approx(2 * first.p)


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # Doubled: 14 and 14 agree of 40, by chance half: (.7 - .5) / .5.
        ([[9, 4, 0], [2, 5, 0], [0, 0, 0]], 0.4),
        ([[6, 0, 0], [0, 0, 0], [0, 0, 4]], 1.0),
        # 4 of 8 agree; neither: 4 of 8 and 2 of 8; each text: (1/4)(3/8) twice and (1/2)(1/4): .3125.
        ([[2, 0, 0], [0, 1, 1], [2, 1, 1]], (4 / 8 - (0.25 * 0.375 * 2 + 0.125)) / (1 - (0.25 * 0.375 * 2 + 0.125))),
        ([[0, 0, 0], [0, 0, 0], [0, 0, 7]], math.nan),
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], math.nan),
    ],
)
def test_kappa_by_hand(table: list[list[int]], kappa: float) -> None:
    assert float(cohen_kappa(np.array(table, dtype=float))) == pytest.approx(kappa, nan_ok=True)


def test_judges_that_throw_coins_agree_by_chance() -> None:
    generator = np.random.default_rng(5)
    said = [("writer", "against")[n] for n in generator.integers(0, 2, 4000)]
    other = [("writer", "against", "even")[n] for n in generator.integers(0, 3, 4000)]
    found = agreement(list(zip(said, other, strict=True)), np.arange(4000), samples=200, seed=0)
    assert found.low < 0 < found.high
    assert abs(found.value) < 0.05


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("SmolLM2-135M-Instruct.Q4_1", "SmolLM2"),
        ("org/Meta-Llama-3-8B", "LLaMA 3"),
        ("llama-2-7b+lora-8", "LLaMA 2"),
        ("gpt-4o", "gpt"),
        ("7b", ""),
    ],
)
def test_families_are_guessed_by_names(name: str, family: str) -> None:
    assert family_of(name) == family


def test_relations_of_writer_and_judge() -> None:
    def model(name: str, family: str | None = None, weights: str = "") -> dict[str, object]:
        return {"name": name, "family": family, "weights": weights or name}

    assert related(model("x"), model("x"), family_of) == "the same model"
    assert related(model("x", weights="w"), model("y", weights="w"), family_of) == "the same model"
    assert related(model("qwen3-8b", "Qwen3"), model("Qwen/Qwen3-4B"), family_of) == "of the same family, Qwen3"
    assert related(model("qwen3-8b", "Qwen3"), model("phi-4", "Phi-4"), family_of) == ""
    assert related(model("7b"), model("8b"), family_of) == ""
