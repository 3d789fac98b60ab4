"""Styles in which models write rankings: each writes labels and titles, best first.

Run as a program it renews the table in docs/answers.md.
"""

import html
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from answer_lists import BOOKS, READ, numbers
from llmrs_bench.core.types import Listed

EXAMPLE = [2, 6, 0, 4, 7, 1, 5, 3]  # the order of the examples in docs/answers.md
Style = Callable[[Listed, Sequence[int]], str]
_ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII"]
_CARDINALS = ["One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"]
_PREMIERS = ["Premier", "Deuxième", "Troisième", "Quatrième", "Cinquième", "Sixième", "Septième", "Huitième"]
_ORDINALS = ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth"]


def lines(line: Callable[[int, str, str], str]) -> Style:
    """Write one line for each candidate from its rank, label and title."""
    return lambda shown, order: "\n".join(line(n, shown.labels[at], shown.titles[at]) for n, at in enumerate(order, 1))


def _labels(shown: Listed, order: Sequence[int]) -> str:
    return ", ".join(shown.labels[at] for at in order)


def _shown(shown: Listed) -> str:
    return "\n".join(f"[{label}] {title}" for label, title in zip(shown.labels, shown.titles, strict=True))


def _objects(shown: Listed, order: Sequence[int], *names: str) -> list[dict[str, object]]:
    """Return objects in the order shown, with a rank each."""
    rank, item = names
    ranks = {at: n for n, at in enumerate(order, 1)}
    return [{item: shown.titles[at], rank: ranks[at]} for at in sorted(ranks)]


def _thinking(before: str, after: str) -> Style:
    """Write thoughts that name the first labels in the order shown, and then the ranking."""
    return lambda shown, order: f"{before}{', '.join(shown.labels[:4])}{after}{_labels(shown, order)}"


def _closed(words: str) -> Style:
    """Write ranks and titles, and a sentence below."""
    listed = lines(lambda n, label, title: f"{n}. {title}")
    return lambda shown, order: f"{listed(shown, order)}\n\n{words}"


