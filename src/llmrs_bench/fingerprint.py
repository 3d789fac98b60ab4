"""Fingerprints: one digest for everything that decides a result."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any


def fingerprint(value: Mapping[str, Any]) -> str:
    """Return 64 hex digits that differ when any part of `value`, JSON-like and nested, differs."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode()).hexdigest()
