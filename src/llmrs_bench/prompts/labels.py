"""Letters that stand for candidates."""

from itertools import product
from string import ascii_uppercase

from llmrs_bench.errors import OptionError


def labels(count: int) -> list[str]:
    """Return `count` labels of the same length, so that none begins another: A to Z, or AA to ZZ.

    Raises:
        OptionError: If there are more than 676.
    """
    length = 1 if count <= len(ascii_uppercase) else 2
    names = ["".join(letters) for letters in product(ascii_uppercase, repeat=length)]
    if count > len(names):
        raise OptionError(
            f"{count} candidates are more than there are labels ({len(names)})",
            hint="Use --template likelihood, or fewer candidates (prepare --n-candidates).",
        )
    return names[:count]
