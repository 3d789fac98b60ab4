"""Tables of one's own from the command line: policies, titles, mappings, and what is refused."""

import json
import os
import tomllib
from hashlib import md5
from pathlib import Path

import pytest

from command_line import Bench, table
from llmrs_bench.core.config import PrepareConfig
from llmrs_bench.core.types import no_progress
from llmrs_bench.data.sources import Raw
from llmrs_bench.stages.source import Origin, find, load

USERS, THINGS, TIMES = 8, 12, 6


def write_shop(folder: Path, *, titles: int = THINGS, extra: str = "") -> tuple[str, str]:
    """Write eight customers with six orders each, and the twelve things they bought; return the two paths."""
    folder.mkdir(exist_ok=True)
    orders = [
        f"c{user},{(user * 5 + step * (1 + user % 2)) % THINGS:03},{1 + step % 5},{1600000000 + step}"
        for user in range(USERS)
        for step in range(TIMES)
    ]
    (folder / "orders.csv").write_text("customer_id,sku,stars,ts\n" + "\n".join(orders) + "\n" + extra)
    things = [{"sku": f"{at:03}", "name": f"Lamp, The (19{at + 10})" if at < titles else None} for at in range(THINGS)]
    (folder / "things.jsonl").write_text("".join(json.dumps(thing) + "\n" for thing in things))
    return str(folder / "orders.csv"), str(folder / "things.jsonl")


def prepare(bench: Bench, name: str, orders: str, *more: str, code: int = 0) -> str:
    return bench.run("prepare", "-d", name, "--source", orders, "--n-candidates", "3", *more, code=code).stderr


