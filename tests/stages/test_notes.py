"""Notes about items are read by the numbers of their lines."""

import pytest

from llmrs_bench.stages.prompt_variants import numbered_lines

HISTORY = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("text", "shown", "notes"),
    [
        ("1. Its hero\n2. Its end", 2, {"c": "Its hero", "d": "Its end"}),
        ("- **1.** Its hero\n[2] Its end", 2, {"c": "Its hero", "d": "Its end"}),
        ("<think>1. no</think>Here:\n2) Its end\n2) again", 2, {"d": "Its end"}),
        ("1. Its hero\n3. beyond\n0. before", 2, {"c": "Its hero"}),
        ("4: Its\tend", 4, {"d": "Its end"}),
        ("1. Its hero", 0, {}),
        ("no lines", 4, {}),
        (None, 4, {}),
    ],
)
def test_lines_with_numbers_are_notes(text: str | None, shown: int, notes: dict[str, str]) -> None:
    assert numbered_lines(text, HISTORY, shown) == notes
