"""Examples of another data set: of its training part alone, named as such, and none of them a candidate."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core.config import PrepareConfig, PromptConfig
from llmrs_bench.core.errors import ArtifactError, LeakError, OptionError
from llmrs_bench.core.types import no_progress
from llmrs_bench.core.view_options import ViewOptions
from llmrs_bench.prompts.leakage import check_views
from llmrs_bench.report.words import shared_words
from llmrs_bench.stages.examples import find_domain
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.prompt import prompt
from llmrs_bench.stages.prompt_variants import find_shown, open_views
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.workspace import Data, open_data

SHARED = 10  # titles of the shop that are films, too
FROM_SHOP = {"shots": "3", "shots_from": "shop"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Data:
    """The films, in a home of their own."""
    home = tmp_path_factory.mktemp("home")
    for name, seed in (("small", 0), ("small@other", 1)):
        config = PrepareConfig(dataset="small", n_candidates=10, seed=seed)
        prepare(home, name, config, Origin(raw), no_progress)
    [own] = [path.parent.name for path in home.glob("small/*/data") if path.parent.name != "other"]
    return open_data(home, f"small@{own}")


@pytest.fixture(scope="module")
def novels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of nine users; ids of users and items are those of the films, and ten titles are, spelt otherwise."""
    folder = tmp_path_factory.mktemp("novels")
    events = [f"u{user}\ti{user * 8 + step}\t{step}" for user in range(9) for step in range(8)]
    (folder / "y.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(events))
    titles = [f"i{n}\t{f'FILM number {n} (1999)' if n < SHARED else f'Novel number {n}'}" for n in range(72)]
    (folder / "y.item").write_text("item_id:token\ttitle:token_seq\n" + "\n".join(titles))
    return folder


def shop_of(data: Data, novels: Path, name: str, **options: Any) -> Data:
    home = data.place.root.parents[1]
    config = PrepareConfig(dataset=name, n_candidates=5, **{"item_word": "novel", **options})
    prepare(home, name, config, Origin(novels), no_progress)
    return open_data(home, name)


@pytest.fixture(scope="module")
def shop(data: Data, novels: Path) -> Data:
    return shop_of(data, novels, "shop")


def views(data: Data, **options: Any) -> pl.DataFrame:
    asked = ViewOptions(**options)
    with closing(open_views(data, asked, find_shown(data, asked), history=3, rated=False)) as viewer:
        return viewer.views(data.artifact.table("requests"))


def items_of(examples: Sequence[Mapping[str, Any]]) -> list[str]:
    return [item for example in examples for item in (*example["history"], example["next"])]


def test_examples_are_of_the_training_part_of_other_users(data: Data, shop: Data) -> None:
    events = shop.artifact.table("interactions")
    trained = events.filter(pl.col("part") == "train")
    owner = dict(trained.select("item_id", "user_id").iter_rows())  # each item has one
    held_out = {*shop.artifact.table("truth")["item_id"], *events.filter(pl.col("part") != "train")["item_id"]}
    made = views(data, shots=3, shots_from="shop")
    for row in made.iter_rows(named=True):
        shown = items_of(row["examples"])
        assert not held_out & set(shown)
        owners = [{owner[item] for item in items_of([example])} for example in row["examples"]]
        assert all(len(each) == 1 for each in owners)  # one user's choices
        assert len(set.union(*owners)) == 3  # of three users
        assert row["user_id"] not in set.union(*owners)
    assert made.equals(views(data, shots=3, shots_from="shop"))
    drawn = {tuple(items_of(examples)) for examples in made["examples"].to_list()}
    assert len(drawn) > 1  # for each request anew


def test_no_title_of_a_candidate_or_of_what_is_tested_is_in_an_example(data: Data, shop: Data) -> None:
    names = dict(data.artifact.table("items").select("item_id", "title").iter_rows())
    others = dict(shop.artifact.table("items").select("item_id", "title").iter_rows())
    truth = dict(data.artifact.table("truth").select("request_id", "item_id").iter_rows())
    left_out = 0
    for row in views(data, shots=8, shots_from="shop").iter_rows(named=True):
        shown = {others[item].casefold().removesuffix(" (1999)") for item in items_of(row["examples"])}
        assert not shown & {names[item].casefold() for item in row["candidates"]}
        assert names[truth[row["request_id"]]].casefold() not in shown
        left_out += len(shown & {title.casefold() for title in names.values()})
    assert left_out  # other shared titles stay


@pytest.mark.parametrize("template", ["listwise", "likelihood", "yes-no", "pairwise", "label", "setwise"])
def test_the_text_says_that_they_are_of_another_domain(data: Data, shop: Data, template: str) -> None:
    made = prompt(data, PromptConfig(template=template, options={**FROM_SHOP, "shots": "2"})).artifact
    told = made.table("prompts")["messages"].to_list()[0][0]["content"]
    [part] = [paragraph for paragraph in told.split("\n\n") if paragraph.startswith("Here are examples")]
    first, *steps = part.splitlines()
    assert first.startswith("Here are examples from another domain, novels. The question below is about items")
    assert len(steps) == 2
    assert all(step.startswith("After ") and ", another user chose " in step for step in steps)
    titles = dict(shop.artifact.table("items").select("item_id", "title").iter_rows())
    [shown] = made.table("views").filter(pl.col("request_id") == made.table("prompts")["request_id"][0])["examples"]
    assert [step.rpartition(" chose ")[2] for step in steps] == [f"{titles[each['next']]} next." for each in shown]
    assert "novel" not in told.replace(part, "").casefold()


def test_items_of_one_word_are_of_another_collection(data: Data, novels: Path) -> None:
    shop_of(data, novels, "goods", item_word="item")
    told = prompt(data, PromptConfig(options={**FROM_SHOP, "shots_from": "goods"})).artifact.table("prompts")[
        "messages"
    ][0][0]["content"]
    assert "Here are examples from another collection of items. None of them answers the question below." in told


def test_the_data_of_the_examples_are_in_the_identity_of_prompts(data: Data, shop: Data, novels: Path) -> None:
    first = prompt(data, PromptConfig(options=FROM_SHOP)).artifact
    domain = first.facts["examples_of"]
    assert domain["dataset"] == shop.place.reference
    assert (domain["item_word"], domain["users"], domain["same_titles"]) == ("novel", 9, SHARED)
    assert (domain["same_users"], domain["tested_users"]) == (9, data.artifact.manifest.tables["requests"].rows)
    shop_of(data, novels, "stories", item_word="story")
    again = prompt(data, PromptConfig(options={**FROM_SHOP, "shots_from": "stories"})).artifact
    assert first.manifest.inputs["examples"] != again.manifest.inputs["examples"]
    assert first.path != again.path


def test_examples_of_the_same_items_under_another_name_are_a_warning(data: Data, shop: Data, novels: Path) -> None:
    made = prompt(data, PromptConfig(options=FROM_SHOP)).artifact
    assert made.facts["warnings"] == []  # 10 of 60 titles
    one, size = made.facts["examples_of"], data.artifact.manifest.tables["items"].rows
    assert (one["target"], one["target_items"]) == (data.place.reference, size)
    [said] = shared_words({"examples_of": {**one, "same_titles": (size + 1) // 2}})
    users = f"{one['same_users']} of {one['tested_users']} test users have the id of a user there"
    share = 100 * ((size + 1) // 2) / size
    assert f"{share:.0f} % of the {size} titles of {data.place.reference} are in both data sets ({users})" in said
    assert "use a data set of other items, or -T shots_from=similar" in said
    assert "100 % of the 6 titles of shop" in shared_words({"examples_of": {**one, "items": 6, "dataset": "shop"}})[0]
    earlier = {name: value for name, value in one.items() if not name.startswith("target")}
    assert shared_words({"examples_of": earlier}) == []
    assert shared_words({}) == []


def test_a_target_whose_title_stands_in_the_examples_is_a_leak(data: Data, shop: Data) -> None:
    domain = find_domain(data, ViewOptions(shots=1, shots_from="shop"))
    assert domain is not None
    assert domain.same["i3"] == {"i3"}  # "FILM number 3 (1999)" is "Film number 3"
    assert "i20" not in domain.same
    told = views(data, shots=1, shots_from="shop").head(1)
    shown = [{"history": ["i20"], "next": "i3"}]
    leaky = told.with_columns(examples=pl.Series([shown], dtype=told.schema["examples"]))
    truth = pl.DataFrame({"request_id": told["request_id"], "item_id": ["i3"], "label": [1.0]})
    titles = dict(data.artifact.table("items").select("item_id", "title").iter_rows())
    with pytest.raises(LeakError, match="'i3' outside the candidates, in the examples"):
        check_views(leaky, truth, titles, domain.same)
    known = leaky.with_columns(history=pl.Series([["i3"]], dtype=told.schema["history"]))
    assert check_views(known, truth, titles, domain.same) == 1  # no secret: the user chose it before
    assert check_views(leaky, truth.with_columns(item_id=pl.lit("i20")), titles, domain.same) == 0


@pytest.mark.parametrize(
    ("name", "shots", "words"),
    [
        (
            "small",
            1,
            "is the data set that is asked about. Examples of other users of the same data set are -T shots_from",
        ),
        ("small@other", 1, "the same data in another split, so its training part may hold what is tested"),
        ("shopp", 1, "unknown value of shots_from 'shopp'. Did you mean 'shop'?"),
        ("ml25m", 1, "shots_from=ml25m: data set 'ml25m' is not prepared"),
        ("shop", 10, "shots=10 takes as many users of shop@"),
    ],
)
def test_what_no_example_can_be_of_is_said(data: Data, shop: Data, name: str, shots: int, words: str) -> None:
    name = data.place.reference if name == "small" else name
    with pytest.raises((OptionError, ArtifactError)) as caught:
        views(data, shots=shots, shots_from=name)
    assert words in f"{caught.value}. {caught.value.hint}"


def test_clicks_are_no_examples(data: Data, shop: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Data, "task", "click")
    with pytest.raises(OptionError, match="shots_from=shop was prepared with --task click"):
        find_domain(data, ViewOptions(shots=1, shots_from="shop"))
