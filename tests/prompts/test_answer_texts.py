"""Reading an order, and the kind of answer, from whatever a model wrote."""

from string import ascii_uppercase

import pytest

from answer_lists import FILMS, PAST, SHORT, letters, numbers
from llmrs_bench.core.types import Listed
from llmrs_bench.prompts.parsing.answer import parse_ranking


@pytest.mark.parametrize(
    ("text", "order", "kind"),
    [
        # what `listwise` reads
        ("3, 1, 2, 5, 4", [3, 1, 2, 5, 4], "complete"),
        (" [3] > [1] > [2]", [3, 1, 2], "partial"),
        ("Ranking: 2,1", [2, 1], "partial"),
        ("2\n1\n3", [2, 1, 3], "partial"),
        ("2, 2, 1, 2", [2, 1], "duplicates"),
        ("7, 0, 2", [2], "off-list"),
        ("1. [3]\n2. [1]\n3. [2]", [3, 1, 2], "partial"),
        ("1. The Matrix\n2. Heat", [2, 1], "partial"),
        ("2. The Matrix - a classic\n1. Heat (1995)", [2, 1], "partial"),
        ("**4. toy story**", [4], "partial"),
        ("Toy Story 2\nToy Story", [5, 4], "partial"),
        ("1984", [3], "partial"),
        ("Here are the 20 best of the 5 candidates:\n4, 5", [4, 5], "partial"),
        ("I would pick 3 of them.", [], "format"),
        ("5. Toy Story", [4], "partial"),
        ("1. The Matrix Reloaded", [], "off-list"),
        ("1. Heatwave", [], "off-list"),
        ("Toy", [], "format"),
        ("", [], "empty"),
        ("\n\n", [], "empty"),
        ("99999999999999999999", [], "off-list"),
        # numbers
        ("3 1 2 5 4", [3, 1, 2, 5, 4], "complete"),
        ("3 > 1 > 2 > 5 > 4", [3, 1, 2, 5, 4], "complete"),
        ("Final ranking (best first): 3, 1, 2, 5, and 4.", [3, 1, 2, 5, 4], "complete"),
        ("<answer>3, 1, 2, 5, 4</answer>", [3, 1, 2, 5, 4], "complete"),
        ("\\boxed{3, 1, 2, 5, 4}", [3, 1, 2, 5, 4], "complete"),
        ("3，1，2，5，4", [3, 1, 2, 5, 4], "complete"),
        ("```\n3, 1, 2, 5, 4\n```", [3, 1, 2, 5, 4], "complete"),
        ("1) 3\n2) 1\n3) 2\n4) 5\n5) 4", [3, 1, 2, 5, 4], "complete"),
        ("1: 3\n2: 1\n3: 2\n4: 5\n5: 4", [3, 1, 2, 5, 4], "complete"),
        ("1. [3], 2. [1], 3. [2], 4. [5], 5. [4]", [3, 1, 2, 5, 4], "complete"),
        ("Rank 1: 3\nRank 2: 1", [3, 1], "partial"),
        ("Candidate 3\nCandidate 1", [3, 1], "partial"),
        ("1. [3] 1984\n2. [1] Heat", [3, 1], "partial"),
        ("1. [3] 1984 (1984) - bleak, and close\n2. [1] Heat - by Mann", [3, 1], "partial"),
        ("| Rank | Number |\n|---|---|\n| 1 | 3 |\n| 2 | 1 |", [3, 1], "partial"),
        # titles
        ("| Rank | Movie |\n|---|:--|\n| 1 | 1984 |\n| 2 | Heat |", [3, 1], "partial"),
        ("Here is my ranking:\n\n1. **1984** - A grim tale\n2. **Heat**: Crime", [3, 1], "partial"),
        ("- Heat\n- *Toy Story*\n- `The Matrix`", [1, 4, 2], "partial"),
        ('1. "Heat" because of Pacino\n2. "1984"', [1, 3], "partial"),
        ("3. Heat - a crime drama\n", [1], "partial"),
        ("3. Heat - Crime drama", [1], "partial"),
        ("1. Heat - Crime drama", [1], "partial"),
        ("4. Toy Story 3", [], "off-list"),
        ("2. The Matrix Reloaded", [], "off-list"),
        ("1. Heat (1995) 2. Toy Story (1995) 3. 1984", [1, 4, 3], "partial"),
        ("1.Heat 2.Toy Story", [1, 4], "partial"),
        ("1 - Heat, 2 - Toy Story, 3 - The Matrix", [1, 4, 2], "partial"),
        ("1=Heat, 2=Toy Story", [1, 4], "partial"),
        ("1er lugar: Heat\n2do lugar: 1984\n3ro: Toy Story", [1, 3, 4], "partial"),
        ("1ère place : Heat\n2ème place : 1984", [1, 3], "partial"),
        ("1-е место: Heat\n2-е место: 1984", [1, 3], "partial"),
        ("一位　Heat\n二位　1984\n三位　Toy Story", [1, 3, 4], "partial"),
        ("1番目：Heat\n2番目：1984", [1, 3], "partial"),
        ("1· Heat\n2· 1984", [1, 3], "partial"),
        ("90 % Heat\n95 % 1984\n80 % Toy Story", [3, 1, 4], "partial"),
        ('1. Heat ("tense", "long")\n2. 1984 ("grim", "short")', [1, 3], "partial"),
        ('["3, 1, 2"]', [3, 1, 2], "partial"),
        ('{"why": "Toy Story, Heat", "answer": "Heat > 1984"}', [1, 3], "partial"),
        ("Heat, Toy Story, Matrix, The, 1984, Toy Story 2", [1, 4, 2, 3, 5], "complete"),
        ("My order: Heat > 1984 > Matrix", [1, 3, 2], "partial"),
        ("Heat, Toy Story, The Godfather, 1984", [1, 4, 3], "off-list"),
        ("1 Heat\n2 1984\n3 Toy Story 2", [1, 3, 5], "partial"),
        ("48 Heat", [], "format"),
        ("1. Heat\n2. The Godfather", [1], "off-list"),
        ("1. Heat\n   - A tense crime drama\n2. 1984\n   - A dark tale", [1, 3], "partial"),
        ("1. Heat\n2. heat\n", [1], "duplicates"),
        ("1. Toy Story &amp; 2", [], "off-list"),
        ("['Heat', 'Toy Story 2', '1984']", [1, 5, 3], "partial"),
        # JSON
        ("[3, 1, 2, 5, 4]", [3, 1, 2, 5, 4], "complete"),
        ('Sure!\n```json\n{"ranking": [3, 1, 2, 5, 4]}\n```\nThe 5 are ranked.', [3, 1, 2, 5, 4], "complete"),
        ('["Heat", "matrix, the", "Toy Story"]', [1, 2, 4], "partial"),
        ('[{"rank": 1, "id": 3, "title": "1984"}, {"rank": 2, "id": 1, "title": "Heat"}]', [3, 1], "partial"),
        ('[{"rank": 1, "number": 3}, {"rank": 2, "number": 1}]', [3, 1], "partial"),
        ('{"rank": 1, "title": "1984"}\n{"rank": 2, "title": "Heat"}', [3, 1], "partial"),
        ('{"2": "Heat", "1": "1984", "3": 5}', [3, 1, 5], "partial"),
        ('{"1": 3, "2": 1, "3": 2}', [3, 1, 2], "partial"),
        ('{"answer": "3, 1, 2, 5, 4"}', [3, 1, 2, 5, 4], "complete"),
        ('{"ranking": [3, 1, 2, 5, 4', [3, 1, 2, 5, 4], "complete"),
        ('["Heat", "The Godfather"]', [1], "off-list"),
        ("[3, 9]", [3], "off-list"),
        ("[3, 1, 3]", [3, 1], "duplicates"),
        ('[3.0, "1", "[2]", "5. Toy Story 2"]', [3, 1, 2, 5], "partial"),
        ('{"ranking": [3, /* 2 or */ 1, // not [4]\n 2, # 5?\n]}', [3, 1, 2], "partial"),
        ("[\n  3, # best [2]\n  1,\n]", [3, 1], "partial"),
        # what repeats the prompt, or says how many there are
        ("3 items: 5, 4, 1", [5, 4, 1], "partial"),
        ("2 recommended films: Heat, Toy Story", [1, 4], "partial"),
        ("Example output: 1, 4, 3\n\n5, 3", [5, 3], "partial"),
        ("Output format: 1, 2, 3\nOutput: 5, 3", [5, 3], "partial"),
        ("Candidates: 1, 2, 3, 4\n\n5, 3", [5, 3], "partial"),
        ("Candidates:\n[1] Heat\n[2] The Matrix\n\n1984\nHeat", [3, 1], "partial"),
        ("The user chose these:\n- Jaws\n\n[1, 3, 4]", [1, 3, 4], "partial"),
        ("The user chose these:\n- Jaws\n\n[3, 1, 4]", [3, 1, 4], "partial"),
        # nothing
        ("I'm sorry, but I can't rank these.", [], "refused"),
        ("I\u2019m sorry, but I cannot help with that.", [], "refused"),
        ("I cannot rank the candidates without more data.", [], "refused"),
        ("As an AI language model, I have no taste.", [], "refused"),
        ("Sorry, Wrong Number", [], "format"),
        ("I can't decide, so: \n3, 1", [3, 1], "partial"),
        ("The ranking is 3, 1, 2.", [], "format"),
        ('{"3": 0.9, "1": 0.2}', [3, 1], "partial"),
        ("1. First, I looked at the history.\n2. Then I ranked.\n\n3, 1", [3, 1], "partial"),
        ("The user likes films with 3 heroes and 2 villains.", [], "format"),
        ("... --- ...", [], "empty"),
        ("<think>3, 1", [], "empty"),
        ("<think>3, 1</think>2, 4", [2, 4], "partial"),
    ],
)
def test_answers_by_number(text: str, order: list[int], kind: str) -> None:
    ranking = parse_ranking(text, numbers(SHORT))
    assert ([place + 1 for place in ranking.order], ranking.kind) == (order, kind)


