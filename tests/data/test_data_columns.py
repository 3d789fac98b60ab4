"""Which column is read as what, and what is said about values that may mean something else."""

import re
from pathlib import Path

import pytest

from llmrs_bench.core.errors import BenchError, DataError, OptionError
from llmrs_bench.data.atomic import Atomic
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import Raw, without_markup
from llmrs_bench.data.tables import Tables

SONGS = "item_id:token\ttitle:token_seq\ns1\tBlue Monday\ns2\tAtmosphere\n"


def load(path: Path, inter: str, item: str | None = None, unrated: str = "", columns: str = "") -> Raw:
    (path / "songs.inter").write_text(inter, encoding="utf-8")
    if item is not None:
        (path / "songs.item").write_text(item, encoding="utf-8")
    named = dict(pair.split("=") for pair in columns.split(",") if pair)
    return Atomic(named, unrated.split(",") if unrated else ()).load(SourceFiles.open(path))


def pairs(raw: Raw) -> list[tuple[str | None, ...]]:
    return raw.events.select("user_id", "item_id").rows()


def test_the_exact_name_counts_before_one_that_ends_in_it(tmp_path: Path) -> None:
    raw = load(
        tmp_path,
        "old_user_id:token\tuser_id:token\tbox_item_id:token\titem_id:token\nx\tu\tbox\ts1\n",
        "artist_name:token\titem_id:token\ttitle:token_seq\nNew Order\ts1\tBlue Monday\n",
    )
    assert pairs(raw) == [("u", "s1")]
    assert raw.items["title"].to_list() == ["Blue Monday"]
    assert any("item item_id" in rule and "user user_id" in rule for rule in raw.rules)
    assert any("not read: old_user_id, box_item_id" in warning for warning in raw.warnings)


@pytest.mark.parametrize("name", ["itemId", "ItemID", "Item ID", "item-id"])
def test_names_are_compared_without_case_and_signs(tmp_path: Path, name: str) -> None:
    assert pairs(load(tmp_path, f"userId:token\t{name}:token\nu\ts1\n")) == [("u", "s1")]


def test_two_names_that_are_equally_sure_are_both_named(tmp_path: Path) -> None:
    items = "item_id:token\tartist_name:token\ttrack_name:token\ns1\tNew Order\tBlue Monday\n"
    events = "user_id:token\titem_id:token\nu\ts1\n"
    with pytest.raises(DataError, match="artist_name, track_name could be that of the title") as caught:
        load(tmp_path, events, items)
    assert "--columns title=" in caught.value.hint
    assert load(tmp_path, events, items, columns="title=track_name").items["title"].to_list() == ["Blue Monday"]


