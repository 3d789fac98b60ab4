"""Made-up boards and samples for tests of the page, with texts that want to be more than text."""

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from board_cases import board, entry
from llmrs_bench.core.schemas import ITEMS
from llmrs_bench.data.profile import profile
from llmrs_bench.data.sources import EVENTS, Raw
from llmrs_bench.leaderboard import Board
from llmrs_bench.report.html import Call, Extra, Ranked, Sampled, Title, to_html

HOSTILE = "</script><img src=x onerror=alert(1)><!-- \u2028 & \"' {{ 7 * 7 }}"
USERS = 40
RUNS = ("alpha", "beta", "gamma", "delta")
LANGUAGE = "gamma"


def made_board(**plan: Any) -> Board:
    """Return a board of chance, a baseline, recommenders and a language model of a hostile name, in two groups."""
    rng = np.random.default_rng(0)
    looks = {
        "alpha": {"kind": "recommender"},
        "beta": {"kind": "recommender", "setting": "dim=8"},
        "gamma": {"kind": "language model", "model": f"gamma {HOSTILE}", "setting": HOSTILE},
        "delta": {"kind": "baseline"},
    }
    entries = [
        entry(
            run,
            {
                "ndcg@10": rng.uniform(0, 1, USERS) * (0.9 - 0.2 * place),
                "hit@1": rng.uniform(0, 1, USERS) < 0.2 + 0.1 * place,
            },
            about={
                "requests": USERS,
                "seconds": 10.0 ** (2 - place),
                "history": 10 if run == LANGUAGE else None,
                "command": f"llmrs-bench infer --model {HOSTILE}",
                "kinds": {"complete": 30, "partial": 6, "refused": 4} if run == LANGUAGE else {},
            },
            **looks[run],
        )
        for place, run in enumerate(RUNS)
    ]
    exact = {"ndcg@10": np.full(USERS, 0.3), "hit@1": np.full(USERS, 0.05)}
    chance = entry("chance", exact, kind="baseline", exact=True, about={})
    groups = pl.DataFrame(
        {
            "request_id": [f"r{number:04d}" for number in range(USERS)],
            "group": ["few events" if number % 2 else "many events" for number in range(USERS)],
            "order": [number % 2 for number in range(USERS)],
        }
    )
    return board([chance, *entries], ("ndcg@10", "hit@1"), **({"by": "history", "groups": groups} | plan))[0]


def made_extra() -> Extra:
    """Return three requests, one of them with hostile texts, and the bias of the language model."""
    titles = {f"i{number}": Title(f"Film {number}", "(1990; Drama)") for number in range(12)}
    titles["i1"] = Title(f"Film {HOSTILE}")
    candidates = tuple(f"i{number}" for number in range(6))
    call = Call(
        "r0000", (("system", "Be brief."), ("user", f"Rank {HOSTILE}")), f"1. {HOSTILE}", finish="stop", n_truncated=2
    )
    tokens = ((-1.0, -0.5), ())
    likely = Call("r0001", None, None, (("Film 0", -1.5), (HOSTILE, None)), tokens, finish="choices")
    requests = tuple(
        Sampled(
            request_id=f"r{number:04d}",
            user_id=f"u{number}",
            history=tuple(f"i{place}" for place in range(6, 12)) * 5,
            candidates=candidates,
            targets=("i1",),
            groups={"popularity": "head" if number else "tail", "cold-item": f"{number} events"},
            rankings={
                "alpha": Ranked(candidates, (6.0, 5.0, 4.0, 3.0, 2.0, 1.0), {"i1": 2}),
                LANGUAGE: Ranked(
                    candidates[::-1], (3.5, 2.5, None, None, None, None), {"i1": 5}, (call if number else likely,), 9
                ),
            },
        )
        for number in range(3)
    )
    notes = {LANGUAGE: f"Lost: {HOSTILE}"}
    return Extra({LANGUAGE: made_bias()}, requests, titles, USERS, 7, notes, made_profile(), (f"Odd: {HOSTILE}",))


def made_profile() -> dict[str, Any]:
    """Return the profile of two readers of a book with a hostile title."""
    events = [(user, "b", 1e9 + 40 * step * len(user), 3.0 + step % 2) for user in ("u", "uu") for step in range(4)]
    items = pl.DataFrame([("b", HOSTILE, "", 1999, [HOSTILE])], schema=ITEMS, orient="row")
    return asdict(profile(Raw(items, pl.DataFrame(events, schema=EVENTS, orient="row"))))


def made_bias() -> dict[str, Any]:
    """Return bias facts over six slots, one of them without a target."""
    slots: list[dict[str, Any]] = [
        {
            "slot": slot,
            "targets": 5,
            "ndcg": 0.9 - 0.1 * slot,
            "ndcg_low": 0.8 - 0.1 * slot,
            "ndcg_high": 1.0 - 0.1 * slot,
            "chosen": 0.1,
            "chosen_low": 0.05,
            "chosen_high": 0.2,
        }
        for slot in range(6)
    ]
    slots[3] |= {"targets": 0, "ndcg": None, "ndcg_low": None, "ndcg_high": None}
    slots[4] |= {"targets": 1, "ndcg_low": None, "ndcg_high": None}
    return {"requests": 40, "views": 120, "slots": slots, "kendall_tau": 0.25, "single": 0.6, "joined": 0.7}


def made_page() -> str:
    """Return the page of the made-up board and sample."""
    return to_html(made_board(), made_extra())
