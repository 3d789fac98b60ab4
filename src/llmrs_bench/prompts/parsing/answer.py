"""The ranking that a written answer gives, and the kind of the answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmrs_bench.core.types import Kind, Listed
from llmrs_bench.prompts.parsing.lines import read_lines
from llmrs_bench.prompts.parsing.ranking import FoundList, choose_ranking
from llmrs_bench.prompts.parsing.records import rewrite_records
from llmrs_bench.prompts.parsing.structured import is_list, literals, read_value
from llmrs_bench.prompts.parsing.thoughts import marked_answer, never_stopped_thinking, spoken
from llmrs_bench.prompts.parsing.titles import OFF, PAST, Names, fold, plain_answer

# The title "I Can't Sleep" has other capitals.
_REFUSAL = re.compile(
    r"(?i:(?:unfortunately|no|desafortunadamente|malheureusement|leider),? )?(?:"
    r"(?i:(?:(?:i'm|i am|we are|we're|i apologi[sz]e|my apologies)[,.]? )?(?:(?:so|very|really|truly) )?"
    r"(?:sorry\b|apologi[sz]e\b|apologies\b)?.{0,200}?"
    r"(?<=sorry|ogize|ogise|ogies).{0,200}?"
    r"\b(?:can't|cannot|can not|unable|not able|won't|don't|do not|not comfortable|not possible|must decline|isn't)\b)"
    r"|(?:I|we|We) (?:cannot|can't|can not|won't|will not|must (?:respectfully )?decline"
    r"|do not feel|don't feel|apologi[sz]e|do not have|don't have|am not able|decline)\b"
    r"|(?:I'm|I am|we are|We are) (?:unable|not able|not comfortable|not going to|not permitted|not allowed)\b"
    r"|(?:Unable|Not able|Cannot|Can't) (?:to )?(?=[a-z])"
    r"|(?i:(?:i'm|i am|we are) afraid (?:that )?(?:i|we|this|that|it)\b"
    r".{0,80}?(?:can't|cannot|can not|unable|not able|not possible|isn't))"
    r"|(?:It|This|That)(?: would not|'s not| wouldn't| is not| isn't| would be) "
    r"(?:be )?(?:appropriate|inappropriate|possible|ethical|right|fair)\b"
    r"|(?i:as an? (?:ai|artificial|(?:large )?language model)\b)|(?:I'm|I am) (?:just|only) an? (?:AI|language model)\b"
    r"|(?:I|We|we) (?:must |have to )?refuse\b|(?:This|Your|That) (?:request|task|prompt) violates\b"
    r"|(?i:(?:je suis )?(?:désolée?|pardon|excusez).{0,200}?\bne (?:peux|puis|suis|saurais)\b|je ne (?:peux|puis) pas)"
    r"|(?i:(?:lo siento|perd[oó]n|disculp\w+|lamento).{0,200}?\bno (?:puedo|me es|es posible)\b|no puedo )"
    r"|(?i:(?:es )?tut mir (?:sehr )?leid.{0,200}?\b(?:nicht|keine?)\b"
    r"|ich kann .{0,80}?\bnicht|entschuldig.{0,200}?\bnicht)"
    r"|(?i:(?:mi dispiace|spiacente|scusa).{0,200}?\bnon (?:posso|sono)\b|non posso )"
    r"|(?i:(?:desculp\w+|lamento|sinto muito|infelizmente).{0,200}?\bnão (?:posso|consigo)\b|não (?:posso|consigo) )"
    r"|(?i:het spijt me.{0,200}?\bniet\b|sorry.{0,200}?\bniet\b|przepraszam.{0,200}?\bnie\b)"
    r"|(?i:(?:извините|простите|к сожалению).{0,200}?\bне\b|я не могу )"
    r"|(?:抱歉|对不起|對不起|很遗憾).{0,100}?(?:无法|無法|不能)|我(?:无法|無法|不能)"
    r"|(?:申し訳|すみません|ごめん).{0,100}?(?:できません|出来ません|ません)|죄송.{0,100}?(?:없|못)"
    r"|(?:عذر|آسف|متأسف).{0,100}?(?:لا|نمی)"
    r"|(?:We|I) regret (?:that|to)\b"
    r"|(?i:leider kann ich\b.{0,80}?\bnicht|je ne suis pas en mesure|no me es posible|no estoy en condiciones)"
    r"|(?:لا|لن) (?:أستطيع|يمكنني|أقدر)"
    r"|(?:很|非常)抱歉.{0,100}?不|(?:ขออภัย|ขอโทษ).{0,100}?ไม่|(?:क्षमा|माफ़|माफ).{0,100}?नहीं"
    r"|(?i:(?:je regrette|navrée?).{0,200}?\bne? (?:peux|puis|suis|saurais)\b"
    r"|(?:ik|wij|we) (?:kan|kunnen) .{0,80}?\bniet\b|nie (?:mogę|możemy|jestem w stanie)\b"
    r"|(?:üzgünüm|maalesef).{0,200}?(?:amam|emem|amıyorum|emiyorum|amayız|emeyiz|değil)\b"
    r"|(?:tyvärr|jag kan tyvärr|jeg kan (?:desværre|dessverre)|beklager|desværre).{0,200}?\b(?:inte|ikke)\b"
    r"|(?:maaf|mohon maaf).{0,200}?\b(?:tidak|belum)\b|(?:rất tiếc|xin lỗi).{0,200}?\bkhông\b"
    r"|(?:λυπάμαι|δυστυχώς|συγγνώμη).{0,200}?\bδεν\b|(?:omlouvám|bohužel|prepáčte).{0,200}?\bne\w+"
    r"|(?:valitettavasti|anteeksi).{0,200}?\b(?:en|emme)\b|(?:sajnos|sajnálom|elnézést).{0,200}?\bnem\b"
    r"|(?:îmi pare rău|din păcate).{0,200}?\bnu\b|(?:на жаль|вибачте).{0,200}?\bне\b)"
    r"|(?:I'd|I would|We'd|We would) (?:rather|prefer) not\b"
    r"|(?:I'm|I am) not in a position to\b|(?:Request|Access|Task) (?:denied|refused|rejected|declined)\b"
    r"|(?:There is not|There isn't|There's not|I lack|I have too little|Not|Insufficient) (?:enough |sufficient )?"
    r"(?:information|data|context)\b|(?i:sorry,? (?:but )?that(?:'s| is) not something (?:i|we) can\b))"
)

_BARE = re.compile(
    r"[0-9A-Z, ]{1,30000}"
)  # in plain forms already, without thoughts, turns, marks or a middle to leave out
_END = 15_000  # a hundred candidates with 150 characters each
_CUT = 2_000  # how far from there a line may end


def is_refusal(said: str) -> bool:
    """Tell whether a text begins by declining. It may still hold a ranking, and then it is none."""
    start = re.sub(r"^\W+", "", " ".join(said[:2000].split()))[:400]
    return bool(_REFUSAL.match(start))


_NEXT_TURN = re.compile(r"\n[^\S\n]*(?:\*\*|#+ )?(?:User|Human)(?:\*\*)?[^\S\n]*:")
_LAST_WORD = re.compile(r"(?:(?<=[\s,;>|\[(\"'.:#=])|^)([\w\-]{1,40})$")
_LAST_TITLE = re.compile(r"""(?:["']|^[^\w]*[0-9]{1,9}[.):]\s+|[,;>]\s|^)([^"',;>]{1,400})$""")


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was read: positions of candidates from 0, best first, each once; and the one class of the answer."""

    order: tuple[int, ...]
    kind: Kind


def parse_ranking(text: str, listed: Listed, *, cut: bool = False) -> Ranking:
    """Read the order of candidates from a model's text, and say which kind of answer it was.

    Everything that may be a list is read first, in JSON, lines and tables; of several lists the final one is the
    ranking. A title matches as it stands, else up to case and punctuation, else also up to an article and a year, else
    without another title in brackets, each only where one candidate alone fits. Nothing matches by substring or by
    likeness: what follows a title is a remark or makes it another one.

    Args:
        text: What the model wrote, thoughts included.
        listed: What it was shown.
        cut: Whether it ran into its token budget.
    """
    said = text if _BARE.fullmatch(text) else plain_answer(ends_of(marked_answer(_first_turn(spoken(text)))))
    names = Names(listed)
    whole = _without_cut_end(said, names) if cut else said
    entries = _labels_alone(whole, names) or choose_ranking(_lists(whole, names))
    order = tuple(dict.fromkeys(entry for entry in entries if entry >= 0))
    thinking = cut and never_stopped_thinking(text)
    return Ranking(order, _kind(said, entries, len(listed.titles), cut=cut, thinking=thinking))


def ends_of(said: str) -> str:
    """Return an answer of more than 30,000 characters without its middle, so that the time to read one has a bound.

    It is cut between lines, or else between words of one line, and goes on there as what it was.
    """
    if len(said) <= 2 * _END:
        return said
    head, tail = said[:_END], said[-_END:]
    for sign in "\n ":
        if sign in head[-_CUT:] and sign in tail[:_CUT]:
            return head[: head.rindex(sign)] + tail[tail.index(sign) :]
    return head + tail


def _first_turn(text: str) -> str:
    """Return what a model said before it went on as the user."""
    said = _NEXT_TURN.split(text, maxsplit=1)[0]
    return said if any(map(str.isalnum, said)) else text


def _labels_alone(said: str, names: Names) -> list[int]:
    """Return the candidates of an answer that is two labels or more on one line and nothing else, as most are."""
    tokens = said.replace(",", " ").split() if "\n" not in said.strip() else []
    places = [names.labels.get(token, OFF) for token in tokens]
    return places if len(places) > 1 and OFF not in places else []


def _lists(said: str, names: Names) -> list[FoundList]:
    """Return all lists of an answer in their order: values in JSON where they stand among the lines."""
    said = rewrite_records(said.replace("\0", " "))
    template_parts: list[str] = []
    values: list[list[FoundList]] = []
    known: dict[str, list[FoundList]] = {}  # answers repeat their values
    alone: list[object] = []  # objects one behind the other, as one a line
    together: list[tuple[int, list[object]]] = []  # where such objects stand among the values
    at = 0
    for start, end, value in literals(said):
        if not is_list(value):
            continue
        between = said[at:start]
        if isinstance(value, dict) and alone and not any(map(str.isalnum, between)):
            alone.append(value)
            template_parts.append("\n")
        else:
            template_parts.append(f"{between}\0{len(values)}\0\n")
            written = said[start:end]
            if written not in known:
                known[written] = read_value(value, names, "")
            values.append(known[written])
            alone = [value] if isinstance(value, dict) and not values[-1] else []
            if alone:
                together.append((len(values) - 1, alone))
        at = end
    for place, objects in together:
        values[place] = read_value(objects, names, "")
    return read_lines("".join([*template_parts, said[at:]]), names, values)


def _without_cut_end(said: str, names: Names) -> str:
    """Return a text without its last word or line, where that may be the beginning of another label or title."""
    if not said[-1:].isalnum():
        return said
    start = said.rfind("\n") + 1
    last = said[start:]
    if found := _LAST_WORD.search(last):
        word, before = found[1], last[: found.start()]
        whole = names.label(word) is not None
        longer = any(label != word and label.startswith(word) for label in names.labels)
        alone = not re.search(r"[^\W\d_]\s*$", before)
        if alone and (
            longer or (not whole and word.isdecimal()) or (not before.strip() and start and word.isdecimal())
        ):
            return said[: start + found.start()]
    template_part = _LAST_TITLE.search(last)
    end = fold(template_part[1]) if template_part and names.label(template_part[1].strip()) is None else ""
    if template_part and end and any(fold(title) != end and fold(title).startswith(end) for title in names.titles):
        return said[: start + template_part.start()]
    return said


def _kind(said: str, entries: Sequence[int], count: int, *, cut: bool, thinking: bool) -> Kind:
    named = [entry for entry in entries if entry >= 0]
    off, past = entries.count(OFF), entries.count(PAST)
    complete = bool(named) and len(set(named)) == count
    rules: list[tuple[bool, Kind]] = [
        (not named and is_refusal(said), "refused"),
        (not any(map(str.isalnum, said)) and not thinking, "empty"),
        (cut and not complete, "truncated"),
        (past > off, "history"),
        (off > 0, "off-list"),
        (len(named) > len(set(named)), "duplicates"),
        (complete, "complete"),
        (bool(named), "partial"),
    ]
    return next((kind for holds, kind in rules if holds), "format")
