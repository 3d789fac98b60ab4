"""TOML that a user wrote, whose faults are told in words."""

import sys
import tomllib
from typing import Any


def read_toml(text: str) -> dict[str, Any]:
    """Return the tables of a text in TOML.

    Raises:
        ValueError: If it is no TOML, is nested too deep, or holds a number that is too long.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))  # as Windows begins files
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except ValueError as error:
        raise ValueError(f"it holds a whole number of more than {sys.get_int_max_str_digits():,} digits") from error
