"""Rating prediction from the command line: prepared, asked, on boards, and what never meets."""

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from command_line import Bench, table
from llmrs_bench.clicks.baselines import RATING_BASELINES

USERS, ITEMS, EVENTS = 24, 30, 720
FAST = ("--samples", "100", "--permutations", "400")
BOARD = ("compare", "--dataset", "small@ratings", *FAST)


def write_books(folder: Path) -> Path:
    """Write ratings from 1 to 4: the mean of a user and the mean of a book say most about each."""
    rows = []
    for at in range(EVENTS):
        user, item = at % USERS, (at * 7 + at // USERS) % ITEMS
        rating = 1 + (user * 3 // USERS + item * 3 // ITEMS + (at * 13 + user) % 2) * 4 // 5
        rows.append(f"u{user},i{item},{1_500_000_000 + at},{rating}")
    (folder / "events.csv").write_text("user_id,item_id,time,rating\n" + "\n".join(rows) + "\n")
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(f"i{n},Book {n}" for n in range(ITEMS)) + "\n")
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_books(tmp_path_factory.mktemp("books"))


@pytest.fixture(scope="module")
def measured(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Rating data with a language model, evaluated."""
    bench = Bench(tmp_path_factory.mktemp("home"), source)
    bench.prepare("--task", "rating", "--item-word", "book", dataset="small@ratings")
    bench.run("infer", "--model", "mock", "--dataset", "small@ratings", "--template", "stars")
    bench.run("evaluate", "--dataset", "small@ratings")
    return bench


def as_json(bench: Bench, *more: str) -> dict[str, dict[str, object]]:
    found = json.loads(bench.run(*BOARD, "--format", "json", *more).stdout)
    return {row["model"]: row for row in found["rows"]}


def test_prepare_says_what_was_made(tmp_path: Path, source: Path) -> None:
    said = Bench(tmp_path / "home", source).prepare("--task", "rating").stderr
    assert "the label of an event is the user's rating" in said
    assert "all 720 rated events, cut 8:1:1 in time" in said
    assert "test: 72 rows of 24 users" in said
    assert "with a standard deviation of" in said


def test_labelled_rows_have_no_curves_over_requests_and_the_hint_is_a_board(measured: Bench) -> None:
    said = " ".join(measured.run(*BOARD, "--over-time", code=2).stderr.split())
    assert "small@ratings has labelled rows" in said
    assert "`--by window` has a board for each window" in said
    assert ", by window" in measured.run(*BOARD, "--by", "window").stdout
    assert "has labelled rows" in " ".join(measured.run(*BOARD, "--over", "cold-users", code=2).stderr.split())


def test_trivial_rows_are_on_every_board_and_the_biased_mean_is_the_one_to_beat(measured: Bench) -> None:
    rows = as_json(measured)
    assert {*RATING_BASELINES, "mock"} == rows.keys()
    assert {*RATING_BASELINES, "mock"} == as_json(measured, "--run", "mock").keys()
    rmse = {name: row["metrics"]["rmse"]["mean"] for name, row in rows.items()}  # type: ignore[index]
    assert min(rmse, key=lambda name: rmse[name]) == "biased-mean"
    assert rmse["mock"] > rmse["global-mean"]  # it answers by a hash
    truth = table(measured, "small/ratings/evals/global-mean-*/predictions.parquet").filter(pl.col("part") == "test")
    off = truth["label"].cast(pl.Float64) - truth["score"]
    assert rmse["global-mean"] == pytest.approx(float((off**2).mean()) ** 0.5)  # type: ignore[arg-type]


def test_the_protocol_says_rows_users_and_the_scale(measured: Bench) -> None:
    text = " ".join(measured.run(*BOARD, "--protocol").stdout.split())
    for words in (
        "rating prediction; to learn from: 576 rows of 24 users",
        "test: 72 rows of 24 users, rated",
        "scale 1 to 4",
        "cut 8:1:1 in time",
        "-calibrated: a line of the prediction, fitted on 72 validation rows alone",
        "gets the median of the run's scores",
        "below 100 users no more than a sketch",
    ):
        assert words in text
    assert "uauc" not in text
    assert max(map(len, measured.run(*BOARD).stdout.splitlines())) <= 80


def test_a_language_model_is_asked_for_the_ratings_of_the_data(measured: Bench) -> None:
    shown = measured.run("prompt", "--dataset", "small@ratings", "--template", "stars", "--show", "1").stderr
    assert "A user rated these books from 1 (worst) to 4 (best), the latest one last:\n- Book" in shown
    assert "How will the user rate this book, from 1 (worst) to 4 (best)? Answer with the rating alone." in shown
    responses = table(measured, "small/ratings/runs/mock-stars-*/responses.parquet")
    assert set(responses["choice_logprobs"].list.len()) == {8}
    scores = table(measured, "small/ratings/runs/mock-stars-*/rankings.parquet")["score"]
    assert scores.is_between(1, 4).all()
    assert scores.null_count() == 0


@pytest.mark.parametrize("split", ["time", "random"])
def test_the_rating_that_is_asked_for_is_in_no_prompt(tmp_path: Path, split: str) -> None:
    """Each user's last event is in no history: with other ratings of these, every prompt of the test is the same."""
    prompts = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        path = write_books(tmp_path / name) / "events.csv"
        head, *lines = path.read_text().splitlines()
        if name == "other":
            lines[-USERS:] = [f"{line.rpartition(',')[0]},{5 - int(line[-1])}" for line in lines[-USERS:]]
            path.write_text("\n".join([head, *lines]) + "\n")
        bench = Bench(tmp_path / f"home-{name}", tmp_path / name)
        bench.prepare("--task", "rating", "--split", split, "--history", "50")
        bench.run("prompt", "--dataset", "small", "--template", "stars")
        requests = table(bench, "small/*/data/requests.parquet").filter(pl.col("part") == "test")
        found = table(bench, "small/*/prompts/stars-*/prompts.parquet")
        asked = found.join(requests.select("request_id"), on="request_id", how="semi")
        last = {f"test-u{user}-{EVENTS // USERS}" for user in range(USERS)}
        prompts.append(asked.filter(pl.col("request_id").is_in(last)).select("request_id", "messages"))
    one, other = prompts
    assert one.height >= (USERS if split == "time" else 1)
    assert one.equals(other)


def test_a_scale_to_ten_is_asked_with_decimals(tmp_path: Path) -> None:
    path = write_books(tmp_path) / "events.csv"
    head, *lines = path.read_text().split()
    path.write_text("\n".join([head, *(f"{line[:-1]}{3 * int(line[-1]) - 2}" for line in lines)]) + "\n")
    bench = Bench(tmp_path / "home", tmp_path)
    bench.prepare("--task", "rating")
    shown = bench.run("prompt", "--dataset", "small", "--template", "stars", "--show", "1").stderr
    assert "from 1.0 (worst) to 10.0 (best)?" in shown
    assert "choice: 10.0\n" in shown


def test_lists_and_clicks_are_asked_about_with_the_scale_of_the_data(tmp_path: Path) -> None:
    """Ratings are 1, 4, 7 and 10 here: 10 alone is as high on that scale as 4 of 5."""
    path = write_books(tmp_path) / "events.csv"
    head, *lines = path.read_text().split()
    path.write_text("\n".join([head, *(f"{line[:-1]}{3 * int(line[-1]) - 2}" for line in lines)]) + "\n")
    bench = Bench(tmp_path / "home", tmp_path)
    bench.prepare("--include-seen", "--n-candidates", "5", dataset="small@lists")
    bench.prepare("--task", "click", "--like-from", "7", dataset="small@clicks")
    for dataset, template in (("small@lists", "listwise"), ("small@clicks", "like")):
        shown = bench.run("prompt", "-d", dataset, "-t", template, "-T", "interest=rated", "--show", "1").stderr
        assert "and rated them from 1 to 10:" in shown
        assert re.search(r"\(rated (1|4|7|10)\)", shown)
    liked = ("-T", "interest=likes-rated", "--show", "30")
    shown = bench.run("prompt", "-d", "small@lists", "-t", "listwise", *liked).stderr
    good, bad = set(), set()
    for prompt in shown.split("--- ")[1:]:
        above, _, below = prompt.partition("did not like these")
        good |= {*re.findall(r"\(rated (\d+)\)", above if "user liked" in above else "")}
        bad |= {*re.findall(r"\(rated (\d+)\)", below)}
    assert (good, bad) == ({"10"}, {"1", "4", "7"})
    assert "A user liked these items, the latest one last, and rated them from 1 to 10:" in shown
    shown = bench.run("prompt", "-d", "small@lists", "-t", "listwise", "-T", "interest=ratings", "--show", "1").stderr
    assert "from 1.0 (worst) to 10.0 (best), the latest one last:" in shown
    bench.prepare("--implicit", "--include-seen", "--n-candidates", "5", dataset="small@plain")
    refused = bench.run("prompt", "-d", "small@plain", "-t", "listwise", "-T", "interest=ratings", code=2).stderr
    assert "names the scale of ratings, and small@plain has no ratings" in refused


def test_what_a_model_wrote_about_a_user_stands_in_the_prompt(tmp_path: Path, source: Path) -> None:
    bench = Bench(tmp_path / "home", source)
    bench.prepare("--task", "rating", "--users", "3", "--valid-requests", "2")
    profiles = bench.name("infer", "-m", "mock", "-d", "small", "-t", "interest").splitlines()[-1]
    written = ("--user-profile", profiles, "-T", "interest=recent-written")
    shown = bench.run("prompt", "-d", "small", "-t", "stars", *written, "--show", "1").stderr
    assert "Nothing is known of" in shown


@pytest.mark.parametrize("output", ["markdown", "latex", "csv"])
def test_every_format_holds_every_row(measured: Bench, output: str) -> None:
    text = measured.run(*BOARD, "--format", output).stdout
    assert all(name in text for name in (*RATING_BASELINES, "mock"))
    assert "mae-user" in text


def test_the_page_shows_what_was_rated_and_how_it_was_calibrated(measured: Bench, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    measured.run(*BOARD, "--html", str(page))
    text = page.read_text("utf-8")
    assert "x the predicted rating, on 72 validation rows" in text
    assert '"reliability":{}' in text.replace(" ", "")


def test_groups_gates_and_saved_boards_go_as_those_of_clicks(measured: Bench, tmp_path: Path) -> None:
    shown = measured.run(*BOARD, "--by", "cold-item", "--metrics", "rmse").stdout
    assert "users), by cold-item" in shown
    assert "less is better: rmse" in shown
    saved = str(tmp_path / "board.parquet")
    measured.run(*BOARD, "--save", saved)
    said = measured.run(*BOARD, "--baseline", saved, "--fail-if", "rmse rises > 0.001 at p < 0.05").stderr
    assert "pass  mock (stars): rmse rises" in said
    headline = " ".join(measured.run(*BOARD).stdout.split())
    assert "No trained recommender predicts ratings here. Best baseline: biased-mean" in headline
    assert "No language model is on this board yet, only mock, which reads nothing and answers at random (" in headline
    said = measured.run(*BOARD, "--baseline", "biased-mean", "--fail-if", "rmse > 0.01", code=3).stderr
    assert "FAIL  mock (stars): rmse > 0.01" in said


def test_ratings_clicks_and_rankings_never_meet(measured: Bench, tmp_path: Path) -> None:
    ratings, others = str(tmp_path / "ratings.parquet"), {}
    measured.run(*BOARD, "--save", ratings)
    for name, options in {
        "click": ("--task", "click", "--like-from", "3"),
        "ranking": ("--include-seen", "--n-candidates", "5"),
    }.items():
        measured.prepare(*options, dataset=f"small@{name}")
        others[name] = str(tmp_path / f"{name}.parquet")
        measured.run("compare", "--dataset", f"small@{name}", *FAST, "--save", others[name])
    allowed = [word for name in ("data", "split", "users", "candidates") for word in ("--allow-different", name)]
    for name, path in others.items():
        assert f"differ in task: {name}" in measured.run(*BOARD, "--baseline", path, *allowed, code=4).stderr
        said = measured.run("compare", "-d", f"small@{name}", *FAST, "--baseline", ratings, *allowed, code=4).stderr
        assert "differ in task: rating" in said
        assert "differ in task" in measured.run("compare", "--history", ratings, path, code=4).stderr


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("infer", "-m", "sasrec"), "sasrec ranks items, but small@ratings asks for ratings"),
        (("infer", "-m", "fm"), "fm says whether a user will like an item, and small@ratings asks for ratings"),
        (("infer", "-m", "logistic"), "asks for ratings"),
        (("infer", "-m", "mock", "-t", "like"), "template like asks whether a user will like one item"),
        (("infer", "-m", "mock", "-t", "listwise"), "template listwise ranks candidates"),
        (("tune", "-m", "llama-2-7b", "-t", "stars"), "models are not tuned on ratings"),
        (("infer", "-m", "mock", "-t", "stars", "-T", "shots=2"), "shots has no effect with --task rating"),
        (("evaluate", "--normalize", "token"), "ratings by those of the scale"),
        (("evaluate", "--metrics", "auc"), "metric of ratings 'auc'"),
        (("fuse", "--run", "mock"), "one item per request"),
        (("compare", "--null", "3"), "permutes labels of click data, and small@ratings holds ratings"),
    ],
)
def test_what_is_of_another_task_is_refused(measured: Bench, words: tuple[str, ...], refusal: str) -> None:
    refused = measured.run(words[0], "--dataset", "small@ratings", *words[1:], code=2)
    assert refusal in " ".join(refused.stderr.split())
    assert "hint: " in refused.stderr


