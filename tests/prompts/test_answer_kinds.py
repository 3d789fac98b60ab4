"""Answers that are no plain list: other titles, refusals, what was cut off, titles that are numbers, other scripts."""

import pytest

from answer_lists import BOOKS, READ, letters, numbers
from llmrs_bench.core.types import Listed
from llmrs_bench.prompts.parsing.answer import parse_ranking

SHELF = numbers(BOOKS, READ)
TWELVE = numbers((*BOOKS, "Dune", "It", "Beloved", "The Trial"), READ)


def read(text: str, shown: Listed, *, cut: bool = False) -> tuple[list[int], str]:
    ranking = parse_ranking(text, shown, cut=cut)
    return [place + 1 for place in ranking.order], ranking.kind


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("1. Dracula, Book Two\n2. Frankenstein Unbound\n3. Dracula: Reborn", []),
        ("1. Dracula 2\n2. Catch-23\n3. Ulysses", [8]),
        ("1. Persuasions\n2. 1984", [4]),
        ("1. Dracula, Dracula\n2. Ulysses", [8]),
        ("1. Dracula / Ivanhoe\n2. Ulysses", [8]),
        ("1. Dracula II\n2. Ulysses Returns\n3. Middlemarch", [7]),
        ("1. Dracula's Guest\n2. Bride of Frankenstein\n3. Ulysses", [8]),
        ("1. Dracula - Part 3\n2. Middlemarch", [7]),
        ("2. Dracula: The Sequel", []),
        ('["Draculas", "Ulysses"]', [8]),
        ("Ranking: 1. Ulysses\nRanking: 2. Ivanhoe", [8]),
        ("Ranking: 1. Ulysses\n2. Ivanhoe\n3. Dracula", [8, 2]),
        ("Pick 1: Dracula\nPick 2: Ivanhoe", [2]),
    ],
)
def test_a_longer_title_is_another_item(text: str, order: list[int]) -> None:
    assert read(text, SHELF) == (order, "off-list")


@pytest.mark.parametrize(
    "text",
    [
        "Unable to help with this request.",
        "I'm not able to do that.",
        "That would not be appropriate.",
        "I must decline.",
        "Sorry, I can't do that:\n1. There is no data.\n2. I do not know the reader.",
        "Je suis désolé, mais je ne peux pas vous aider.",
        "Lo siento, no puedo ayudar con eso.",
        "Es tut mir leid, ich kann das nicht.",
        "Mi dispiace, ma non posso farlo.",
        "抱歉，我无法完成这个任务。",
        "I refuse.",
        "I must refuse to order books.",
        "Your request violates my guidelines.",
        "I'd rather not rank these.",
        "I'm only a language model, so I have no opinion.",
    ],
)
def test_a_refusal_in_any_words_is_one(text: str) -> None:
    assert read(text, SHELF) == ([], "refused")


@pytest.mark.parametrize("start", ["I can't wait to share this:", "I'm sorry to keep you waiting. The ranking:"])
def test_an_answer_that_sounds_like_a_refusal_is_read(start: str) -> None:
    assert read(f"{start}\n7, 2, 5, 1, 8, 4, 3, 6", SHELF) == ([7, 2, 5, 1, 8, 4, 3, 6], "complete")


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("11, 4, 6, 1", [11, 4, 6]),  # 1 may be the beginning of 12
        ("11, 4, 6, 1,", [11, 4, 6, 1]),
        ("11, 4, 6", [11, 4, 6]),
        ("1. 4\n2. 11\n3. 1", [4, 11]),
        ("1. Ulysses\n2. Dracula\n1", [8, 2]),
        ("Ranking: 9. Ulysses\nRanking: 1", [8]),
        ('{"ranking": [11, 4, 1', [11, 4]),
        ('["Ulysses", "Catch-22", "Mid', [8, 5]),
        ("1. Ulysses\n2. It", [8, 10]),
        ("<think>4, 5", []),
        ("[THINK]4, 5", []),
        ("analysisLet me see. 4, 5", []),
    ],
)
def test_what_the_budget_cut_off_does_not_vote(text: str, order: list[int]) -> None:
    assert read(text, TWELVE, cut=True) == (order, "truncated")