@pytest.mark.parametrize(
    ("text", "order", "kind"),
    [
        ("C, A, B, E, D", "CABED", "complete"),
        ("C > A > B", "CAB", "partial"),
        ("C; A; B", "CAB", "partial"),
        ("C\nA\nB", "CAB", "partial"),
        ("1. C\n2. A\n3. [B]", "CAB", "partial"),
        ("[C] 1984\n[A] Heat", "CA", "partial"),
        ("C. 1984\nA. Heat", "CA", "partial"),
        ("**C** - 1984", "C", "partial"),
        ("A. Toy Story", "D", "partial"),
        ("Ranking: C, A", "CA", "partial"),
        ('["C", "A"]', "CA", "partial"),
        ('{"ranking": {"1": "C", "2": "A"}}', "CA", "partial"),
        ("C, A, X", "CA", "off-list"),
        ("A great list follows.", "", "format"),
        ("I think A is best", "", "format"),
        ("A movie I like", "", "format"),
    ],
)
def test_answers_by_letter(text: str, order: str, kind: str) -> None:
    ranking = parse_ranking(text, letters(SHORT))
    assert ("".join(ascii_uppercase[place] for place in ranking.order), ranking.kind) == (order, kind)


@pytest.mark.parametrize(
    ("text", "order", "kind"),
    [
        ("i17, 2858, i3", [0, 1, 2], "complete"),
        ("1. i3\n2. i17", [2, 0], "partial"),
        ("1. 2858\n2. i17", [1, 0], "partial"),
        ("[2858] The Matrix\n[i17] Heat", [1, 0], "partial"),
        ('[{"rank": 1, "item_id": 2858}, {"rank": 2, "item_id": "i3"}]', [1, 2], "partial"),
        ("i17, i99", [0], "off-list"),
        ("2858", [1], "partial"),
    ],
)
def test_answers_by_item_id(text: str, order: list[int], kind: str) -> None:
    ranking = parse_ranking(text, Listed(("i17", "2858", "i3"), ("Heat", "The Matrix", "1984")))
    assert (list(ranking.order), ranking.kind) == (order, kind)


