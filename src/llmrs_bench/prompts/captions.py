"""What the words before a list say of it: the answer, a draft, or what was asked."""

import re
from typing import Literal

Role = Literal["final", "draft", "echo", "ranking", ""]

_FINAL = (
    "final|finally|revised|updated|corrected|improved|output|answer|answers|solution"
    "|result|results|conclusion|endgültig"
)
_DRAFT = (
    "draft|drafts|initial|initially|preliminary|rough|tentative|original|originally|thoughts?|thinking|reasoning"
    "|analysis|before|earlier|brainstorm|previous|scratch"
    "|(?:first|1st) (?:try|attempt|pass|version|guess|idea|thought|ranking|list)"
    "|step (?:1|one)|attempt 1|version 1"
)
_RANKING = (
    "rank|ranks|ranking|rankings|ranked|order|ordered|best|top|recommend|recommended|recommendation|recommendations|likely"
    "|likeliest|next|sorted|preference|prefer|picks?|predictions?|predicted|suggestions?|would|will"
)
_ECHO = (
    "input|inputs|history|given|gave|provided|chose|chosen|watched|played|liked|loved|enjoyed|read|bought|seen|listened|heard"
    "|candidates?|options|question|prompt|task|shown|list of|excluded?|not|remaining"
)
_WORDS: tuple[tuple[Role, str], ...] = (("final", _FINAL), ("draft", _DRAFT), ("ranking", _RANKING), ("echo", _ECHO))
_ROLES = tuple((role, re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])")) for role, words in _WORDS)


def role_of(caption: str) -> Role:
    """Return what a caption says of the list behind it; the strongest word counts, as in "final order of the input"."""
    words = caption.casefold()[-200:]
    return next((role for role, pattern in _ROLES if pattern.search(words)), "")
