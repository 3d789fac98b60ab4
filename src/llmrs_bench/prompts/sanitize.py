"""Text of items as data: nothing in it can end a line, open a turn, or be taken for a template."""

import re

# Tags and brackets that chat models read as structure: <|im_start|>, </s>, <start_of_turn>, <think>, <<SYS>>, [INST].
_TAG = re.compile(r"<(?=<?[|/]?\s*[A-Za-z_｜])|(?<=[A-Za-z_|｜])>")
_BRACKETED = re.compile(r"\[(/?[A-Z][A-Z_]+)\]")
_BRACES = re.compile(r"([{}])(?=[{}%#])|(?<=[%#])(?=\})")
_HEADING = re.compile(r"#(?=#)")


def sanitize_text(text: str) -> str:
    """Return a text of an item as one line that is nothing but words to a model.

    Line breaks and control characters become spaces. What looks like a special token or like template syntax is
    taken apart: angle brackets around a name become ‹ and ›, [INST] becomes (INST), {{ becomes { {, ### becomes # # #.
    """
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if not any(mark in line for mark in "<>[{}#"):
        return line
    line = _TAG.sub(lambda match: "‹" if match[0] == "<" else "›", line.replace("<<", "‹‹").replace(">>", "››"))
    line = _BRACKETED.sub(r"(\1)", line)
    return _HEADING.sub("# ", _BRACES.sub(r"\1 ", line))