def test_a_title_that_may_go_on_does_not_vote_where_it_is_cut_off() -> None:
    shown = numbers(("Ghost", "Ghosts", "Jaws"))
    assert read("1. Jaws\n2. Ghost", shown, cut=True) == ([3], "truncated")
    assert read("1. Jaws\n2. Ghost\n", shown, cut=True) == ([3, 1], "truncated")


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ('["12", "Jaws", "Gravity"]', [1, 6, 2]),
        ("1. 7\n2. Jaws\n3. Gravity", [4, 6, 2]),
        ("- 300\n- 7\n- Gravity", [3, 4, 2]),
        ("7, 2, 1", [7, 2, 1]),
    ],
)
def test_a_number_among_titles_is_a_title(text: str, order: list[int]) -> None:
    assert read(text, numbers(("12", "Gravity", "300", "7", "9", "Jaws", "21")))[0] == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("1. La ville\n2. Amelia\n3. The Sea", [1, 2, 5]),
        ('["Il Mare", "Night (Nacht)", "City of Lights"]', [5, 4, 1]),
        ("Amelie Rose, Plain, Il Mare", [2, 6, 5]),
        ("1. Night\n2. Plain", [6]),  # two are called Night
    ],
)
def test_either_title_names_an_item_where_one_alone_fits(text: str, order: list[int]) -> None:
    titles = ("City of Lights (La ville)", "Amelia (Amelie Rose)", "Night (Notte)", "Night (Nacht)")
    assert read(text, numbers((*titles, "Il Mare (The Sea) (1999)", "Plain")))[0] == order


