"""What rows must have in common before they may be compared, and where they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrs_bench.core.config import ProtocolField
from llmrs_bench.core.errors import IncomparableError
from llmrs_bench.core.hashing import hash64

FIELDS: tuple[ProtocolField, ...] = get_args(ProtocolField)


@dataclass(frozen=True, slots=True)
class EvaluationProtocol:
    """What decides whether two boards measure the same.

    Args:
        fields: `data`, `split`, `users`, `candidates`, `tie-rule` and `metric-definition` in words, and `task`.
        requests: Names of the requests; of labelled rows those of the users.
        lists: (requests,) a digest of each request's candidates, in any order.
        histories: (requests,) a digest of each request's history and cutoff.
    """

    fields: Mapping[str, str]
    requests: tuple[str, ...]
    lists: NDArray[np.uint64]
    histories: NDArray[np.uint64]


def request_protocol(requests: pl.DataFrame, fields: Mapping[str, str]) -> EvaluationProtocol:
    """Return the lock of a frame of the schema `requests`; without lists the words about candidates stand for them."""
    rows = requests.sort("request_id")
    whole = [fields["candidates"]]
    lists = [_digest(sorted(found) if found is not None else whole) for found in rows["candidates"].to_list()]
    told = zip(rows["cutoff"].to_list(), rows["history"].to_list(), strict=True)
    histories = [_digest([str(cutoff), *history]) for cutoff, history in told]
    return EvaluationProtocol(
        fields, tuple(rows["request_id"]), np.array(lists, np.uint64), np.array(histories, np.uint64)
    )


def _digest(parts: Sequence[str]) -> int:
    return hash64("\x1f".join(parts))


# No field that may differ: rankings, clicks and ratings have no metric in common.
TASK: Literal["task"] = "task"
Field: TypeAlias = ProtocolField | Literal["task"]


def _task(protocol: EvaluationProtocol) -> str:
    return protocol.fields.get(TASK, "ranking")


def differences(one: EvaluationProtocol, other: EvaluationProtocol) -> dict[Field, tuple[str, str]]:
    """Return the fields in which two locks differ, with what each of them says.

    Candidates and histories are compared on the requests both have: a smaller sample of the same users differs in
    `users` alone.
    """
    found: dict[Field, tuple[str, str]] = {
        name: (one.fields[name], other.fields[name])
        for name in FIELDS
        if name not in ("users", "candidates") and one.fields[name] != other.fields[name]
    }
    if (mine_task := _task(one)) != (their_task := _task(other)):
        return {TASK: (mine_task, their_task)}
    places = {name: at for at, name in enumerate(other.requests)}
    common = [(at, places[name]) for at, name in enumerate(one.requests) if name in places]
    mine, theirs = [at for at, _ in common], [at for _, at in common]
    if set(one.requests) != set(other.requests):
        found["users"] = (one.fields["users"], f"{other.fields['users']} ({len(common):,} in common)")
    lists = int((one.lists[mine] != other.lists[theirs]).sum())
    if lists or (not common and one.fields["candidates"] != other.fields["candidates"]):
        changed = f"{other.fields['candidates']} ({lists:,} of {len(common):,} lists differ)"
        found["candidates"] = (one.fields["candidates"], changed)
    if "split" not in found and (told := int((one.histories[mine] != other.histories[theirs]).sum())):
        found["split"] = (
            one.fields["split"],
            f"{other.fields['split']} ({told:,} of {len(common):,} histories differ)",
        )
    return {name: found[name] for name in FIELDS if name in found}


def refuse_differences(
    found: Mapping[Field, tuple[str, str]], allowed: Sequence[str], *, one: str, other: str
) -> list[str]:
    """Return what differs and is allowed to, as notes for the board.

    Raises:
        IncomparableError: Naming the fields that differ and are not allowed to.
    """
    refused = {name: texts for name, texts in found.items() if name not in allowed}
    if refused:
        words = "; ".join(f"{name}: {want} for {one}, {have} for {other}" for name, (want, have) in refused.items())
        flags = " ".join(f"--allow-different {name}" for name in refused)
        if TASK in refused:
            raise IncomparableError(
                f"{other} cannot be compared with {one}. They differ in {words}",
                hint="Name runs, or a leaderboard, of the same task: rankings, clicks and ratings are never mixed.",
            )
        raise IncomparableError(
            f"{other} cannot be compared with {one}. They differ in {words}",
            hint=f"Make it again on the same data; or add {flags}: the leaderboard then says so.",
        )
    return [f"{other} differs in {name}, as allowed: {have}, not {want}" for name, (want, have) in found.items()]
