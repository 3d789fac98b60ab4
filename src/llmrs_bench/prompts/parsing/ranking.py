"""Which of the lists in an answer is the ranking, by the words before it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

from llmrs_bench.prompts.parsing.titles import Mention

Role = Literal["final", "draft", "echo", "ranking", ""]

_FINAL = (
    "final|finally|revised|updated|corrected|improved|output|answer|answers|solution"
    "|result|results|conclusion|endgültig|second thoughts?|reconsider(?:ed|ing)?|on reflection|refined"
    "|new (?:list|order|ranking|version)"
)
_DRAFT = (
    "draft|drafts|initial|initially|preliminary|rough|tentative|original|originally|thoughts?|thinking|reasoning"
    "|analysis|before|earlier|brainstorm|previous|scratch"
    "|(?:first|1st) (?:try|attempt|pass|version|guess|idea|thought|ranking|list)"
    "|step (?:1|one)|attempt 1|version 1|old (?:list|order|ranking|version)"
)
_RANKING = (
    "must(?: |-)?(?:read|watch|see|play|hear|listen|have|try|buy)|"
    "rank|ranks|ranking|rankings|ranked|order|ordered|best|top|recommend|recommended|recommendation|recommendations|likely"
    "|likeliest|next|sorted|preference|prefer|picks?|predictions?|predicted|suggestions?|would|will"
)
_ECHO = (
    "input|inputs|history|given|gave|provided|chose|chosen|watched|played|liked|loved|enjoyed|read|bought|seen|listened|heard"
    "|candidates?|options|question|prompt|task|shown|list of|excluded?|not(?! an? )|remaining|format|examples?"
)
_WORDS: tuple[tuple[Role, str], ...] = (("final", _FINAL), ("draft", _DRAFT), ("ranking", _RANKING), ("echo", _ECHO))
_ELSEWHERE: tuple[tuple[Role, str], ...] = (  # in scripts without spaces, or with many endings
    (
        "final",
        "最终|最終|答案|回答|结果|結果|最后|最後|최종|정답|답변|결과|финал|итог|ответ|النهائي|الإجابة|پاسخ|अंतिम|उत्तर",
    ),
    ("draft", "思考|草稿|初步|初稿|推理|분석|생각|초안|черновик|рассужден|размышлен|мысли|предварит|تفكير|مسودة|सोच"),
    ("ranking", "排名|排序|推荐|推薦|ランキング|順位|おすすめ|순위|추천|рейтинг|рекоменд|ранжир|ترتيب|الترتيب|क्रम"),
    ("echo", "历史|歷史|候选|候選|履歴|候補|기록|후보|истори|кандидат|المرشح|التاريخ|इतिहास"),
)
_WESTERN: tuple[tuple[Role, str], ...] = (
    ("final", "réponse|résultat|respuesta|resultado|resposta|risposta|risultato|antwort|ergebnis|antwoord"),
    ("draft", "brouillon|réflexion|borrador|rascunho|bozza|entwurf|überlegung|überlegungen|raisonnement|razonamiento"),
    ("ranking", "classement|clasificación|classificação|classifica|rangliste|reihenfolge|rangschikking|orden|ordem"),
    ("echo", "historique|candidats|historial|candidatos|histórico|verlauf|kandidaten"),
)
_LAST = re.compile(r"(?<![^\W_])(?:final|finally|revised|updated|corrected|improved)(?![^\W_])")
_DRAFT_ANSWER = re.compile(
    r"\b(?:draft|initial|preliminary|rough|tentative|original|first|1st|previous|earlier|old)\s(?:answer|output|result|solution)"
)
_FORMAT = re.compile(
    r"\b(?:example|sample)\s(?:answer|output|result|solution|response|ranking)|\b(?:answer|output|response)\s(?:format|example)"
)
_ROLES = tuple(
    (role, re.compile(rf"(?<![^\W_])(?:{words}|{western})(?![^\W_])|{elsewhere}"))
    for (role, words), (_, western), (_, elsewhere) in zip(_WORDS, _WESTERN, _ELSEWHERE, strict=True)
)


@lru_cache(1024)  # answers repeat their captions
def role_of(caption: str) -> Role:
    """Return what a caption says of the list behind it; the strongest word counts, as in "final order of the input"."""
    words = caption.casefold()[-200:]
    if _DRAFT_ANSWER.search(words) and not _LAST.search(words):
        return "draft"
    if _FORMAT.search(words) and not _LAST.search(words):
        return "echo"
    return next((role for role, pattern in _ROLES if pattern.search(words)), "")


_AFTER = re.compile(
    r"\b(?:honou?rable mentions?|also|others?|rest|remaining|runners?[ -]up|next tier|maybe|alternatives?|bonus"
    r"|additional)\b"
)
_WORST = r"(?:least|worst|lowest|less|weakest|peor|pires?|schlecht\w*|peggior\w*|pior)"
_BEST = r"(?:most|best\w*|highest|more|strongest|likeliest|mejor|meilleure?s?|miglior\w*|melhor)"
_TO = r"(?:\s+\w+){0,2}\s*(?:\bto\b|->|→|\bbis\b|\bzum?\b|\ba\b|\bau\b|\bà\b|\bal\b)\s*(?:\w+\s+){0,2}"
_FALLS = re.compile(rf"\b{_BEST}\b{_TO}\b{_WORST}\b")
_RISES = re.compile(
    rf"\b{_WORST}\b{_TO}\b{_BEST}\b|\b{_WORST}\b[^,;.]{{0,20}}\bfirst\b|\bbottom(?: |-)to(?: |-)top\b"
    r"|\blast (?:one )?is (?:the )?best\b|\bbest (?:one )?(?:is )?last\b"
    r"|\bот (?:наименее|худш|менее).*\bк (?:наиболее|лучш|более)|[从從由](?:最差|最低|低|最不).*[到至]|低い順|낮은 순"
    r"|\b(?:ascending|increasing|rising|aufsteigend\w*)\b.*\b(?:prefer|likel|relevan|score|interest|probab|rating)"
)
_LOW = re.compile(
    r"\b(?:avoid|unlikely|least|less|bottom|worst|low(?:est|er)?|reject(?:ed|s)?|dislik\w+|skip(?:ped)?|weak\w*|poor\w*"
    r"|irrelevant|unsuitable|none of)\b"
    r"|(?!.*\benough\b)(?:\bnot|\bnever|n't)\s+(?:\w+\s+){0,2}(?:recommend|like|enjoy|relevant|suit|fit|match|interest|choos|prefer)"
)
_HIGH = re.compile(r"\b(?:most|best|top|high(?:ly|est)?|strong\w*|recommend\w*|definitely|likely|perfect|excellent)\b")


@lru_cache(1024)
def level_of(caption: str) -> int:
    """Return 1 where a caption calls its list good ("Most likely"), -1 where bad ("Not recommended"), else 0."""
    words = caption.casefold()[-200:]
    if _FALLS.search(words) or _RISES.search(words):
        return 0
    return -1 if _LOW.search(words) else int(bool(_HIGH.search(words)))


def rises(caption: str) -> bool:
    """Tell whether a caption says that the best comes last."""
    words = caption.casefold()[-200:]
    return bool(_RISES.search(words)) and not _FALLS.search(words)


@dataclass(frozen=True)
class FoundList:
    """A list in an answer.

    Args:
        mentions: What its entries mean, best first.
        caption: The words before it.
        sentence: Whether it is one entry at the end of a sentence.
    """

    mentions: tuple[Mention, ...]
    caption: str = ""
    sentence: bool = False

    @cached_property
    def places(self) -> list[int]:
        """The candidates that it names, in order."""
        return [mention.place for mention in self.mentions if mention.place >= 0]

    @cached_property
    def distinct(self) -> int:
        """How many candidates it names."""
        return len(set(self.places))

    @cached_property
    def by_label(self) -> bool:
        """Whether it names candidates by their labels rather than titles."""
        return 2 * sum(mention.by == "label" for mention in self.mentions) > len(self.mentions)

    @cached_property
    def as_shown(self) -> bool:
        """Whether it names three or more candidates, each in the place in which it was shown."""
        return len(self.mentions) > 2 and all(
            mention.place in {at, *range(-9, 0)} for at, mention in enumerate(self.mentions)
        )


def choose_ranking(lists: Sequence[FoundList]) -> list[int]:
    """Return the entries of the list that is the answer: the final one of those that rank.

    What repeats the prompt is none. A list that is called final or output counts before all others, a draft behind
    them; of the rest the last one counts among those that name most candidates. Lists that share no candidate and
    are of one kind are parts of one, in the order of what their captions say: "Most likely" before "Unlikely". What is
    only called bad is no ranking.

    Args:
        lists: All lists, in the order of the text.
    """
    joined = _join([(found, role_of(found.caption)) for found in lists])
    joined = [pair for pair in joined if not pair[0].sentence] or joined
    best = _best(joined)
    return [mention.place for mention in best.mentions] if best else []


def _best(joined: Sequence[tuple[FoundList, Role]]) -> FoundList | None:
    ranked: list[tuple[FoundList, Role]] = [(found, role) for found, role in joined if role != "echo"]
    if not any(found.places for found, _ in ranked):
        # What is called by the words of the prompt and is not its beginning is no copy of it.
        ranked += [
            (found, role) for found, role in joined if role == "echo" and found.places != [*range(found.distinct)]
        ]
    most = max((found.distinct for found, _ in ranked), default=0)
    finals = [found for found, role in ranked if role == "final" and (found.distinct > 1 or most < 2)]
    if finals:
        return finals[-1]
    others = [found for found, role in ranked if role != "draft"]
    if not any(found.places for found in others):
        others = [found for found, _ in ranked]
    # The order shown is a copy of the prompt where there is another list.
    other = [found for found in others if not found.as_shown]
    roles = {id(found): role for found, role in ranked}
    if any(found.distinct > 1 or (found.places and roles[id(found)] == "ranking") for found in other):
        others = other
    return max(
        enumerate(others),
        key=lambda pair: (pair[1].distinct, 0 if pair[1].places else len(pair[1].mentions), pair[0]),
        default=(0, None),
    )[1]


@dataclass(slots=True)
class _Group:
    """Neighbouring lists that are parts of one, so far."""

    first: FoundList
    role: Role
    parts: list[tuple[int, FoundList]]  # each with the level that its caption gives it
    named: set[int]
    size: int
    labels: int

    @property
    def whole(self) -> FoundList:
        """All parts as one list, best first."""
        if len(self.parts) == 1 and not rises(self.first.caption):
            return self.first
        parts = sorted(self.parts, key=lambda part: -part[0])
        mentions = tuple(mention for _, part in parts for mention in part.mentions)
        return replace(self.first, mentions=mentions[::-1] if rises(self.first.caption) else mentions)

    def takes(self, after: FoundList, role: Role) -> bool:
        """Tell whether a list goes on with other candidates."""
        other = set(after.places)
        overlap = self.named & other
        going_on = self.named and other and self.role in {"", "ranking", "final"}
        if going_on and after.caption and _AFTER.search(after.caption.casefold()):
            return not overlap
        if (overlap and self.role in {"draft", "echo"}) or (after.caption and not self.named and other and self.parts):
            return False
        same = self.role == role or not after.caption or {self.role, role} == {"ranking", ""}
        by_label = 2 * self.labels > self.size
        alike = by_label == after.by_label and not self.first.sentence and not after.sentence
        if not (same and alike and bool(self.first.caption) >= bool(after.caption)):
            return False
        if self.role == "echo" and not self.named and other:
            return False
        return not (self.named and other and 2 * len(self.named & other) > min(len(self.named), len(other)))


def _join(lists: Sequence[tuple[FoundList, Role]]) -> list[tuple[FoundList, Role]]:
    """Join neighbouring lists that go on with other candidates."""
    groups: list[_Group] = []
    for found, role in lists:
        if not groups or not groups[-1].takes(found, role):
            groups.append(_Group(found, role, [], set(), 0, 0))
        group = groups[-1]
        group.parts.append((level_of(found.caption), found))
        group.size += len(found.mentions)
        group.named.update(found.places)
        group.labels += sum(mention.by == "label" for mention in found.mentions)
    return [(group.whole, group.role) for group in groups if any(level >= 0 for level, _ in group.parts)]