def test_named_columns_are_read_from_each_file_that_has_them(tmp_path: Path) -> None:
    raw = load(
        tmp_path,
        "listener:token\ttrack:token\tplayed:float\tuser_id:token\nl1\ts1\t5\tx\n",
        "track:token\tlabel_name:token\ts1_title:token\ns1\tFactory\tBlue Monday\n",
        columns="user=listener,item=track,time=played",
    )
    assert raw.events.rows() == [("l1", "s1", 5.0, None)]
    assert raw.items["title"].to_list() == ["Blue Monday"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [("item=trak", "unknown column 'trak'"), ("itm=track", "unknown role of a column 'itm'")],
)
def test_columns_and_roles_that_do_not_exist_are_refused(tmp_path: Path, columns: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load(tmp_path, "user_id:token\ttrack:token\nu\ts1\n", columns=columns)


def test_a_missing_column_of_ids_is_answered_with_the_option_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no column item_id; it has user_id, track") as caught:
        load(tmp_path, "user_id:token\ttrack:token\nu\ts1\n")
    assert "--columns item=track" in caught.value.hint


def test_stars_and_dates_are_read_and_other_columns_are_named(tmp_path: Path) -> None:
    raw = load(
        tmp_path, "user_id:token\titem_id:token\tstars:float\tdate:token\tplays:float\nu\ts1\t4\t1970-01-02\t9\n"
    )
    assert raw.events.rows() == [("u", "s1", 86400.0, 4.0)]
    assert raw.warnings[0] == "columns of songs.inter that are not read: plays"


@pytest.mark.parametrize("name", ["label", "click", "is_click"])
def test_what_was_shown_and_not_chosen_is_no_event(tmp_path: Path, name: str) -> None:
    raw = load(tmp_path, f"user_id:token\titem_id:token\t{name}:float\nu\ts1\t0\nu\ts2\t1\nu\ts3\t0.0\n")
    assert pairs(raw) == [("u", "s2")]
    assert raw.unchosen["item_id"].to_list() == ["s1", "s3"]
    assert raw.facts["events_not_chosen"] == 2
    with pytest.raises(DataError, match=f"line 2: {name} is 'skip', not 0 or 1"):
        load(tmp_path, f"user_id:token\titem_id:token\t{name}:float\nu\ts1\tskip\n")


def test_labels_are_0_and_1_or_booleans_and_nothing_else(tmp_path: Path) -> None:
    inter = "user_id:token\titem_id:token\tlabel:float\nu\ts1\t{}\nu\ts2\t{}\n"
    assert pairs(load(tmp_path, inter.format("TRUE", "False"))) == [("u", "s1")]
    assert pairs(load(tmp_path, inter.format("0.0", "1.0"))) == [("u", "s2")]
    for low, high in (("1", "2"), ("0.1", "0.9"), ("-1", "1"), ("0", "5")):
        with pytest.raises(DataError, match=f"the labels in label are {low}, {high}, not 0 and 1") as caught:
            load(tmp_path, inter.format(high, low))
        assert "--columns rating=label and --min-rating, or for clicks --like-from" in caught.value.hint


def test_texts_that_mean_no_rating_are_read_as_none_where_they_are_named(tmp_path: Path) -> None:
    inter = "user_id:token\titem_id:token\trating:float\nu\ts1\tNaN\nu\ts2\t0.0\nu\ts3\t4\nu\ts4\t\n"
    assert load(tmp_path, inter, unrated="nan,0").events["rating"].to_list() == [None, None, 4.0, None]
    raw = load(tmp_path, inter, unrated="nan")
    assert any("the rating of 1 of 4 events is empty: they have no rating" in said for said in raw.warnings)
    with pytest.raises(DataError, match="line 2: rating is 'NaN', not a number") as caught:
        load(tmp_path, inter)
    assert "--unrated NaN" in caught.value.hint


def test_blanks_around_ids_are_cut_off_and_missing_ids_are_none(tmp_path: Path) -> None:
    raw = load(tmp_path, "user_id:token\titem_id:token\nu \t s1\nnan\ts2\nv\tNone\nv\ts2\n", SONGS)
    assert pairs(raw) == [("u", "s1"), (None, "s2"), ("v", None), ("v", "s2")]
    assert raw.items["title"].to_list() == ["Blue Monday", "Atmosphere"]
    said = " ".join(raw.warnings)
    assert "2 ids of songs.inter have blanks" in said
    assert "the user of 1 of 4 events is written as missing" in said
    assert "the item of 1 of 4 events is written as missing" in said


def test_files_that_share_no_item_are_refused_and_a_part_that_is_not_listed_is_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 2 items in songs\.inter is in songs\.item.*'s01'.*'s1'"):
        load(tmp_path, "user_id:token\titem_id:token\nu\ts01\nu\ts02\n", SONGS)
    raw = load(tmp_path, "user_id:token\titem_id:token\nu\ts01\nu\ts2\n", SONGS)
    assert "1 items with events are not in the table of items: prompts call them by their id" in raw.warnings


@pytest.mark.parametrize(
    "missing", ["nan", "NaN", "None", "NULL", "<NA>", "\\N", "", "\u200b\u00ad", "<b></b>", "&nbsp;"]
)
def test_titles_that_show_nothing_are_no_titles(tmp_path: Path, missing: str) -> None:
    items = f"item_id:token\ttitle:token_seq\ns1\t{missing}\ns2\tNancy\n"
    raw = load(tmp_path, "user_id:token\titem_id:token\nu\ts1\n", items)
    assert raw.items["title"].to_list() == ["s1", "Nancy"]
    assert "1 of 2 items have no title: prompts call them by their id" in raw.warnings


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("Tom &amp; Jerry&#39;s", "Tom & Jerry's"),
        ("<i>Caf&eacute;</i> &#x2764;", "Café ❤"),
        ("One<br/>Two", "One Two"),
        ("R&B, I <3 You; A<B", "R&B, I <3 You; A<B"),
        ("Q&notes; &copy 1999", "Q&notes; &copy 1999"),
        ("<b class='x'>Bold</b>", "Bold"),
        ("<3000>", "<3000>"),
    ],
)
def test_markup_is_removed_and_nothing_else(raw: str, plain: str) -> None:
    assert without_markup(raw) == plain


def test_markup_in_titles_and_other_texts_never_reaches_a_prompt(tmp_path: Path) -> None:
    items = (
        "item_id:token\ttitle:token_seq\tgenres:token_seq\tabout:token\n"
        "s1\t<b>You &amp; Me</b>\tR&amp;B, Soul\t&quot;Live&quot;\ns2\tPlain\t\t\n"
    )
    raw = load(tmp_path, "user_id:token\titem_id:token\nu\ts1\n", items)
    title, text, categories = raw.items.select("title", "text", "categories").row(0)
    assert (title, categories) == ("You & Me", ["R&B", "Soul"])
    assert text == 'Genres: R&B, Soul. About: "Live".'
    assert raw.facts["titles_with_markup"] == 1
    assert "HTML entities and tags in titles are decoded" in raw.rules


def test_titles_that_are_hardly_titles_are_said(tmp_path: Path) -> None:
    items = "item_id:token\tname:token_seq\n" + "".join(f"s{at}\tSong\n" for at in range(4)) + f"s5\t{'la ' * 300}\n"
    said = " ".join(load(tmp_path, "user_id:token\titem_id:token\nu\ts1\n", items).warnings)
    assert re.search("5 items have 2 different titles, such as 'Song'", said)
    assert "1 titles have more than 500 characters, the longest 899" in said


def test_every_refusal_says_what_to_do(tmp_path: Path) -> None:
    for inter in ("user_id:token\titem_id:token\trating:float\nu\ts1\tgood\n", "item_id:token\ns1\n"):
        with pytest.raises(BenchError) as caught:
            load(tmp_path, inter)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("header", "typed"),
    [
        ("reader,book,date", "--columns user=reader,item=book."),
        ("reader,book,day", "--columns user=reader,item=book; no name looks like a column of times"),
        ("Viewer name,Video No,day", "--columns 'user=Viewer name,item=Video No';"),
        ("who,films,day", "--columns user=NAME,item=films, or, if it has no header, --columns user=0,item=1 "),
    ],
)
def test_missing_columns_are_named_at_once_and_guessed(tmp_path: Path, header: str, typed: str) -> None:
    path = tmp_path / "loans.csv"
    path.write_text(f"{header}\na,b,1\nc,d,2\n")
    with pytest.raises(DataError, match="has no columns user_id and item_id") as caught:
        Tables().load(SourceFiles.open(path))
    assert typed in caught.value.hint
    with pytest.raises(DataError) as looked:
        Tables().check(SourceFiles.open(path))
    assert looked.value.message == caught.value.message