@pytest.mark.parametrize(
    ("titles", "text", "order"),
    [
        (("東京物語", "七人の侍", "羅生門", "生きる"), "1. 七人の侍 - 傑作\n2. 生きる：名作", [2, 4]),
        (("東京物語", "七人の侍", "羅生門", "生きる"), "七人の侍、生きる、羅生門、東京物語", [2, 4, 3, 1]),
        (
            ("東京物語", "七人の侍", "羅生門", "生きる"),
            "| 順位 | 映画 |\n|---|---|\n| 1 | 生きる |\n| 2 | 羅生門 |",
            [4, 3],
        ),
        (("दंगल", "शोले", "लगान"), "१. शोले - शानदार\n२. लगान - बढ़िया", [2, 3]),
        (("दंगल", "शोले", "लगान"), "१। शोले\n२। लगान\n३। दंगल", [2, 3, 1]),
        (("باران", "رنگ خدا"), "رنگ خدا، باران", [2, 1]),
        (("괴물", "기생충", "박쥐"), "1순위: 기생충\n2순위: 박쥐\n3순위: 괴물", [2, 3, 1]),
        (("東京物語", "生きる"), "第一位：生きる\n第二位：東京物語", [2, 1]),
        (
            ("باران", "رنگ خدا", "آواز گنجشک‌ها"),
            "\u200f1. \u200fرنگ خدا - زیبا\n\u200f2. \u200fآواز گنجشکها - خوب",
            [2, 3],
        ),
        (
            ("dark waters", "bright star", "the hours"),
            "1. the hours - a slow drama\n2. bright star - a love story",
            [3, 2],
        ),
    ],
)
def test_scripts_without_capitals_are_read(titles: tuple[str, ...], text: str, order: list[int]) -> None:
    assert read(text, numbers(titles))[0] == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("1. D\n2. A\n3. C", "DAC"),
        ("a) D\nb) A\nc) C", "DAC"),
        ("D: 9\nA: 8\nC: 5", "DAC"),
        ("1. Option D: 1984\n2. Option A: Persuasion", "DA"),
        ("1. (D) 1984 — Because it is good\n2. (A) Persuasion — Because it is good", "DA"),
        ("The best is D. Then A.", ""),
    ],
)
def test_letters_are_labels_or_ranks(text: str, order: str) -> None:
    found = parse_ranking(text, letters(BOOKS)).order
    assert "".join("ABCDEFGH"[place] for place in found) == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Rank: 4\n\nThe user chose 4 books:\n[1] Persuasion\n[2] Dracula\n[3] Frankenstein\n[4] 1984", [4]),
        ("3, 1, 2, 4, 5, 6, 7, 8\n\n1. Because 2 is dark.\n2. 1984 is grim.", [3, 1, 2, 4, 5, 6, 7, 8]),
        ("You gave me these: Persuasion, Dracula, Frankenstein, 1984.", []),
        ("The reader knows 3 of the 8 books.", []),
        ("Ranking: 5, 7\n\nThe user chose 8 books, and the ranking is: 8.", [5, 7]),
    ],
)
def test_what_repeats_the_prompt_or_explains_is_no_ranking(text: str, order: list[int]) -> None:
    assert read(text, SHELF)[0] == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Dracula: -3.5\nUlysses: -0.25\nPersuasion: -1.5", [8, 1, 2]),
        ("Dracula = \u22123.5\nUlysses = \u22120.25\nPersuasion = \u22121.5", [8, 1, 2]),
        ("Dracula (-3)\nUlysses (+2)\nPersuasion (1)", [8, 1, 2]),
        ("2: -40 %\n8: 60 %\n1: 20 %", [8, 1, 2]),
        ("Dracula: 4e-3\nUlysses: 2e-1\nPersuasion: 5e-2", [8, 1, 2]),
        ("| Book | Log-probability |\n|---|---|\n| Dracula | -3.5 |\n| Ulysses | -0.25 |", [8, 2]),
        ('[{"title": "Dracula", "score": "-3"}, {"title": "Ulysses", "score": "-1"}]', [8, 2]),
        ("Dracula: 0.1\nUlysses: 0.8", [8, 2]),
        ("Dracula \u2605\nUlysses \u2605\u2605\u2605\u2605\nPersuasion \u2605\u2605\u2606", [8, 1, 2]),
        ('{"perplexity": {"Dracula": 9.5, "Ulysses": 2.5}}', [8, 2]),
    ],
)
def test_the_better_score_is_first_whatever_its_sign(text: str, order: list[int]) -> None:
    assert read(text, SHELF)[0] == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Not recommended: 1, 2\n\nRecommended: 7, 8", [7, 8, 1, 2]),
        ("Avoid:\n- Dracula\n- 1984\n\nRanking:\n- Ulysses\n- Middlemarch", [8, 7, 2, 4]),
        ("Low: 1, 2\nMedium: 3\nHigh: 7, 8", [7, 8, 3, 1, 2]),
        ("Worst two: 1, 2\nBest two: 7, 8", [7, 8, 1, 2]),
        ('{"rejected": [1, 2], "ranking": [7, 8]}', [7, 8, 1, 2]),
        ('{"unlikely": [1, 2], "most_likely": [7, 8]}', [7, 8, 1, 2]),
        ("The reader would not enjoy: 1, 2, 3", []),
        ("Least likely to be read: 1, 2, 3", []),
        ("None of these: 1, 2", []),
        ("~~1, 2, 3~~\n7, 8, 4", [7, 8, 4]),
        ("1. ~~Dracula~~\n2. Ulysses\n3. Persuasion", [8, 1]),
    ],
)
def test_what_is_called_bad_is_not_ranked_first(text: str, order: list[int]) -> None:
    assert read(text, SHELF)[0] == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("From least to most likely: 1, 2, 8", [8, 2, 1]),
        ("The books from worst to best:\n1. Persuasion\n2. Dracula\n3. Ulysses", [8, 2, 1]),
        ("In ascending order of preference: 1, 2, 8", [8, 2, 1]),
        ("Von der schlechtesten bis zur besten Wahl", []),
        ("Vom schlechtesten zum besten: 1, 2, 8", [8, 2, 1]),
        ("De peor a mejor: 1, 2, 8", [8, 2, 1]),
        ("1 < 2 < 8", [8, 2, 1]),
        ("3. Persuasion\n2. Dracula\n1. Ulysses", [8, 2, 1]),
        ("#3: book 1\n#2: book 4\n#1: book 8", [8, 4, 1]),
        ("From most to least likely: 8, 2, 1", [8, 2, 1]),
        ("3. Frankenstein\n2. Dracula\n1. Persuasion", [3, 2, 1]),
    ],
)
def test_the_direction_that_an_answer_declares_is_followed(text: str, order: list[int]) -> None:
    assert read(text, SHELF)[0] == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Dracula \u2192 3\nUlysses \u2192 1\nPersuasion \u2192 2", [8, 1, 2]),
        ("Dracula: 3rd\nUlysses: 1st\nPersuasion: 2nd", [8, 1, 2]),
        ("Dracula - rank 3\nUlysses - rank 1\nPersuasion - rank 2", [8, 1, 2]),
        ("Dracula: #2\nUlysses: #1", [8, 2]),
        ("Dracula (2)\nUlysses (8)\nPersuasion (1)", [2, 8, 1]),
        ("Dracula: 3\nUlysses: 1\nPersuasion: 2", []),
        ("Dracula: no\nUlysses: yes\nPersuasion: no", []),
        ("Dracula: low\nUlysses: high\nPersuasion: medium", []),
        ("1. Persuasion: low\n2. Dracula: high\n3. Frankenstein: medium", []),  # the numbers are those of the books
        ("1. Persuasion (2/10)\n2. Dracula (9/10)\n3. Frankenstein (5/10)", [2, 3, 1]),
        ("1. Dracula (2/10)\n2. Ulysses (9/10)\n3. Persuasion (5/10)", [2, 8, 1]),  # and here they are ranks
        ("| Rank | Book | Score |\n|---|---|---|\n| 1 | Persuasion | 2 |\n| 2 | Dracula | 9 |", [1, 2]),
        ("Dracula: 3/10 (dull)\nUlysses: 9/10 (long)", [8, 2]),
        ("Dracula: .5\nUlysses: .75\nPersuasion: .25", [8, 2, 1]),
        ("Item 2 gets 85 points, item 8 gets 91 points, item 1 gets 10 points.", []),
        ("| Book | Read? |\n|---|---|\n| Dracula | No |\n| Ulysses | Yes |", []),
        ("Please send the books. Format: 1, 2, 3", []),
        ("1-8", []),
        ("8, 2, 1\n\nUser: And now?\nAssistant: 3, 4", [8, 2, 1]),
    ],
)
def test_what_stands_behind_a_title_is_understood_or_nothing_is_read(text: str, order: list[int]) -> None:
    assert read(text, SHELF)[0] == order


