"""Answers in which a model declines."""

import re

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
    r"|(?:It|This|That) (?:would not|wouldn't|is not|isn't|would be) "
    r"(?:be )?(?:appropriate|inappropriate|possible|ethical|right|fair)\b"
    r"|(?i:as an? (?:ai|artificial|(?:large )?language model)\b)"
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
    r"|(?:عذر|آسف|متأسف).{0,100}?(?:لا|نمی))"
)


def is_refusal(said: str) -> bool:
    """Tell whether a text begins by declining. It may still hold a ranking, and then it is none."""
    start = re.sub(r"^\W+", "", " ".join(said[:2000].split()))[:400]
    return bool(_REFUSAL.match(start))