def test_what_asks_for_ratings_is_refused_elsewhere(source: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", source)
    bench.prepare("--task", "click", "--like-from", "3", dataset="small@clicks")
    bench.prepare("--include-seen", "--n-candidates", "5", dataset="small@lists")
    said = bench.run("infer", "-m", "biased-mean", "-d", "small@clicks", code=2).stderr
    assert "biased-mean predicts ratings, and small@clicks asks what users like" in said
    for dataset in ("small@clicks", "small@lists"):
        said = bench.run("infer", "-m", "mock", "-t", "stars", "-d", dataset, code=2).stderr
        assert "template stars asks how a user will rate one item" in said
    assert (
        "--protocol paper ranks candidates" in bench.prepare("--task", "rating", "--protocol", "paper", code=2).stderr
    )


def test_predictions_of_other_tools_are_taken_as_they_are(measured: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", measured.source)
    shutil.copytree(measured.home, bench.home)
    requests = table(bench, "small/ratings/data/requests.parquet")
    theirs = requests.select("request_id", pl.col("candidates").list.first().alias("item_id"), score=pl.lit(9.0))
    theirs.write_csv(tmp_path / "theirs.csv")
    bench.run("import", str(tmp_path / "theirs.csv"), "--dataset", "small@ratings")
    rows = as_json(bench)
    labels = table(bench, "small/ratings/data/truth.parquet").join(requests.filter(part="test"), on="request_id")
    off = float(((labels["label"] - 9.0) ** 2).mean()) ** 0.5  # type: ignore[arg-type]
    assert rows["theirs"]["metrics"]["rmse"]["mean"] == pytest.approx(off, abs=1e-5)  # type: ignore[index]
    said = " ".join(bench.run(*BOARD).stdout.split())
    assert "(file=theirs.csv): 72 of 72 predictions are outside of the scale 1 to 4" in said
    folder = tmp_path / "exported"
    export = ("export", "--dataset", "small@ratings", "--run", "theirs", "--to", str(folder))
    assert "--format csv" in bench.run(*export, "--format", "trec", code=2).stderr
    bench.run(*export, "--format", "csv")
    assert pl.read_csv(next(folder.glob("theirs-*.csv")))["score"].to_list() == [9.0] * requests.height


def test_less_data_is_a_curve_of_a_trivial_row(measured: Bench, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home", measured.source)
    shutil.copytree(measured.home, bench.home)
    for share in ("0.2", "0.5"):
        bench.run("infer", "-m", "biased-mean", "-d", "small@ratings", "--train-fraction", share)
    made = json.loads(bench.run(*BOARD, "--over", "train-fraction", "--format", "json").stdout)
    (curve,) = (each for each in made["curves"] if each["metric"] == "rmse" and each["curve"] == "biased-mean")
    assert [point["x"] for point in curve["points"]] == [0.2, 0.5, 1.0]


def test_the_recipe_asks_with_and_without_a_history(tmp_path: Path, source: Path) -> None:
    bench = Bench(tmp_path / "home", source)
    made = bench.run(
        *("run", "protocols/ratings", "-d", "small", "--source", str(source), "--model", "mock", "--format", "json")
    )
    rows = json.loads(made.stdout[made.stdout.index("{") :])["rows"]
    assert {*RATING_BASELINES, "mock"} == {row["model"] for row in rows}
    assert sorted(row["setting"] for row in rows if row["model"] == "mock") == ["stars", "stars, past=none"]
    assert sum(row["model"] == "biased-mean" for row in rows) == 3
