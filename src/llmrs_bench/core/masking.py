"""Secret keys: how they are recognized, and masked in whatever is kept or shown."""

import os
import re

MASK = "***"
# Keys of OpenAI and many that look alike, of Hugging Face, GitHub, GitLab, Slack, Google and AWS; web tokens.
_KEYS = re.compile(
    r"(?<![\w/.-])(?:"
    r"(?:sk|rk|xai|gsk|nvapi|r8|pplx|csk|gh[opsu]|github_pat|glpat|xox[abeprs]|hf)[-_]"
    r"(?=[\w-]*[0-9A-Z])[\w-]{4,}|AIza[\w-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{12,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r")(?![\w/])|(?<=[Bb]earer )[^\s\"']{4,}"
)
_PLAINER = re.compile(r"(?<![\w/.-])sk-[\w-]{4,}(?![\w/])")  # a key that somebody made up, or a name
_VARIABLES = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD)$")
_SURE = 12  # letters: a shorter key that looks like none, such as EMPTY, may be a word of an answer


def holds_key(text: str) -> bool:
    """Return whether a text holds what looks like a secret key, be it a plain word behind `sk-`."""
    return any(pattern.search(text) for pattern in (_KEYS, _PLAINER))


def is_secret(key: str) -> bool:
    """Return whether a key can be looked for in texts: it looks like one, or is too long for a word."""
    return len(key) >= _SURE or holds_key(key)


def mask(text: str, key: str = "") -> str:
    """Return a text in which a known key, and what looks like one, is replaced by `***`."""
    if key and is_secret(key):
        text = text.replace(key, MASK)
    return _KEYS.sub(MASK, text)


def mask_typed(text: str) -> str:
    """Return what was typed without what looks like a key, and without the keys that variables of this process hold."""
    for name, value in os.environ.items():
        if _VARIABLES.search(name) and is_secret(value):
            text = text.replace(value, MASK)
    return mask(text)