def test_two_files_become_a_data_set_and_every_guess_is_said(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    said = prepare(bench, "shop@a", orders, "--items", things)
    for rule in (
        "orders.csv: text in UTF-8, commas between fields, a header of 4 columns",
        "columns of orders.csv: user customer_id, item sku, time ts, rating stars",
        "things.jsonl: JSON lines in UTF-8, 2 fields",
        "columns of things.jsonl: item sku, title name",
        "prompts speak of items: --item-word movie, song or product says what they are",
    ):
        assert f"rule: {rule}\n" in said
    assert table(bench, "shop/a/data/items.parquet").row(0)[:2] == ("000", "Lamp, The (1910)")
    said = prepare(
        bench, "shop@b", orders, "--items", things, "--titles", "natural", "--item-word", "lamp", "--implicit"
    )
    assert table(bench, "shop/b/data/items.parquet").row(0)[:4] == ("000", "The Lamp", "", 1910)
    assert table(bench, "shop/b/data/interactions.parquet")["rating"].null_count() == USERS * (TIMES - 1)
    assert "--item-word" not in said
    assert "rule: ratings are not read" in said


def test_the_content_of_the_items_and_each_option_make_another_variant(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    prepare(bench, "shop", orders, "--items", things)
    prepare(bench, "shop", orders, "--items", things, "--allow-untitled", "--repeats", "first", "--time-unit", "auto")
    assert len(list(bench.home.glob("shop/*/data"))) == 1
    write_shop(tmp_path / "shop", titles=THINGS - 1)
    prepare(bench, "shop", orders, "--items", things)
    prepare(bench, "shop", orders, "--items", things, "--repeats", "last")
    prepare(bench, "shop", orders, "--items", things, "--time-unit", "ms")
    assert len(list(bench.home.glob("shop/*/data"))) == 4


def test_most_items_without_a_title_stop_unless_that_is_allowed(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop", titles=THINGS // 2 - 1)
    said = prepare(bench, "shop", orders, "--items", things, code=1)
    assert "error: 7 of 12 items with events have no title" in said
    assert "--allow-untitled" in said
    assert "warning: 7 of 12 items have no title" in prepare(
        bench, "shop", orders, "--items", things, "--allow-untitled"
    )
    orders, things = write_shop(tmp_path / "shop", titles=THINGS // 2)
    assert "warning: 6 of 12 items have no title" in prepare(bench, "shop@half", orders, "--items", things)
    assert "12 of 12 items with events have no title" in prepare(bench, "shop", orders, code=1)


@pytest.mark.parametrize("repeats", ["first", "last", "all", "error"])
def test_repeats_are_counted_and_kept_as_is_said(bench: Bench, tmp_path: Path, repeats: str) -> None:
    last = 1600000000 + TIMES
    again = f"c0,000,1,1600000000\nc0,000,2,{last}\nc1,005,3,{last}\nc1,020,4,{last + 1}\n"
    orders, things = write_shop(tmp_path / "shop", extra=again)
    code = 1 if repeats == "error" else 0
    said = prepare(bench, "shop@x", orders, "--items", things, "--repeats", repeats, code=code)
    if repeats == "error":
        assert "error: 2 pairs of a user and an item have several events, such as c0 and 000, c1 and 005" in said
        return
    assert "copies dropped 1" in said
    events = table(bench, "shop/x/data/interactions.parquet")
    truth = dict(table(bench, "shop/x/data/truth.parquet").select("request_id", "item_id").iter_rows())
    requests = table(bench, "shop/x/data/requests.parquet").select("user_id", "request_id")
    targets = {user: truth[request] for user, request in requests.iter_rows()}
    assert targets["c1"] == "020"
    assert targets["c0"] == ("005" if repeats == "first" else "000")
    times = {"first": [1600000000], "last": [last], "all": [1600000000, last]}[repeats]
    assert events.filter(user_id="c1", item_id="005")["timestamp"].to_list() == times
    assert ("repeats dropped 2" in said) == (repeats != "all")
    if repeats == "all":
        assert events.filter(user_id="c0", item_id="000").is_empty()
        assert "earlier events with target dropped 1" in said


def test_a_mapping_is_saved_and_makes_the_same_data(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    mine = tmp_path / "shop" / "mine.toml"
    options = ("--titles", "natural", "--item-word", 'la"mp', "--repeats", "last", "--columns", "rating=stars")
    prepare(bench, "shop@a", orders, "--items", things, *options, "--save-mapping", str(mine))
    saved = tomllib.loads(mine.read_text())
    assert saved == {
        "source": "orders.csv",
        "items": "things.jsonl",
        "format": "table",
        "repeats": "last",
        "titles": "natural",
        "item_word": 'la"mp',
        "columns": {"user": "customer_id", "item": "sku", "time": "ts", "rating": "stars"},
        "item_columns": {"item": "sku", "title": "name"},
    }
    assert len(mine.read_text().splitlines()) <= 20
    digest = md5(Path(orders).read_bytes()).hexdigest()
    mine.write_text(f'licence = "free"\nmd5 = "{digest}"\n' + mine.read_text())
    use = ("prepare", "--n-candidates", "3", "--mapping", str(mine))
    said = bench.run(*use, "-d", "shop@b").stderr
    assert "licence: free\n" in said
    for name in ("items", "interactions", "requests"):
        assert table(bench, f"shop/a/data/{name}.parquet").equals(table(bench, f"shop/b/data/{name}.parquet"))
    bench.run(*use, "-d", "shop@c", "--titles", "keep")
    assert table(bench, "shop/c/data/items.parquet")["title"][0] == "Lamp, The (1910)"
    write_shop(tmp_path / "shop", extra="c9,001,1,1600000000\n")
    said = bench.run(*use, "-d", "shop@d", code=1).stderr
    assert f"but the mapping is for {digest}" in said
    assert "remove md5" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("repeats = 'drop'", "repeats=drop is none of 'first', 'last', 'all' or 'error'"),
        ("source = ", "is not a mapping"),
        ("colums = {user = 'u'}", "did you mean 'columns'?"),
        ("url = 'https://example.org/x.csv'", "a url without an md5"),
        ("source = 'none.csv'", "there is no"),
        ("[columns]\nuser = 3", "columns"),
    ],
)
def test_a_wrong_mapping_is_refused(bench: Bench, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    code = 1 if words in ("is not a mapping", "there is no") else 2
    said = bench.run("prepare", "-d", "x", "--mapping", str(tmp_path / "mine.toml"), code=code).stderr
    assert words in said
    assert "hint: " in said


def test_a_mapping_that_is_a_pipe_is_refused_at_once(bench: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.toml")
    said = bench.run("prepare", "-d", "x", "--mapping", str(tmp_path / "mine.toml"), code=1).stderr
    assert "a pipe" in said


def test_a_mapping_does_not_overwrite_other_files(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    said = prepare(bench, "shop", orders, "--items", things, "--save-mapping", things, code=2)
    assert "exists with other contents" in said
    assert Path(things).read_text().startswith("{")


def test_options_that_a_format_does_not_read_are_refused(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    said = bench.prepare("--items", things, "--encoding", "latin-1", code=2).stderr
    assert "--items and --encoding have no effect on the format atomic" in said
    said = prepare(bench, "shop", orders, "--items", things, "--implicit", "--min-rating", "3", code=2)
    assert "--implicit reads no ratings" in said
    said = bench.run("prepare", "-d", "demo", "--item-columns", "title=name", code=2).stderr
    assert "--item-columns has no effect on the format demo" in said


def test_a_mapping_is_written_once_and_also_by_a_look_at_the_data(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    saved = tmp_path / "shop.toml"
    typed = ("--items", things, "--save-mapping", str(saved))
    prepare(bench, "shop", orders, *typed, "--describe")
    assert tomllib.loads(saved.read_text())["columns"]["item"] == "sku"
    prepare(bench, "shop", orders, *typed)  # says the same
    before = saved.read_bytes()
    said = prepare(bench, "shop@other", orders, *typed, "--repeats", "last", code=2)
    assert f"{saved} exists with other contents" in said.replace("\n", "")
    assert saved.read_bytes() == before


def test_what_is_saved_can_be_read_whatever_was_read(bench: Bench, tmp_path: Path) -> None:
    orders, _ = write_shop(tmp_path / "shop")
    named = "sku,customer_id,ts,name,tags\n" + "".join(
        f"{line.split(',')[1]},{line.split(',')[0]},{line.split(',')[3]},Lamp {line.split(',')[1]},Light\n"
        for line in Path(orders).read_text().splitlines()[1:]
    )
    (tmp_path / "one.csv").write_text(named)
    once = ("--columns", "title=name", "--columns", "categories=tags", "--save-mapping", str(tmp_path / "one.toml"))
    prepare(bench, "one@a", str(tmp_path / "one.csv"), *once)
    bench.prepare("--n-candidates", "3", "--save-mapping", str(tmp_path / "atomic.toml"))
    for data, name in (("one@b", "one"), ("small@b", "atomic")):
        bench.run("prepare", "-d", data, "--mapping", str(tmp_path / f"{name}.toml"), "--n-candidates", "3")
    one, again = (table(bench, f"one/{name}/data/items.parquet") for name in "ab")
    assert one.equals(again)
    assert one["title"][0].startswith("Lamp ")
    assert one["categories"].to_list() == [["Light"]] * one.height


def test_what_cannot_be_saved_is_said_before_anything_is_made(bench: Bench, tmp_path: Path) -> None:
    said = bench.run("prepare", "-d", "demo", "--save-mapping", str(tmp_path / "m.toml"), code=2).stderr
    assert "--save-mapping has no effect on the format demo" in " ".join(said.split())
    said = bench.prepare("--save-mapping", str(tmp_path / "no" / "m.toml"), code=2).stderr
    assert "there is no folder" in said
    assert bench.files() == {}


def test_items_that_are_called_as_their_ids_have_titles(bench: Bench, tmp_path: Path) -> None:
    lines = "".join(f"u{user},Band {(user + step) % 9},{1600000000 + step}\n" for user in range(5) for step in range(5))
    (tmp_path / "plays.csv").write_text("user,artist,time\n" + lines)
    prepare(bench, "plays", str(tmp_path / "plays.csv"), "--columns", "item=artist,title=artist")
    assert set(table(bench, "plays/*/data/items.parquet")["title"]) == {f"Band {at}" for at in range(9)}


def test_a_table_without_times_needs_a_word_on_what_is_last(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    text = Path(orders).read_text()
    Path(orders).write_text("\n".join(line.rpartition(",")[0] for line in text.splitlines()) + "\n")
    timed = tmp_path / "timed.csv"
    timed.write_text(text)
    said = " ".join(prepare(bench, "shop", orders, "--items", things, code=2).split())
    assert "shop has no times of events, so leave-one-out cannot find the last event of a user" in said
    for choice in ("--columns time=NAME", "--line-order", "--split random"):
        assert choice in said
    assert not [*bench.home.glob("shop/*/data")]
    described = bench.run("prepare", "-d", "shop", "--source", orders, "--describe").stdout
    assert "leave-one-out cannot find the last event" in " ".join(described.split())
    said = prepare(
        bench, "shop@lines", orders, "--items", things, "--line-order", "--save-mapping", f"{tmp_path}/m.toml"
    )
    assert "rule: no timestamps: the order of lines is the order of time" in said
    assert tomllib.loads((tmp_path / "m.toml").read_text())["line_order"] is True
    last = table(bench, "shop/lines/data/truth.parquet").filter(label=1)["item_id"].to_list()
    prepare(bench, "shop@timed", str(timed), "--items", things)
    assert last == table(bench, "shop/timed/data/truth.parquet").filter(label=1)["item_id"].to_list()
    assert "random event" in prepare(bench, "shop@random", orders, "--items", things, "--split", "random")


def test_the_order_of_lines_is_no_answer_where_nothing_asks(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    said = prepare(bench, "shop", orders, "--items", things, "--line-order", code=2)
    assert "--line-order has no effect: the column ts of orders.csv says when events were" in said
    said = prepare(bench, "shop", orders, "--line-order", "--split", "random", code=2)
    assert "so --line-order has no effect" in " ".join(said.split())
    said = bench.prepare("--line-order", code=2).stderr
    assert "--line-order has no effect on the format atomic" in said


def test_rows_that_cannot_be_read_are_dropped_on_request_and_said(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop", extra="c1,001,5,\nc1,002,often,1600000009\nc9\n")
    said = " ".join(prepare(bench, "shop", orders, "--items", things, code=1).split())
    assert "error: orders.csv: 3 of 51 lines cannot be read: 1 fields, expected 4: 'c9' (line 52); ts is empty" in said
    assert "--drop-bad" in said
    dropping = ("--items", things, "--drop-bad", "--save-mapping", str(tmp_path / "m.toml"))
    said = " ".join(prepare(bench, "shop@a", orders, *dropping).split())
    assert "warning: orders.csv: 3 of 51 lines are left out: 1 fields, expected 4: 'c9' (line 52); ts is empty" in said
    assert tomllib.loads((tmp_path / "m.toml").read_text())["drop_bad"] is True
    assert len(table(bench, "shop/a/data/interactions.parquet")) == USERS * (TIMES - 1)
    assert "no effect on the format atomic" in bench.prepare("--drop-bad", code=2).stderr


def test_items_without_a_title_are_left_out_on_request(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop", titles=THINGS - 3)
    prepare(bench, "shop@id", orders, "--items", things)
    said = " ".join(prepare(bench, "shop@drop", orders, "--items", things, "--untitled", "drop").split())
    untitled = {f"{at:03}" for at in range(THINGS - 3, THINGS)}
    lost = sum(line.split(",")[1] in untitled for line in Path(orders).read_text().splitlines())
    assert f"warning: 3 items without a title are dropped, and {lost} of {USERS * TIMES} events with them" in said
    assert "by their id" not in said
    for name, column in (("items", "item_id"), ("interactions", "item_id"), ("truth", "item_id")):
        assert untitled & set(table(bench, f"shop/id/data/{name}.parquet")[column])
        assert not untitled & set(table(bench, f"shop/drop/data/{name}.parquet")[column])
    requests = table(bench, "shop/drop/data/requests.parquet")
    for lists in (requests["candidates"], requests["history"]):
        assert not untitled & {item for items in lists.to_list() for item in items}
    orders, things = write_shop(tmp_path / "most", titles=THINGS // 2 - 1)
    said = prepare(bench, "most", orders, "--items", things, "--untitled", "drop", code=1)
    assert "7 of 12 items with events have no title" in said


def test_labels_and_impressions_lose_items_without_a_title_alike(tmp_path: Path) -> None:
    rows = [f"u{at % 3},{'abcd'[at % 4]},{1600000000 + at},{at % 5 % 2}" for at in range(24)]
    (tmp_path / "seen.csv").write_text("user_id,item_id,timestamp,click\n" + "\n".join(rows) + "\n")
    (tmp_path / "names.csv").write_text("item_id,title\na,Lamp\nb,\nc,Desk\nd,Chair\n")
    origin = Origin(path=tmp_path / "seen.csv", items=tmp_path / "names.csv")

    def raw(untitled: str) -> Raw:
        config = PrepareConfig.parse({"dataset": "x", "untitled": untitled}, owner="prepare")
        found = find(tmp_path, origin.dataset("x"), origin, config, no_progress)
        return load(origin.dataset("x"), found, config, no_progress).raw

    def events(held: Raw) -> list[tuple[str, float, bool]]:
        chosen, passed = (iter(frame.select("item_id", "timestamp").rows()) for frame in (held.events, held.unchosen))
        return [(*next(chosen if label else passed), label) for label in held.labels]

    kept = raw("drop")
    assert events(kept) == [event for event in events(raw("id")) if event[0] != "b"]
    assert not {"b"} & {item for shown in kept.impressions["shown"].to_list() for item in shown}
    assert kept.items["item_id"].to_list() == ["a", "c", "d"]


def test_a_known_layout_is_named_where_the_file_is_called_as_its_own_are(bench: Bench, tmp_path: Path) -> None:
    for name, known in (("orders.csv", False), ("Books.csv", True), ("ratings_Books.csv", True)):
        (tmp_path / name).write_text("0000000001,A000000001XYZ,5.0,1600000000\n")
        said = " ".join(prepare(bench, "x", str(tmp_path / name), code=1).split())
        assert "has no header, and 4 columns: 0000000001, A000000001XYZ" in said
        assert ("--format amazon" in said) == known


def test_two_commands_lead_from_a_file_to_a_board(bench: Bench, tmp_path: Path) -> None:
    orders, things = write_shop(tmp_path / "shop")
    infer = ("infer", "-d", "shop", "-m", "popularity", "--source", orders, "--items", things)
    first = bench.run(*infer)
    assert "rule: columns of orders.csv: user customer_id, item sku" in first.stderr
    assert "popularity" in bench.run("compare", "-d", "shop").stdout
    again = bench.run(*infer)
    assert again.stdout == first.stdout
    assert "rule:" not in again.stderr
    assert "already prepared" not in again.stderr
    # It is the data set that `prepare` makes, and the one that its mapping makes.
    mine = tmp_path / "shop" / "mine.toml"
    typed = ("-d", "shop", "--source", orders, "--items", things, "--save-mapping", str(mine))
    assert "already there" in bench.run("prepare", *typed).stderr
    assert bench.run("infer", "-d", "shop", "-m", "popularity", "--mapping", str(mine)).stdout == first.stdout
    # A file that has changed makes another variant, whose name is told; what infer does not take is told, too.
    lines = Path(orders).read_text("utf-8").splitlines()
    Path(orders).write_text("\n".join(lines[:-1]) + "\n", "utf-8")
    assert "shop was already prepared from another source" in bench.run(*infer).stderr
    untitled = bench.run("infer", "-d", "own", "-m", "bm25", "--source", orders, code=1).stderr
    assert "for other options use `llmrs-bench prepare --dataset own`" in " ".join(untitled.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-m", "random", "--items", "{things}"], "has no effect without a source"),
        (["-m", "file:x.tsv", "--source", "{orders}"], "--source and --mapping have no effect with --model file:x.tsv"),
        (["-m", "mock", "--dry-run", "--source", "{orders}"], "--dry-run prepares no data set"),
        (["-m", "nobody-knows-it", "--source", "{orders}"], "nobody-knows-it"),
    ],
)
def test_a_source_is_not_read_in_vain(bench: Bench, tmp_path: Path, options: list[str], words: str) -> None:
    orders, things = write_shop(tmp_path / "shop")
    typed = [option.format(orders=orders, things=things) for option in options]
    assert words in " ".join(bench.run("infer", "-d", "shop", *typed, code=2).stderr.split())
    assert not bench.home.exists()
