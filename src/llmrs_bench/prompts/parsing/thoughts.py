"""What a model says behind its thoughts, however it marks them."""

import re
from collections.abc import Iterator

_WORDS = (
    "think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratch_?pad|inner_prefix|draft|cot|chain_of_thought"
    "|(?:inner_|internal_)?monologue|deliberation|rationale|plan(?:ning)?|critique|explanation|justification"
)
_SUFFIX = "(?:_(?:steps?|process|trace|content))?"
# <think>, </seed:think>, [THINK], ◁/think▷, <|begin_of_thought|>, <|END_THINKING|>, <unused94>thought, <|channel|>.
_MARK = re.compile(
    rf"[<\[{{◁]\|?(?P<close>/|end_?(?:of_?)?)?(?:(?:begin|start)_?(?:of_?)?)?(?:\w{{1,20}}:)?(?:{_WORDS}){_SUFFIX}\|?[>\]}}▷]"
    r"|(?P<inner><\|inner_suffix\|>)"
    r"|<(?:unused|ctrl)94>(?:thought)?|(?P<unused><(?:unused|ctrl)95>)|\[unused16\]|(?P<other>\[unused17\])"
    r"|(?:<\|start\|>\w{0,20})?<\|?channel\|?>\s?(?:(?:analysis|commentary|thought)(?:<\|message\|>)?"
    r"|(?P<final>(?:final)?(?:<\|message\|>)?))",
    re.IGNORECASE,
)
_PARTS = (  # one of which is in each mark
    *("think", "thought", "reason", "analysis", "reflection", "scratch", "inner_", "draft", "cot", "monologue"),
    *("deliberation", "rationale", "plan", "critique", "explanation", "justification", "unused", "ctrl", "channel"),
)
_OTHER_CASES = {0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"}  # which expressions take for these letters
_OPENING = re.compile(r"[<\[{◁](?=[|/\w])")  # each of these marks begins with one
_BARE_FINAL = "assistantfinal"
_TOKEN = re.compile(
    r"<\|(?:start|end|return|message|im_start|im_end|eot_id|endoftext|assistant|begin_of_text|end_of_text)\|>(?:assistant\b)?"
    r"|<\|start_header_id\|>\w{1,20}<\|end_header_id\|>|<start_of_turn>model\b|<(?:end_of_turn|eos|bos)>|\[/INST\]"
)
_ESCAPED = re.compile(rf"&lt;(/?(?:\w{{1,20}}:)?(?:{_WORDS}))&gt;", re.IGNORECASE)
# Thoughts that a page folds or a block of code holds.
_FOLDED = re.compile(
    r"<details(?:(?=[^<>]*\breasoning\b)[^<>]*>|[^<>]*>\s*<summary>\s*(?:thought|thinking|reasoning)\b)"
    r".*?(?:</details>|\Z)"
    rf"|^[^\S\n]*(?:```|~~~)(?:{_WORDS})\b[^\n]*\n.*?(?:```|~~~|\Z)",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
_BEGUN, _DONE = "thinking...", "...done thinking"  # as a server's command line writes
_QUOTED = re.compile(r"(?:[^\S\n]*>[^\n]*\n)+")
_PROSE = re.compile(r">\s*(?:[^\W\d_][\w'’-]*[\s,]+){3,}[\w'’-]+[.!?:]")
_ANSWER = re.compile(
    r"<\|?(?:begin_of_)?(?P<name>(?:final_)?(?:answer|ranking|response|result|output)|solution)\|?>"
    r"(?P<said>.*?)(?:<\|?(?:/|end_of_)(?P=name)\|?>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_NAMES = (
    r"(?:(?:final[ _])?(?:answer|ranking|result|response|output)|(?:最[终終])?(?:回答|答案|结果|結果|排序|排名)"
    r"|思考(?:过程)?|推理|최종 답변|답변|생각)"
)
_HEADED = re.compile(
    rf"(?:^|(?<=\n))\s*[\[【]({_NAMES})[\]】]|[\[【]/{_NAMES}[\]】]", re.IGNORECASE
)  # [ANSWER] 3, 1 [/ANSWER]


def spoken(text: str) -> str:
    """Return what a model says behind its thoughts, all of it if it did not think, nothing if it never stopped.

    An end without a beginning closes a thought that the prompt opened.
    """
    text = _without_folded(text)
    kept: list[str] = []
    at, thinking = 0, False
    for mark in _marks(text):
        if any(mark[name] is not None for name in ("close", "inner", "unused", "other", "final")):
            kept = kept if thinking else []
            thinking = False
            at = mark.end()
        elif not thinking:
            kept.append(text[at : mark.start()])
            thinking = True
    if thinking and (answer := _ANSWER.search(text, at)):  # thoughts that only the answer ended
        thinking, at = False, answer.start()
    said = "".join(kept) + ("" if thinking else text[at:])
    return _TOKEN.sub(" ", _behind_channel(said))


def _without_folded(text: str) -> str:
    """Return a text without thoughts that are folded, and without a quoted beginning that holds sentences."""
    lower = text.lower()
    text = _ESCAPED.sub(r"<\1>", text) if "&lt;" in lower else text
    text = _FOLDED.sub("\n", text) if "<details" in lower or "```" in text or "~~~" in text else text
    if lower.lstrip().startswith(_BEGUN) and (end := text.lower().find(_DONE)) >= 0:
        return text[end + len(_DONE) :].lstrip(".")
    quoted = _QUOTED.match(text.lstrip()) if text.lstrip()[:1] == ">" else None
    if quoted and _PROSE.search(quoted[0]) and any(map(str.isalnum, text.lstrip()[quoted.end() :])):
        return text.lstrip()[quoted.end() :]
    return text


def _marks(text: str) -> Iterator[re.Match[str]]:
    """Yield the marks in a text, those of `_MARK.finditer` in a tenth of the time."""
    lower = text.translate(_OTHER_CASES).lower()
    if not any(part in lower for part in _PARTS):
        return
    at = 0
    for opening in _OPENING.finditer(text):
        if opening.start() >= at and (mark := _MARK.match(text, opening.start())):
            at = mark.end()
            yield mark


def never_stopped_thinking(text: str) -> bool:
    """Tell whether a text has thoughts and nothing behind them."""
    return not spoken(text).strip() and bool(text.strip())


def marked_answer(said: str) -> str:
    """Return what stands between the last marks of an answer, <answer>...</answer>, or all where there are none."""
    said = (
        _HEADED.sub(lambda found: f"\n{found[1]}: " if found[1] else "\n", said)
        if "[" in said or "【" in said
        else said
    )
    marked = [found["said"] for found in _ANSWER.finditer(said) if any(map(str.isalnum, found["said"]))]
    return marked[-1] if marked else said


def _behind_channel(text: str) -> str:
    """Return what stands behind names of channels whose brackets were lost, `analysis...assistantfinal...`."""
    _, mark, said = text.rpartition(_BARE_FINAL)
    if mark:
        return said
    # A word alone may be one of the answer; glued to the next it is none.
    start = re.match(r"\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z])", text)
    return "" if start else text
