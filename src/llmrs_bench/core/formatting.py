"""How numbers are written, in messages and on boards."""


def number(value: float) -> str:
    """Return a number in three digits, or as a whole number with commas."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