# Labels that are numbers, and eight candidates at most.
STYLES: dict[str, Style] = {
    "labels": _labels,
    "rank, word, label": lines(lambda n, label, title: f"{n}. Candidate {label}"),
    "rank, No., label": lines(lambda n, label, title: f"{n}) No. {label}"),
    "rank, comma, label": lines(lambda n, label, title: f"{n},{label}"),
    "rank, semicolon, label": lines(lambda n, label, title: f"{n}; {label}"),
    "rank, arrow, label": lines(lambda n, label, title: f"{n} -> {label}"),
    "rank word, dash, label": lines(lambda n, label, title: f"Rank {n} - {label}"),
    "rank, underscore, label": lines(lambda n, label, title: f"{n}. book_id={label}"),
    "position, word, label": lines(lambda n, label, title: f"Position {n}: book {label}"),
    "rank and label in bold": lines(lambda n, label, title: f"**{n}.** **{label}**"),
    "rank and label in a table": lines(lambda n, label, title: f"| {n} | {label} |"),
    "caption, rank, label": lines(lambda n, label, title: f"Ranking: {n}. [{label}]"),
    "caption, rank, title": lines(lambda n, label, title: f"Ranking: {n}. {title}"),
    "label: score": lines(lambda n, label, title: f"{label}: {99 - n}"),
    "label; score": lines(lambda n, label, title: f"{label};{1 - n / 20:.2f}"),
    "labels with remarks on a line": lambda shown, order: ", ".join(f"{shown.labels[at]} (a novel)" for at in order),
    "titles with then": lambda shown, order: ", then ".join(shown.titles[at] for at in order) + ".",
    "vector of R": lambda shown, order: f"ranking <- c({_labels(shown, order)})",
    "table of LaTeX": lambda shown, order: "\\begin{{tabular}}{{cl}}\n{}\n\\end{{tabular}}".format(
        lines(lambda n, label, title: f"{n} & {title} \\\\")(shown, order)
    ),
    "bold items of LaTeX": lines(lambda n, label, title: f"\\item \\textbf{{{title}}}"),
    "JSON, titles with ordinals": lambda shown, order: json.dumps(
        {shown.titles[at]: f"{n}{['st', 'nd', 'rd'][n - 1] if n < 4 else 'th'}" for n, at in enumerate(order, 1)}
    ),
    "JSON, the top and ordinals": lambda shown, order: json.dumps(
        {("top" if n == 1 else _ORDINALS[n - 1].lower()): shown.titles[at] for n, at in enumerate(order, 1)}
    ),
    "label, score out of 20": lines(lambda n, label, title: f"Book {label}: {20 - n}/20"),
    "label, per cent": lines(lambda n, label, title: f"- {label}: {99 - 3 * n} %"),
    "score before the title": lines(lambda n, label, title: f"[{1 - n / 20:.2f}] {title}"),
    "document, relevance": lines(lambda n, label, title: f"Doc: {label}, Relevance: {20 - n}"),
    "score out of 20 before the title": lines(lambda n, label, title: f"{20 - n}/20: {title}"),
    "label and fraction": lines(lambda n, label, title: f"{label} {1 - n / 20:.2f}"),
    "stars in words": lambda shown, order: "\n".join(
        f"{title}: {(16 - 2 * list(order).index(at)) / 4} stars" for at, title in enumerate(shown.titles)
    ),
    "as shown, with scores": lambda shown, order: "\n".join(
        f"{label}. {title}: {20 - list(order).index(at)}/20 (a novel)"
        for at, (label, title) in enumerate(zip(shown.labels, shown.titles, strict=True))
    ),
    "table as shown, with scores": lambda shown, order: (
        "| # | Book | Score |\n|---|---|---|\n"
        + "\n".join(
            f"| {label} | {title} | {99 - 7 * list(order).index(at)} |"
            for at, (label, title) in enumerate(zip(shown.labels, shown.titles, strict=True))
        )
    ),
    "title - Remark": lines(lambda n, label, title: f"{n}. {title} - A dark and moving tale"),
    "title—Remark": lines(lambda n, label, title: f"{n}. {title}—Because the reader likes it"),
    "title: Remark": lines(lambda n, label, title: f"- {title}: Matches an interest in classics"),
    "title (Remark)": lines(lambda n, label, title: f"{n}. {title} (Close in tone to Emma)"),
    "title, remark": lines(lambda n, label, title: f"{n}. {title}, since the reader likes classics"),
    "title. Remark.": lines(lambda n, label, title: f"{n}. {title}. A very good novel."),
    "title [label]": lines(lambda n, label, title: f"{n}. {title} [{label}]"),
    "title (label)": lines(lambda n, label, title: f"{n}. {title} ({label})"),
    "title (year)": lines(lambda n, label, title: f"{n}. {title} ({1900 + n})"),
    "title / remark": lines(lambda n, label, title: f"{n}. {title} / novel / {1900 + n}"),
    "title • remark": lines(lambda n, label, title: f"{n}. {title} • Novel"),
    "title {remark}": lines(lambda n, label, title: f"{n}. {title} {{a novel}}"),
    "title! Remark.": lines(lambda n, label, title: f"{n}. {title}! Lovely."),
    "title by author": lines(lambda n, label, title: f"{n}. {title} by Jane Roe"),
    '"title": remark': lines(lambda n, label, title: f'{n}. "{title}": Admired by all'),
    "**title:** remark": lines(lambda n, label, title: f"{n}. **{title}:** Great fit"),
    "title is a remark": lines(lambda n, label, title: f"{n}. {title} is a novel that fits"),
    "candidate label - opinion": lines(lambda n, label, title: f"{n}. Candidate {label} - I think that it fits best"),
    "(label) title - remark": lines(lambda n, label, title: f"{n}. ({label}) {title} - Admired by all"),
    "item label: title": lines(lambda n, label, title: f"{n}. Item {label}: {title}"),
    "Roman ranks": lines(lambda n, label, title: f"{_ROMAN[n - 1]}. {title}"),
    "letters as ranks": lines(lambda n, label, title: f"{chr(96 + n)}) {title}"),
    "letters of another alphabet": lines(lambda n, label, title: f"{'абвгдежз'[n - 1]}) {title}"),
    "letters from the right": lines(lambda n, label, title: f"{'אבגדהוזח'[n - 1]}. {title}"),
    "signs that count": lines(lambda n, label, title: f"{'甲乙丙丁戊己庚辛'[n - 1]}、{title}"),
    "ordinals": lines(lambda n, label, title: f"{_ORDINALS[n - 1]}: {title}"),
    "keycaps": lines(lambda n, label, title: f"{n}\ufe0f\u20e3 {title}"),
    "circles": lines(lambda n, label, title: f"{chr(0x245F + n)} {label}"),
    "medals": lines(lambda n, label, title: f"{'🥇🥈🥉'[n - 1] if n < 4 else f'{n}.'} {title}"),
    "numbers in words": lines(lambda n, label, title: f"{_CARDINALS[n - 1]}: {title}"),
    "numbers in ideographs": lines(lambda n, label, title: f"{'一二三四五六七八'[n - 1]}、{title}"),
    "numbers in brackets": lines(lambda n, label, title: f"({'一二三四五六七八'[n - 1]}) {title}"),
    "brackets of another script": lines(lambda n, label, title: f"【{n}】{title}"),
    "formal numbers": lines(lambda n, label, title: f"{'壹貳參肆伍陸柒捌'[n - 1]}、{title}"),
    "ordinals of another language": lines(lambda n, label, title: f"{_PREMIERS[n - 1]} : {title}"),
    "places with a dash": lines(lambda n, label, title: f"{n}-е место — {title}"),
    "rank said twice": lines(lambda n, label, title: f"{n}. {_ORDINALS[n - 1]}: {title}"),
    "counters": lines(lambda n, label, title: f"第{n}名：{label}号"),
    "pictures": lines(lambda n, label, title: f"👉 {label}"),
    "ordinals in digits": lines(
        lambda n, label, title: f"{n}{['st', 'nd', 'rd'][n - 1] if n < 4 else 'th'} place: {title}"
    ),
    "places in another language": lines(lambda n, label, title: f"{n}. Platz: {title}"),
    "ordinal signs": lines(lambda n, label, title: f"{n}º {title}"),
    "rank of all": lines(lambda n, label, title: f"{n}/8: {title}"),
    "escaped dots": lines(lambda n, label, title: f"{n}\\. {title}"),
    "label in angles": lines(lambda n, label, title: f"{n}. <{label}>"),
    "hash": lines(lambda n, label, title: f"#{n}: {title}"),
    "full width": lines(lambda n, label, title: f"{chr(0xFF10 + n)}．{chr(0xFF10 + int(label))}"),
    "Devanagari": lambda shown, order: ", ".join(chr(0x966 + at + 1) for at in order),
    "marks of direction": lambda shown, order: ", ".join(f"\u200f{shown.labels[at]}\u200e" for at in order),
    "table with remarks": lambda shown, order: (
        "| Rank | Book | Why |\n|---|---|---|\n"
        + lines(lambda n, label, title: f"| {n} | {title} | Fits in {n} ways |")(shown, order)
    ),
    "table in a box": lambda shown, order: (
        "┌───┬───┐\n" + lines(lambda n, label, title: f"│ {n} │ {title} │")(shown, order) + "\n└───┴───┘"
    ),
    "table of scores": lambda shown, order: (
        "| Book | Score |\n|---|---|\n"
        + "\n".join(f"| {title} | {99 - 7 * list(order).index(at)} |" for at, title in enumerate(shown.titles))
    ),
    "YAML": lambda shown, order: "ranking:\n" + "\n".join(f"  - {shown.titles[at]}" for at in order),
    "YAML objects": lines(lambda n, label, title: f"- rank: {n}\n  title: {title}"),
    "YAML, two fields": lambda shown, order: (
        "ranking:\n" + lines(lambda n, label, title: f"  - id: {label}\n    title: {title}")(shown, order)
    ),
    "fields in lines": lines(lambda n, label, title: f"Title: {title}\nRank: {n}\nReason: one of {9 - n} that fit\n"),
    "fields on a line": lines(lambda n, label, title: f"Rank: {n}, Title: {title}"),
    "fields with equals signs": lines(lambda n, label, title: f"rank={n} item={label}"),
    "title and label fields": lines(lambda n, label, title: f"{n}. Title: {title}, Label: {label}"),
    "title and score fields": lines(lambda n, label, title: f"{n}. Title: {title}\n   Score: {20 - n}"),
    "LaTeX": lambda shown, order: (
        "\\begin{enumerate}\n" + lines(lambda n, label, title: f"\\item {title}")(shown, order) + "\n\\end{enumerate}"
    ),
    "XML": lines(lambda n, label, title: f'<item rank="{n}">{title}</item>'),
    "notes below": lines(lambda n, label, title: f"{n}. {title}\n   - Genre: novel\n   - Compare: Emma"),
    "Python list": lambda shown, order: str({"ranking": [shown.titles[at] for at in order]}),
    "Python tuple": lambda shown, order: f"ranking = {tuple(shown.titles[at] for at in order)}",
    "JSON, lines in a string": lambda shown, order: json.dumps(
        {"ranking": lines(lambda n, label, title: f"{n}. {title}")(shown, order)}
    ),
    "Python ranks": lambda shown, order: str({n: shown.titles[at] for n, at in enumerate(order, 1)}),
    "JSON, unsorted": lambda shown, order: json.dumps({"results": _objects(shown, order, "rank", "book")}),
    "Python, unsorted": lambda shown, order: str(_objects(shown, order, "position", "title")),
    "JSON, ordinals": lambda shown, order: json.dumps(
        {_ORDINALS[n].lower(): shown.titles[at] for n, at in enumerate(order)}
    ),
    "JSON, one object a rank": lambda shown, order: json.dumps(
        [{f"Rank {n}": shown.titles[at]} for n, at in enumerate(order, 1)]
    ),
    "JSON, titles with scores": lambda shown, order: json.dumps(
        {title: (9 - list(order).index(at)) / 10 for at, title in enumerate(shown.titles)}
    ),
    "JSON, titles with ranks below": lambda shown, order: json.dumps(
        {title: {"rank": list(order).index(at) + 1, "why": "it fits"} for at, title in enumerate(shown.titles)}
    ),
    "Python pairs with scores": lambda shown, order: str(
        [(title, (9 - list(order).index(at)) / 10) for at, title in enumerate(shown.titles)]
    ),
    "JSON, ordinals in digits": lambda shown, order: json.dumps(
        [
            {"position": f"{n}{['st', 'nd', 'rd'][n - 1] if n < 4 else 'th'}", "book": shown.titles[at]}
            for at, n in sorted((at, n) for n, at in enumerate(order, 1))
        ]
    ),
    "JSON, pairs": lambda shown, order: json.dumps([[n, int(shown.labels[at])] for n, at in enumerate(order, 1)]),
    "Python pairs": lambda shown, order: str([(n, shown.titles[at]) for n, at in enumerate(order, 1)]),
    "pairs on a line": lambda shown, order: ", ".join(f"({n},{shown.labels[at]})" for n, at in enumerate(order, 1)),
    "pairs with hyphens": lambda shown, order: ", ".join(f"{n}-{shown.labels[at]}" for n, at in enumerate(order, 1)),
    "ordinals on a line": lambda shown, order: ", ".join(
        f"{n}{['st', 'nd', 'rd'][n - 1] if n < 4 else 'th'}: {shown.titles[at]}" for n, at in enumerate(order, 1)
    ),
    "rank words on a line": lambda shown, order: ", ".join(
        f"Rank {n}: {shown.labels[at]}" for n, at in enumerate(order, 1)
    ),
    "hashes on a line": lambda shown, order: ", ".join(f"#{n} {shown.titles[at]}" for n, at in enumerate(order, 1)),
    "positions on a line": lambda shown, order: ", ".join(
        f"Position {n} = {shown.labels[at]}" for n, at in enumerate(order, 1)
    ),
    "titles and ranks on a line": lambda shown, order: ", ".join(
        f"{shown.titles[at]} ({n})" for n, at in enumerate(order, 1)
    ),
    "labels with a word on a line": lambda shown, order: ", ".join(f"book_{shown.labels[at]}" for at in order),
    "signs between titles": lambda shown, order: ">".join(shown.titles[at] for at in order),
    "caption with an equals sign": lambda shown, order: f"Ranking = {_labels(shown, order)}",
    "caption with a dash": lambda shown, order: f"Ranking - {_labels(shown, order)}",
    "labels and titles on a line": lambda shown, order: ", ".join(
        f"{shown.labels[at]} ({shown.titles[at]})" for at in order
    ),
    "titles and labels on a line": lambda shown, order: ", ".join(
        f"{shown.titles[at]} ({shown.labels[at]})" for at in order
    ),
    "JSON, several lists": lambda shown, order: json.dumps(
        {"history": list(shown.history), "candidates": shown.titles, "ranking": [shown.titles[at] for at in order]}
    ),
    "input, output": lambda shown, order: f"Input: [{', '.join(shown.labels)}]\nOutput: [{_labels(shown, order)}]",
    "draft, final": lambda shown, order: f"Draft:\n{', '.join(shown.labels)}\n\nFinal answer:\n{_labels(shown, order)}",
    "first try": lambda shown, order: f"First try: {', '.join(shown.labels)}\nSecond try: {_labels(shown, order)}",
    "old, new": lambda shown, order: f"Old list: {', '.join(shown.labels)}\nNew list: {_labels(shown, order)}",
    "draft, revised, on lines": lambda shown, order: "\n".join(
        f"{caption}: " + " ".join(f"{n}. {shown.titles[at]}" for n, at in enumerate(listed, 1))
        for caption, listed in (("First draft", sorted(order)), ("Revised", order))
    ),
    "draft, answer in another language": lambda shown, order: (
        f"思考：{', '.join(shown.labels)}\n答案：{_labels(shown, order)}"
    ),
    "two captions": lambda shown, order: f"Step 2: The ranking: {_labels(shown, order)}",
    "worst first": lambda shown, order: f"Ranking (worst first): {_labels(shown, order[::-1])}",
    "criteria before": lambda shown, order: (
        "I considered:\n1. Theme\n2. Length\n\nRanking:\n"
        + lines(lambda n, label, title: f"{n}. {title}")(shown, order)
    ),
    "prompt repeated": lambda shown, order: f"{_shown(shown)}\nRanking: {_labels(shown, order)}",
    "prompt in words": lambda shown, order: (
        f"The candidates are {', '.join(shown.titles[:-1])} and {shown.titles[-1]}.\n\nRanking: {_labels(shown, order)}"
    ),
    "example repeated": lambda shown, order: (
        "I rank all books, in the form 1. [7]:\n" + lines(lambda n, label, title: f"{n}. [{label}]")(shown, order)
    ),
    "groups": lambda shown, order: (
        f"Most likely: {_labels(shown, order[:3])}\nPossible: {_labels(shown, order[3:5])}\n"
        f"Unlikely: {_labels(shown, order[5:])}"
    ),
    "musts": lambda shown, order: "\n\n".join(
        f"**{caption}**\n" + "\n".join(f"- {shown.titles[at]}" for at in part)
        for caption, part in (("Must read", order[:3]), ("Worth a look", order[3:5]), ("Skip", order[5:]))
    ),
    "titles that share a rank": lambda shown, order: "\n".join(
        f"{n}. {shown.titles[one]} / {shown.titles[other]}"
        for n, (one, other) in enumerate(zip(order[::2], order[1::2], strict=True), 1)
    ),
    "ranges of places": lambda shown, order: f"1-3: {_labels(shown, order[:3])}\n4-8: {_labels(shown, order[3:])}",
    "top and rest": lambda shown, order: "Top 3:\n{}\n\nRest:\n{}".format(
        *(
            "\n".join(f"{n}. {shown.titles[at]}" for n, at in enumerate(order, 1) if (n > 3) == rest)
            for rest in (False, True)
        )
    ),
    "also good": lambda shown, order: "{}\n\nHonorable mentions:\n{}".format(
        "\n".join(f"{n}. {shown.titles[at]}" for n, at in enumerate(order[:4], 1)),
        "\n".join(f"- {shown.titles[at]}" for at in order[4:]),
    ),
    "history first": lambda shown, order: (
        f"Read so far: {', '.join(shown.history)}\n\n" + lines(lambda n, label, title: f"{n}. {title}")(shown, order)
    ),
    "caption twice": lambda shown, order: f"Ranking: Ranking: {_labels(shown, order)}",
    "words before": lambda shown, order: f"Sure, {_labels(shown, order)}",
    "sentence": lambda shown, order: f"My ranking is {_labels(shown, order)}.",
    "thoughts in a tag": _thinking("<thinking>\n", "\n</thinking>\n"),
    "thoughts in brackets": _thinking("[THINK]", "[/THINK]"),
    "thoughts in another tag": _thinking("<inner_monologue>", "</inner_monologue>"),
    "thoughts in braces": _thinking("{thinking}", "{/thinking}"),
    "thoughts in steps": _thinking("<reasoning_steps>", "</reasoning_steps>"),
    "thoughts in escaped tags": _thinking("&lt;think&gt;", "&lt;/think&gt;"),
    "thoughts that are folded": _thinking('<details type="reasoning"><summary>Thought</summary>\n', "\n</details>\n"),
    "thoughts in a block of code": _thinking("```thinking\n", "\n```\n"),
    "thoughts of a command line": _thinking("Thinking...\nThey like ", "\n...done thinking.\n\n"),
    "thoughts in a quotation": _thinking("> The reader likes long novels.\n> ", "\n\n"),
    "thoughts in other brackets": _thinking("【思考】", "\n【回答】"),
    "thoughts in round brackets": _thinking("(thinking: ", ")\n"),
    "thoughts that the answer ends": _thinking("<think>", "<answer>"),
    "thoughts in a named tag": _thinking("<seed:think>", "</seed:think>"),
    "thoughts, begun and ended": _thinking("<|begin_of_thought|>", "<|end_of_thought|>\n"),
    "thoughts in unused tokens": _thinking("<unused94>thought\n", "<unused95>"),
    "thoughts in a channel": _thinking(
        "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"
    ),
    "channel without marks": _thinking("analysisThe reader likes novels. ", "\nassistantfinal"),
    "thoughts without a beginning": _thinking("", "</think>"),
    "closing words, a count": _closed("I ranked all 8 books, and the ranking is: 3."),
    "closing words, the ends": _closed("Top pick: 2. Least likely: 1."),
    "closing words, why": _closed("Explanation: I placed 4 first, since the reader liked 2 novels."),
    "closing words, thanks": _closed("Let me know if you want the other 3!"),
}


PAGE = Path(__file__).parent.parent / "docs" / "answers.md"
_TABLE = re.compile(r"(?<=<!-- styles -->\n).*?(?=<!-- end of styles -->)", re.DOTALL)


def page_with_styles(page: str, shown: Listed, order: Sequence[int]) -> str:
    """Return a page whose table has an example of every style: the first places of an answer that ranks in an order."""
    rows = "".join(f"| {name} | {_example(style(shown, order))} |\n" for name, style in STYLES.items())
    return _TABLE.sub(lambda _: f"\n| style | example |\n| --- | --- |\n{rows}\n", page)


def _example(text: str) -> str:
    lines = [line for line in text.split("\n") if line]
    kept = [*lines[:3], "...", lines[-1]] if len(lines) > 5 else lines
    cut = [line if len(line) < 100 else f"{line[:90]} ..." for line in kept]
    return "<br>".join(f"<code>{html.escape(line, quote=False).replace('|', '&#124;')}</code>" for line in cut)


if __name__ == "__main__":
    PAGE.write_text(page_with_styles(PAGE.read_text("utf-8"), numbers(BOOKS, READ), EXAMPLE), "utf-8")
