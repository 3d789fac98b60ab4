"""What a model says behind its thoughts, however it marks them."""

import re

_WORDS = (
    "think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratch_?pad|inner_prefix|draft|cot|chain_of_thought"
    "|(?:inner_|internal_)?monologue|deliberation|rationale|planning|critique|explanation|justification"
)
# <think>, </seed:think>, [THINK], ◁/think▷, <|begin_of_thought|>, <|END_THINKING|>, <unused94>thought, <|channel|>.
_MARK = re.compile(
    rf"[<\[{{◁]\|?(?P<close>/|end_?(?:of_?)?)?(?:(?:begin|start)_?(?:of_?)?)?(?:\w{{1,20}}:)?(?:{_WORDS})\|?[>\]}}▷]"
    r"|(?P<inner><\|inner_suffix\|>)"
    r"|<(?:unused|ctrl)94>(?:thought)?|(?P<unused><(?:unused|ctrl)95>)|\[unused16\]|(?P<other>\[unused17\])"
    r"|(?:<\|start\|>\w{0,20})?<\|?channel\|?>\s?(?:(?:analysis|commentary|thought)(?:<\|message\|>)?"
    r"|(?P<final>(?:final)?(?:<\|message\|>)?))",
    re.IGNORECASE,
)
_BARE_FINAL = "assistantfinal"
_TOKEN = re.compile(r"<\|(?:start|end|return|message|im_end|eot_id|endoftext)\|>(?:assistant\b)?")
_ANSWER = re.compile(
    r"<\|?(?:begin_of_)?(?P<name>(?:final_)?(?:answer|ranking|response|result|output)|solution)\|?>"
    r"(?P<said>.*?)(?:<\|?(?:/|end_of_)(?P=name)\|?>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_NAMES = r"(?:final[ _])?(?:answer|ranking|result|response|output)"
_HEADED = re.compile(rf"(?:^|(?<=\n))\s*\[({_NAMES})\]|\[/{_NAMES}\]", re.IGNORECASE)  # [ANSWER] 3, 1, 2 [/ANSWER]


def spoken(text: str) -> str:
    """Return what a model says behind its thoughts, all of it if it did not think, nothing if it never stopped.

    An end without a beginning closes a thought that the prompt opened.
    """
    kept: list[str] = []
    at, thinking = 0, False
    for mark in _MARK.finditer(text):
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


def never_stopped_thinking(text: str) -> bool:
    """Tell whether a text has thoughts and nothing behind them."""
    return not spoken(text).strip() and bool(text.strip())


def marked_answer(said: str) -> str:
    """Return what stands between the last marks of an answer, <answer>...</answer>, or all where there are none."""
    said = _HEADED.sub(lambda found: f"\n{found[1]}: " if found[1] else "\n", said) if "[" in said else said
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