@pytest.mark.parametrize(
    ("text", "titles", "kind"),
    [
        ("1. Sabrina (1995)\n2. Sabrina (1954)", ["Sabrina (1995)", "Sabrina (1954)"], "partial"),
        ("1. Sabrina", [], "format"),
        ("1. The Sabrina (1954)", ["Sabrina (1954)"], "partial"),
        ("1. Sabrina (2001)", [], "off-list"),
        ("1. Les Misérables\n2. Les Miserables (1995)", ["Misérables, Les (1995)"], "duplicates"),
        ("Scream\nScream 2\nScream 3", ["Scream (1996)", "Scream 2 (1997)"], "partial"),
        ("4. Scream 3", [], "off-list"),
        ("4. Scream (1981) - slashing", [], "off-list"),
        ("2 Days in the Valley\n187\n1984", [FILMS[5], FILMS[6], FILMS[7]], "partial"),
        ("187, 3", [FILMS[6], FILMS[2]], "partial"),
        ("M\nEight Days a Week", [FILMS[8], FILMS[9]], "partial"),
        ("1. 12 Monkeys\n2. 2 Days in the Valley", [FILMS[14], FILMS[5]], "partial"),
        ("12 Monkeys", [FILMS[14]], "partial"),
        ("48 Alien", [], "format"),
        ("1. The Good, the Bad and the Ugly", [FILMS[10]], "partial"),
        ("Alien, The Good, the Bad and the Ugly, 187", [FILMS[15], FILMS[10], FILMS[6]], "partial"),
        ("1. Star Wars: Episode IV – A New Hope", [FILMS[11]], "partial"),
        ("1. Star Wars", [], "off-list"),
        ("Sorry, Wrong Number", [FILMS[12]], "partial"),
        ("I Can't Sleep", [FILMS[19]], "partial"),
        ("- Usual Suspects\n- **The Usual Suspects**", [FILMS[13]], "duplicates"),
        ("1. Die Blechtrommel (1979)\n2. Hard", [FILMS[16]], "off-list"),
        ("1. Romeo and Juliet\n2. Romeo &amp; Juliet (1968)", [FILMS[18]], "duplicates"),
        ("1. Seven\n2. Alien", [FILMS[15]], "history"),
        ("7. 187 (1997), 8. 1984 (1984)", [FILMS[6], FILMS[7]], "partial"),
        ("16. Alien 3\n1. Alien: Resurrection (1997)", [], "off-list"),
        ("<ol><li>Alien</li><li>M</li></ol>", [FILMS[15], FILMS[8]], "partial"),
        ('{"picks": [{"rank": 1, "movie": {"title": "Alien"}}]}', [FILMS[15]], "partial"),
        ("1. Aliens\n2. Alien", [FILMS[15]], "history"),
        ("Fargo (1996)", [], "history"),
        ("1. Seven\n2. Fargo\n3. Jaws\n4. Alien", [FILMS[15]], "history"),
        ("1. Seven\n2. Jaws\n3. Alien", [FILMS[15]], "off-list"),
        ('["Seven", "Alien"]', [FILMS[15]], "history"),
        ('[{"title": "Sabrina", "year": 1995}]', ["Sabrina (1995)"], "partial"),
        ("Candidates:\n[1] Sabrina (1954)\n[2] Scream (1996)\n\n12 Monkeys\nScream", [FILMS[14], FILMS[3]], "partial"),
    ],
)
def test_titles_of_films(text: str, titles: list[str], kind: str) -> None:
    ranking = parse_ranking(text, numbers(FILMS, PAST))
    assert ([FILMS[place] for place in ranking.order], ranking.kind) == (titles, kind)