DATED = (
    "Sorry, Wrong Sister (1948)",
    "Long Walk, The (1979)",
    "50/50",
    "100% Owl",
    "(300) Nights of June",
    "Ice Runner: The Final Cut",
    "Die Harder",
    "Zoë",
)


@pytest.mark.parametrize(
    "text",
    [
        '["Die Harder", "Zoë", "Sorry, Wrong Sister (1948)", "Long Walk, The (1979)"]',
        "- Die Harder (1951)\n- Zoë (2001)\n- Sorry, Wrong Sister (1948)\n- Long Walk, The (1979)",
        "ranking:\n  - Die Harder\n  - Zoë\n  - Sorry, Wrong Sister (1948)\n  - The Long Walk (1979)",
        "7 (Die Harder), 8 (Zoë), 1 (Sorry, Wrong Sister (1948)), 2 (Long Walk, The (1979))",
        "Die Harder (7), Zoë (8), Sorry, Wrong Sister (1948) (1), Long Walk, The (1979) (2)",
    ],
)
def test_a_year_is_no_score_and_a_comma_may_be_one_of_the_title(text: str) -> None:
    assert read(text, numbers(DATED))[0] == [7, 8, 1, 2]


def test_years_alone_do_not_sort_a_list() -> None:
    shown = numbers(("Heat (1995)", "Jaws (1975)", "Up (2009)", "Alien (1979)"))
    assert read('["Jaws (1975)", "Up (2009)", "Alien (1979)", "Heat (1995)"]', shown) == ([2, 3, 4, 1], "complete")
    assert read("- Jaws (1975)\n- Heat (1995)\n- Up (2009)", shown) == ([2, 1, 3], "partial")


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("1. Zoë\n   - Genre: drama\n   - Compare: Emma\n2. 50/50\n   - Genre: drama\n3. Die Harder", [8, 3, 7]),
        ("1/3: Zoë\n2/3: 50/50\n3/3: Die Harder", [8, 3, 7]),
        ("- 100% Owl: a warm tale of birds\n- Zoë: a quiet tale of a girl", [4, 8]),
        ("[0.7] (300) Nights of June\n[0.9] Zoë\n[0.8] 50/50", [8, 3, 5]),
        ("The candidates are 50/50, Ice Runner: The Final Cut, Zoë.\n\nRanking: Zoë > 50/50", [8, 3]),
    ],
)
def test_titles_with_signs_and_numbers_are_titles(text: str, order: list[int]) -> None:
    assert read(text, numbers(DATED, READ))[0] == order


