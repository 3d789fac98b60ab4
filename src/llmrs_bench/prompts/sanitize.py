"""Text of items as data: nothing in it can end a line, open a turn, or be taken for a template."""

import re

# Tags and brackets that chat models read as structure: <|im_start|>, </s>, <start_of_turn>, <think>, <<SYS>>, [INST],
# [|user|], [gMASK], [UNUSED_TOKEN_7], [start_header_id].
_TAG = re.compile(r"<(?=<?[|/]?\s*[A-Za-z_｜])|(?<=[A-Za-z_|｜])>")
_BRACKETED = re.compile(r"\[(/?[A-Za-z]\w{1,80}|/?[|｜][^\[\]]{1,80}[|｜])\]")
_NO_WORD = re.compile(r"[A-Z][A-Z0-9]|[_|｜]")  # a bracketed word such as [Rec] is one of a title
_BRACES = re.compile(r"([{}])(?=[{}%#])|(?<=[%#])(?=\})")
_HEADING = re.compile(r"#(?=#)")


def sanitize_text(text: str) -> str:
    """Return a text of an item as one line that is nothing but words to a model.

    Line breaks and control characters become spaces. What looks like a special token or like template syntax is
    taken apart: angle brackets around a name become ‹ and ›, [INST] and [|user|] become (INST) and (|user|), {{ becomes
    { {, ### becomes # # #. This is the general rule, for all models; what else a tokenizer reads as a special token is
    split where the tokenizer is known (`llm/tokenization.py`), which it is not of a server that is asked in text.
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if not any(mark in line for mark in "<>[{}#"):
        return line
    line = _TAG.sub(lambda match: "‹" if match[0] == "<" else "›", line.replace("<<", "‹‹").replace(">>", "››"))
    line = _BRACKETED.sub(lambda match: f"({match[1]})" if _NO_WORD.search(match[1]) else match[0], line)
    return _HEADING.sub("# ", _BRACES.sub(r"\1 ", line))