def test_titles_that_fold_alike_are_told_apart_as_they_stand_or_not_at_all() -> None:
    listed = numbers(("Heat?", "Heat"))
    assert parse_ranking("Heat!", listed).order == ()
    assert parse_ranking("Heat", listed).order == (1,)
    assert parse_ranking("\n", numbers(("???",))).kind == "empty"


def test_a_title_of_signs_alone_may_have_a_remark() -> None:
    shown = numbers(("???", "Heat", "Up!"))
    assert parse_ranking("1. Up! - a warm tale\n2. ???: a film that asks\n3. Heat - a chase", shown).order == (2, 0, 1)


@pytest.mark.parametrize(
    "head", ["Trommel, Die - a war story", "La ville est tranquille (1999): a drama", "L' Été: slow"]
)
def test_an_article_may_stand_elsewhere_before_a_remark(head: str) -> None:
    shown = numbers(("Die Trommel (1979)", "Ville est tranquille, La (1999)", "L'Été", "Heat"))
    assert len(parse_ranking(f"1. {head}\n2. Heat - a chase", shown).order) == 2


def test_a_share_before_a_title_is_a_score_unless_it_is_part_of_the_title() -> None:
    assert parse_ranking("50% Heat\n90% Alien", numbers(("Heat", "Alien"))).order == (1, 0)
    wolves = numbers(("Heat", "100% Wolf", "Wolf"))
    assert parse_ranking("100% Wolf\nHeat", wolves).order == (1, 0)
    assert parse_ranking("- 100% Wolf\n- Heat", wolves).order == (1, 0)