def test_a_repeated_prompt_is_no_final_list_because_a_title_has_that_word() -> None:
    told = f"The candidates are {', '.join(DATED[:-1])} and {DATED[-1]}."
    assert read(f"{told}\n\nRanking: 8, 1, 7, 3, 5, 2, 4, 6", numbers(DATED))[0] == [8, 1, 7, 3, 5, 2, 4, 6]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("1: 98\n2: 97\n3: 90\n4: 88", [1, 2, 3, 4]),
        ("1: 60\n2: 97\n3: 90\n4: 88", [2, 3, 4, 1]),
        ("1: 8\n2: 7\n3: 4\n4: 3", [8, 7, 4, 3]),  # labels behind ranks
    ],
)
def test_numbers_of_no_candidate_behind_labels_are_scores(text: str, order: list[int]) -> None:
    assert read(text, SHELF)[0] == order


@pytest.mark.parametrize(
    "text",
    ["(1,D), (2,A), (3,C)", "1-D, 2-A, 3-C", "1. <D>\n2. <A>\n3. <C>", "1 -> D, 2 -> A, 3 -> C", "1=D; 2=A; 3=C"],
)
def test_ranks_before_letters_are_ranks(text: str) -> None:
    assert [("ABCDEFGH")[place] for place in parse_ranking(text, letters(BOOKS)).order] == ["D", "A", "C"]


def test_words_before_letters_are_no_labels() -> None:
    assert parse_ranking("Sure, D, A, C, B", letters(BOOKS[:4])).order == (3, 0, 2, 1)
    assert parse_ranking("Sure thing! D, A, C, B", letters(BOOKS[:4])).order == (3, 0, 2, 1)


