"""How numbers are written, in messages and on boards."""

import re


def number(value: float) -> str:
    """Return a number in three digits, or as a whole number with commas."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun, as `1 answer` or `2,000 answers`.

    Args:
        count: How many there are.
        one: The noun for one.
        many: That for several, where it takes more than an s.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def without_zeros(text: str) -> str:
    """Return numbers below 1 without their leading zeros."""
    return re.sub(r"\b0\.", ".", text)


def rounded(number: int) -> str:
    """Write a whole number in three digits, as `20.0 M`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.{2 - min(len(str(number // size)) - 1, 2)}f} {unit}"
    return f"{number} "


def size_words(size: int) -> str:
    """Write bytes in three digits, as `20.0 MB`."""
    return f"{rounded(size)}B"


def seconds_words(seconds: float) -> str:
    """Write a time: milliseconds below a tenth of a second, a decimal below 100 s, then whole seconds."""
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.1f} s" if 0 < seconds < 100 else f"{seconds:,.0f} s"