@pytest.mark.parametrize(
    ("text", "order", "kind"),
    [
        ("3, 1", (2, 0), "truncated"),
        ("<think>3, 1", (), "truncated"),
        ("Let me see", (), "truncated"),
        ("3, 1, 2, 5, 4\nBecause", (2, 0, 1, 4, 3), "complete"),
        ("  ", (), "empty"),
        ("I'm sorry, but I can't", (), "refused"),
        ('[{"rank": 1, "title": "Heat"}, {"rank": 2, "title": "1984"}, {"ra', (0, 2), "truncated"),
    ],
)
def test_answers_that_ran_into_their_budget(text: str, order: tuple[int, ...], kind: str) -> None:
    ranking = parse_ranking(text, numbers(SHORT), cut=True)
    assert (ranking.order, ranking.kind) == (order, kind)


SHELF_OF_20 = numbers(tuple(f"Film {letter}" for letter in ascii_uppercase[:20]))


@pytest.mark.parametrize(
    ("text", "order"),
    [
        # A span names all labels between its ends.
        ("3, 7, 1, 9-12, 2", [3, 7, 1, 9, 10, 11, 12, 2]),
        ("3, 7, 9 - 12, 2", [3, 7, 9, 10, 11, 12, 2]),
        ("3 > 7 > 9–12", [3, 7, 9, 10, 11, 12]),
        ("[3, 7, 9—12]", [3, 7, 9, 10, 11, 12]),
        ("9...12, 3", [9, 10, 11, 12, 3]),
        ('{"ranking": [3, 7, "9-12"]}', [3, 7, 9, 10, 11, 12]),
        ("1. 3\n2. 7\n3. 9-12", [3, 7, 9, 10, 11, 12]),
        ("- 3\n- 7\n- 9-12", [3, 7, 9, 10, 11, 12]),
        ("3, 7, 1\nThe rest: 9-12", [3, 7, 1, 9, 10, 11, 12]),
        ("9-11, 1-3", [9, 10, 11, 1, 2, 3]),
        # The hyphen separates two labels: one between them is named elsewhere, they fall, or they are neighbours.
        ("9-12, 10, 11", [9, 12, 10, 11]),
        ("3, 7, 1, 5-8, 2", [3, 7, 1, 5, 8, 2]),
        ("3–1, 5", [3, 1, 5]),
        ("5, 3, 1-2", [5, 3, 1, 2]),
        ("3-7-9-12-2", [3, 7, 9, 12, 2]),
        ("3, 18-25", [3, 18]),  # there is no 25
        # Ranks with labels.
        ("1-3, 2-7, 3-1", [3, 7, 1]),
        ("1 - 3\n2 - 7\n3 - 1", [3, 7, 1]),
        ("1-3: 9, 2, 1\n4-6: 7, 8, 20", [9, 2, 1, 7, 8, 20]),
        # A span alone says how many candidates there are.
        ("1-20", []),
        ("Ranking: 1-20", []),
        ("Final ranking: 1-20\n1. 5\n2. 3\n3. 1", [5, 3, 1]),
        ("Ranking 1-20:\n5, 3, 1", [5, 3, 1]),
        ("9 - 12", []),
    ],
)
def test_spans_of_labels_in_a_list_of_numbers(text: str, order: list[int]) -> None:
    assert [place + 1 for place in parse_ranking(text, SHELF_OF_20).order] == order


HYPHENS = numbers(("2-in-1", "Heat", "Ocean's 9-12", "1-3", "24-7", "Alien"))


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("2-in-1, Heat, 1-3, Alien", [1, 2, 4, 6]),
        ("1-3, Heat", [4, 2]),
        ("Heat\n1-3\n2-in-1", [2, 4, 1]),
        ("1. 1-3\n2. Heat\n3. 24-7", [4, 2, 5]),
        ("1. Ocean's 9-12\n2. 2-in-1", [3, 1]),
        ("Heat, Ocean's 9-12, 2-in-1", [2, 3, 1]),
        ("5, 1, 2", [5, 1, 2]),
    ],
)
def test_titles_with_hyphens_are_no_spans(text: str, order: list[int]) -> None:
    assert [place + 1 for place in parse_ranking(text, HYPHENS).order] == order