def test_notes_below_titles_end_no_list_whatever_labels_are() -> None:
    text = "\n".join(f"{n}. {title}\n   - Genre: novel\n   - Compare: Emma" for n, title in enumerate(BOOKS[::-1], 1))
    assert parse_ranking(text, Listed(tuple("ABCDEFGH"), BOOKS, READ)).order == (7, 6, 5, 4, 3, 2, 1, 0)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("7 (98%), 3 (91%), 8 (70%)", [7, 3, 8]),
        ("Middlemarch ... 98\nFrankenstein ... 91\nUlysses ... 90", [7, 3, 8]),
        ('Draft answer: {"ranking": [1, 2, 3]}\nCorrected answer: {"ranking": [7, 3, 8]}', [7, 3, 8]),
        ("1. Dracula = Ulysses\n2. Persuasion", [2, 8, 1]),
        ("7 (long), 3 (sad), 8 (dense)", [7, 3, 8]),
        ("Middlemarch, then Frankenstein, then Ulysses.", [7, 3, 8]),
        ("Preliminary result: 1, 2, 3\nResult: 7, 3, 8", [7, 3, 8]),
        ("[ANSWER]7, 3, 8[/ANSWER]", [7, 3, 8]),
        ("[Final ranking]\n7, 3, 8", [7, 3, 8]),
        ("Good:\n- Middlemarch\n- Frankenstein\n\nNot a match:\n- 1984", [7, 3, 4]),
        ("Best: 7\nSecond: 3\nThird: 8", [7, 3, 8]),
        ("Top pick: Middlemarch\nRunner-up: Frankenstein\nThird: Ulysses", [7, 3, 8]),
    ],
)
def test_lists_in_other_words_are_read(text: str, order: list[int]) -> None:
    assert read(text, SHELF)[0] == order


@pytest.mark.parametrize(
    "text", ["I'm afraid I can't rank books.", "It's not possible to rank these.", "I am afraid this isn't possible."]
)
def test_fear_declines_too(text: str) -> None:
    assert read(text, SHELF) == ([], "refused")


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Rank,Book,Why\n1,Middlemarch,slow\n2,1984,grim\n3,Ulysses,long", [7, 4, 8]),
        ("1. 7 - slow and long\n2. 4 - grimmer\n3. 8 - longer", [7, 4, 8]),
        ('{"ranking": [{"7": "Middlemarch"}, {"4": "1984"}]}', [7, 4]),
        ("{7: 'Middlemarch', 4: '1984', 8: 'Ulysses'}", [7, 4, 8]),
        ("Rank 1 (best): 7\nRank 2: 4\nRank 3: 8", [7, 4, 8]),
        ("7, then 4, then 8, and finally 1", [7, 4, 8, 1]),
        ("1. Middlemarch by the Victorians\n2. Catch22\n3. Ulysses", [7, 5, 8]),
    ],
)
def test_more_ways_to_write_a_rank_a_label_and_a_title(text: str, order: list[int]) -> None:
    assert read(text, SHELF)[0] == order


def test_a_title_without_its_signs_is_one_but_numbers_are_not_joined() -> None:
    shown = numbers(("Spider-Owl", "G*N*O*M*E", "12", "1 2 3 4"))
    assert read("1. Spiderowl\n2. GNOME", shown)[0] == [1, 2]
    assert read("1. Spider\n2. Spiderowls", shown)[0] == []
    assert read("1 2", shown)[0] == [1, 2]


def test_records_of_which_one_lacks_a_field_are_read_though_their_ranks_do_not_count() -> None:
    text = "1. Title: Ulysses\n   Score: 9\n2. Title: Dracula\n7. Title: 1984\n   Score: 7\n3. Title: Emma\n   Score: 6"
    assert read(text, SHELF) == ([8, 2, 4], "history")


@pytest.mark.parametrize(
    "text",
    [
        "Ik kan deze vraag niet beantwoorden.",
        "Üzgünüm, buna yardımcı olamam.",
        "Nie mogę tego ocenić.",
        "Maaf, saya tidak bisa membantu.",
        "Xin lỗi, tôi không thể giúp.",
        "Λυπάμαι, δεν μπορώ.",
        "क्षमा करें, मैं यह नहीं कर सकता।",
        "ขออภัย ฉันไม่สามารถทำได้",
        "لا أستطيع المساعدة.",
        "Leider kann ich das nicht sagen.",
        "Not enough information.",
        "We regret that we can't do this.",
    ],
)
def test_a_refusal_in_more_languages_is_one(text: str) -> None:
    assert read(text, SHELF) == ([], "refused")


def test_praise_that_sounds_like_declining_is_none() -> None:
    assert read("I can't recommend Ulysses enough:\n\n1. Ulysses\n2. Dracula", SHELF) == ([8, 2], "partial")


@pytest.mark.parametrize(
    ("text", "order", "cut"),
    [
        ("Title: 1984, Rank: 2\nTitle: Dracula, Rank: 1\nTitle: Ulysses, Rank: 3\nTitle: Cat", [2, 4, 8], True),
        ('[{"id": 7, "score": 0.4}, {"id": 4, "score": 0.', [7, 4], True),
        ("Creation, 3, 1", [], False),
    ],
)
def test_what_is_cut_off_spoils_no_other_record(text: str, order: list[int], cut: bool) -> None:
    assert read(text, SHELF, cut=cut)[0] == order


def test_a_number_that_is_a_title_may_begin_a_line_of_titles() -> None:
    shown = numbers(("1984", "Heat (1995)", "1917 (2019)", "Up (2009)"))
    assert read("1917, Up, 1984, Heat", shown) == ([3, 4, 1, 2], "complete")
    assert read("1984>Up>1917", shown)[0] == [1, 4, 3]
    assert read("- 1917 (2019): 9\n- Up (2009): 7\n- Heat (1995): 8", shown)[0] == [3, 2, 4]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("2/8: Dracula\n3/8: 1984\n4/8: Ulysses", [2, 4, 8]),  # ranks of eight
        ("8/8: Dracula\n3/8: 1984\n1/8: Ulysses", [2, 4, 8]),  # scores that fall
        ("5/10: Dracula\n9/10: 1984\n7/10: Ulysses", [4, 8, 2]),
        ("Dracula (2), 1984 (4), Ulysses (8), Ivanhoe (1)", [2, 4, 8]),
        ("Persuasion (1), 1984 (2), Ulysses (3)", [1, 4, 8]),
        ("Dracula: 3 points\n1984: 5 points\nUlysses: 1 point", [4, 2, 8]),
        ("1. Ulysses\n2. 1984\n\nAlso good:\n- Dracula\n- Persuasion", [8, 4, 2, 1]),
        ("1. Ulysses - quick\n2. 1984: Reborn", [8]),
        ("1. 1984 by Orwell\n2. Dracula by Bram Stoker", [4, 2]),
        ("final\n8, 4, 2", [8, 4, 2]),
        ("Rank 1: Rank 1: Ulysses\nRank 2: Rank 2: Dracula", [8, 2]),
    ],
)
def test_numbers_beside_titles_mean_what_their_list_makes_of_them(text: str, order: list[int]) -> None:
    assert read(text, numbers(BOOKS))[0] == order


def test_the_user_turn_and_marks_of_turns_are_no_answer() -> None:
    for mark in ("<|assistant|>\n", "<|start_header_id|>assistant<|end_header_id|>\n\n", "<start_of_turn>model\n"):
        assert read(f"{mark}8, 4, 2", SHELF) == ([8, 4, 2], "partial")


@pytest.mark.parametrize("text", ["\x1b[31m8\x07, 4, 2\x1b[0m\0", "8, 4, 2 \ufffd\ufffd", "8\x00, 4\x01, 2\x7f"])
def test_colours_controls_and_lost_characters_are_nothing(text: str) -> None:
    assert read(text, SHELF) == ([8, 4, 2], "partial")


@pytest.mark.parametrize("shown", [SHELF, letters(BOOKS)])
@pytest.mark.parametrize(
    "text",
    ["3, 1, 2", "C,A,B", "1 2 3 4 5 6 7 8", "2, 2, 1", "99, 1", "ANALYSISA, B", "USER A B", "A", "7", " , ", "0 3"],
)
def test_labels_alone_are_read_as_in_an_answer_of_lines(text: str, shown: Listed) -> None:
    """What only has numbers and capital letters is not searched for thoughts and marks, of which it has none."""
    assert read(text, shown) == read(f"{text}\n", shown)
