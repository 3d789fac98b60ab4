"""Runs joined into one, as a person types them."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import USERS, Bench
from llmrs_bench.fusion import reciprocal_rank
from llmrs_bench.metrics import measure, parse_metrics
from llmrs_bench.ranking import rank_candidates

METHODS: dict[str, tuple[str, ...]] = {
    "rrf": (),
    "zscore": (),
    "learned": ("--learn-on", "small@earlier"),
    "cascade": ("--budget", "40%", "--learn-on", "small@earlier"),
    "oracle": (),
}
MODELS = ("popularity", "random", "mock", "itemknn")


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory, atomic: Path) -> Bench:
    """A home with runs and every fusion of two of them, evaluated."""
    made = Bench(tmp_path_factory.mktemp("joined"), atomic)
    made.prepare(dataset="small@now")
    made.prepare("--held-out", "validation", dataset="small@earlier")
    for variant in ("now", "earlier"):
        for model in MODELS:
            made.run("infer", "-d", f"small@{variant}", "--model", model)
    for method, options in METHODS.items():
        fuse(made, "random,mock", "--method", method, *options)
    made.run("evaluate", "-d", "small@now")
    return made


@pytest.fixture
def home(joined: Bench, tmp_path: Path) -> Bench:
    """A copy that may be changed."""
    shutil.copytree(joined.home, tmp_path / "home")
    return Bench(tmp_path / "home", joined.source)


def fuse(bench: Bench, runs: str, *arguments: str) -> str:
    named = (text for run in runs.split(",") for text in ("--run", run))
    return bench.name("fuse", "-d", "small@now", *named, *arguments)


def only(bench: Bench, pattern: str) -> Path:
    found = list(bench.home.glob(f"small/now/{pattern}"))
    assert len(found) == 1, found
    return found[0]


def manifest(bench: Bench, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((only(bench, f"runs/{run}*") / "manifest.json").read_text("utf-8"))
    return found


def rankings(bench: Bench, run: str) -> pl.DataFrame:
    return pl.read_parquet(only(bench, f"runs/{run}*") / "rankings.parquet")


def ndcg(bench: Bench, run: str) -> pl.DataFrame:
    truth = pl.read_parquet(only(bench, "data/truth.parquet"))
    return measure(truth, rankings(bench, run), parse_metrics(["ndcg@10"])).sort("request_id")


def test_every_method_ranks_every_candidate_of_every_request(joined: Bench) -> None:
    plain = rankings(joined, "popularity").select("request_id", "item_id").sort("request_id", "item_id")
    for run in ("fusion-rrf", "fusion-zscore", "fusion-learned", "fusion-cascade", "oracle"):
        found = rankings(joined, run)
        assert found.select("request_id", "item_id").sort("request_id", "item_id").equals(plain), run
        assert found["rank"].to_list() == list(range(1, 21)) * USERS


def test_rrf_is_that_of_the_runs_by_the_tie_rule_of_all(joined: Bench) -> None:
    points = reciprocal_rank([rankings(joined, "random"), rankings(joined, "mock")], 60)
    requests = pl.read_parquet(only(joined, "data/requests.parquet"))
    assert rankings(joined, "fusion-rrf").equals(rank_candidates(requests, points, seed=0))


def test_the_oracle_is_the_better_of_both_in_every_request(joined: Bench) -> None:
    one, other, best = (ndcg(joined, run)["value"] for run in ("random", "mock", "oracle"))
    assert best.to_list() == [max(pair) for pair in zip(one, other, strict=True)]
    assert float(best.mean()) > max(float(one.mean()), float(other.mean()))  # type: ignore[arg-type]
    better = manifest(joined, "oracle")["facts"]["better"]
    counts = {run.split("-")[0]: count for run, count in better.items()}
    assert counts["random"] >= int((one > other).sum()) > 0
    assert counts["mock"] >= int((other > one).sum()) > 0


def test_the_board_says_what_was_joined_and_that_the_oracle_is_no_model(joined: Bench) -> None:
    rows = json.loads(joined.run("compare", "-d", "small@now", "--format", "json").stdout)["rows"]
    found = {row["model"]: row for row in rows}
    assert found["oracle (no model)"]["kind"] == "oracle"
    assert found["oracle (no model)"]["setting"] == "best-of=mock-listwise+random"
    assert found["fusion-rrf"]["kind"] == "fusion"
    assert found["fusion-rrf"]["setting"] == "runs=mock-listwise+random"


def test_a_fusion_records_its_runs_and_only_the_oracle_reads_the_truth(joined: Bench) -> None:
    parts = {name: manifest(joined, name) for name in ("random", "mock")}
    for name in ("fusion-rrf", "fusion-learned", "fusion-cascade", "oracle"):
        found = manifest(joined, name)
        for run, part in parts.items():
            recorded = next(value for key, value in found["inputs"].items() if key.startswith(f"{run}-"))
            assert recorded == part["fingerprint"]
            assert part["fingerprint"] in found["facts"]["runs"].values()
        assert found["facts"]["reads_truth"] == (name == "oracle")
        assert ("truth" in found["inputs"]) == (name == "oracle")


def test_weights_are_learned_from_other_requests_with_other_candidates(joined: Bench) -> None:
    """Nothing that is tested is among the validation requests: their targets are events that models may learn from."""
    found = manifest(joined, "fusion-learned")["facts"]
    assert sum(found["weights"].values()) == pytest.approx(1)
    assert found["learned_on"] == ["small@earlier", USERS]
    now, earlier = (
        {
            name: pl.read_parquet(joined.home / "small" / variant / f"data/{name}.parquet")
            for name in ("truth", "requests")
        }
        for variant in ("now", "earlier")
    )
    tested = set(now["truth"].join(now["requests"], on="request_id").select("user_id", "item_id").iter_rows())
    known = pl.read_parquet(joined.home / "small/now/data/interactions.parquet")
    asked = earlier["truth"].join(earlier["requests"], on="request_id").select("user_id", "item_id")
    assert not tested & set(asked.iter_rows())
    assert asked.join(known, on=["user_id", "item_id"], how="anti").is_empty()
    lists = [each["requests"].sort("user_id")["candidates"] for each in (now, earlier)]
    assert lists[0].to_list() != lists[1].to_list()
    learned = pl.read_parquet(joined.home / "small/earlier/data/interactions.parquet")
    for pairs in (tested, set(asked.iter_rows())):
        assert not pairs & set(learned.select("user_id", "item_id").iter_rows())
    said = joined.run(
        *("infer", "-d", "small@now", "--model", "fusion", "--runs", "mock,random", "--method", "learned"),
        *("-O", "learn_on=small@earlier"),
    )
    assert "weight of random-" in said.stderr
    assert f"learned on {USERS} validation requests of small@earlier" in said.stderr
    assert "already there" in said.stderr  # the order of the runs means nothing


def test_targets_of_tests_change_no_weight_and_no_threshold(home: Bench) -> None:
    """The truth is gone; what does not read it is made as before."""
    made = {run: rankings(home, run) for run in ("fusion-learned", "fusion-cascade", "fusion-rrf")}
    (only(home, "data/truth.parquet")).unlink()
    for run, before in made.items():
        shutil.rmtree(only(home, f"runs/{run}*"))
        method = run.partition("-")[2]
        fuse(home, "random,mock", "--method", method, *METHODS[method])
        assert rankings(home, run).equals(before)


def test_a_cascade_asks_the_second_run_where_the_first_is_unsure(home: Bench) -> None:
    first, second = rankings(home, "itemknn"), rankings(home, "mock")
    facts, orders = {}, {}
    for budget in ("0%", "30%", "100%"):
        name = fuse(home, "itemknn,mock", "--method", "cascade", "--budget", budget)
        facts[budget], orders[budget] = manifest(home, name)["facts"], rankings(home, name)
    assert [each["asked"] for each in facts.values()] == [0, 9, USERS]
    key = ["request_id", "item_id"]
    assert orders["0%"].select(*key, "rank").sort(key).equals(first.select(*key, "rank").sort(key))
    assert orders["100%"].select(*key, "rank").sort(key).equals(second.select(*key, "rank").sort(key))
    knn, mock = (manifest(home, run)["facts"] for run in ("itemknn", "mock"))
    assert facts["30%"]["prompt_tokens"] == round(0.3 * mock["prompt_tokens"])
    assert facts["30%"]["seconds"] == pytest.approx(knn["seconds"] + 0.3 * mock["seconds"], abs=1e-5)
    assert facts["0%"]["prompt_tokens"] == 0
    assert facts["30%"]["typed"] == {"runs": "itemknn then mock-listwise", "budget": 0.3}
    other = fuse(home, "mock,itemknn", "--method", "cascade", "--budget", "30%")  # here the order counts
    assert manifest(home, other)["facts"]["typed"]["runs"] == "mock-listwise then itemknn"
    drawn = json.loads(home.run("compare", "-d", "small@now", "--over", "budget", "--format", "json").stdout)
    curve = next(each for each in drawn["curves"] if "itemknn then mock" in each["curve"])
    assert [point["x"] for point in curve["points"]] == [0, 0.3, 1]
    costs = [point["cost"] for point in curve["points"]]
    assert costs == sorted(costs)
    assert drawn["cost"] == "seconds of ranking per 1,000 users, without training"
    assert "seconds" in home.run("compare", "-d", "small@now", "--over", "budget").stdout
    assert (
        "seconds of ranking per 1,000"
        in home.run("compare", "-d", "small@now", "--over", "budget", "--format", "markdown").stdout
    )


def test_thresholds_that_are_learned_are_a_curve_of_their_own(home: Bench) -> None:
    plain = fuse(home, "random,mock", "--method", "cascade", "--budget", "40%")
    fuse(home, "random,mock", "--method", "cascade", "--budget", "20%", "--learn-on", "small@earlier")
    fast = ("--over", "budget", "--format", "json", "--samples", "100", "--permutations", "200")
    drawn = json.loads(home.run("compare", "-d", "small@now", *fast).stdout)
    learned = "runs=random then mock-listwise, learn_on=small@earlier"
    [curve] = [each for each in drawn["curves"] if each["metric"] == "ndcg@10"]
    assert curve["curve"] == f"fusion-cascade ({learned})"
    assert [point["x"] for point in curve["points"]] == [0.2, 0.4]
    assert [plain] in [each["runs"] for each in drawn["levels"]]
    assert not any("look the same" in note for note in drawn["notes"])
    assert not any("budget=0.4)" in note for note in drawn["notes"])  # that asked for 12
    said = f"({learned.replace(',', ', budget=0.4,')}): the second run was asked for 11 of 30 requests (36.7 %)"
    assert any(note.endswith(said) for note in drawn["notes"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "cascade"), "hint: Add --budget 20% or --top 5, in a recipe"),
        (("--method", "learned"), "hint: Add --learn-on NAME@VARIANT, in a recipe"),
        (("--method", "cascade", "--budget", "2"), "hint: --budget takes a share of the requests, such as 20%"),
        (("-O", "k=-1"), "hint: -O k takes a whole number of at least 0"),
        (
            ("--learn-on", "x"),
            "learn-on applies only to the methods learned and cascade, not to rrf hint: Leave it out",
        ),
    ],
)
def test_what_a_fusion_lacks_is_said_as_it_is_typed(joined: Bench, arguments: tuple[str, ...], words: str) -> None:
    failed = joined.run("fuse", "-d", "small@now", "--run", "random", "--run", "mock", *arguments, code=2)
    said = " ".join(failed.stderr.split())
    assert words in said
    assert "budget=1.0" not in said


def test_the_best_items_of_a_recommender_are_ordered_by_a_language_model(home: Bench) -> None:
    name = fuse(home, "itemknn,mock", "--method", "cascade", "--top", "5")
    both = rankings(home, name).join(rankings(home, "itemknn"), on=["request_id", "item_id"], suffix="_first")
    assert (both.filter(pl.col("rank_first") <= 5)["rank"] <= 5).all()
    below = both.filter(pl.col("rank_first") > 5)
    assert below["rank"].equals(below["rank_first"])
    assert not both["rank"].equals(both["rank_first"])


def test_costs_are_those_of_all_runs_together(joined: Bench) -> None:
    knn, mock = (manifest(joined, run)["facts"] for run in ("random", "mock"))
    facts = manifest(joined, "fusion-zscore")["facts"]
    assert facts["prompt_tokens"] == mock["prompt_tokens"] > 0
    assert facts["completion_tokens"] == mock["completion_tokens"] > 0
    assert facts["seconds"] == pytest.approx(knn["seconds"] + mock["seconds"])
    assert "seconds" not in facts["cost_unknown"]
    assert [run.split("-")[0] for run in facts["cost_unknown"]["device_seconds"]] == ["random"]
    assert facts["price_usd"] is None


def test_prices_add_up_where_they_are_known(home: Bench) -> None:
    known = {
        "random": {"price_usd": 0.25, "joules": None, "peak_device_gb": 2.5, "requests_per_second": 20.0},
        "mock": {"price_usd": 0.5, "joules": 7.0, "peak_device_gb": 1.5, "requests_per_second": 5.0},
        "itemknn": {"price_usd": None, "seconds": None},
    }
    for run, facts in known.items():
        made = manifest(home, run)
        made["facts"] |= facts
        del made["digest"]
        (only(home, f"runs/{run}*") / "manifest.json").write_text(json.dumps(made))
    both = manifest(home, fuse(home, "random,mock", "-O", "k=1"))["facts"]
    assert both["price_usd"] == 0.75
    assert both["peak_device_gb"] == 2.5
    assert both["requests_per_second"] == 4
    assert both["joules"] == 7
    assert both["cost_unknown"].keys() == {"joules", "device_seconds"}
    done = home.run("infer", "-d", "small@now", "--model", "fusion", "--runs", "itemknn,mock")
    facts = manifest(home, done.stdout.strip())["facts"]
    assert facts["price_usd"] == 0.5
    assert facts["requests_per_second"] is None
    assert f"price usd: unknown for {only(home, 'runs/itemknn*').name}, so the sum leaves it out" in done.stderr
    assert [run.split("-")[0] for run in facts["cost_unknown"]["seconds"]] == ["itemknn"]


def test_options_change_the_run_where_they_are_read(home: Bench) -> None:
    default = fuse(home, "random,itemknn")
    assert fuse(home, "random,itemknn", "--method", "rrf", "-O", "k=60") == default
    assert fuse(home, "random,itemknn", "-O", "k=0") != default
    assert home.name(
        *("infer", "-d", "small@now", "--model", "fusion", "-O", "runs=itemknn,random", "-O", "method=rrf")
    ) == (default)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no run: a fusion combines two or more"),
        (("--runs", "random"), "combines two or more different runs"),
        (("--runs", "random,random"), "combines two or more different runs"),
        (("--runs", "random,sasrec"), "unknown run 'sasrec'"),
        (("--runs", "random,fusion"), "'fusion' means"),
        (("--runs", "random,oracle"), "reads the targets: it is an upper bound"),
        (
            ("--runs", "random,fusion-rrf", "--method", "learned", "-O", "learn_on=small@earlier"),
            "is a fusion, so its counterpart on validation requests is unknown",
        ),
        (("--runs", "random,mock", "--method", "borda"), "method"),
        (("--runs", "random,mock", "-O", "k=-1"), "k=-1 is below 0"),
        (
            ("--runs", "random,mock", "--method", "cascade", "-O", "budget=20"),
            "20 is not a share of",
        ),
        (("--runs", "random,mock", "-O", "budget=20%"), "budget applies only to the method cascade, not to rrf"),
        (
            ("--runs", "random,mock", "--method", "learned", "-O", "k=3"),
            "k applies only to the method rrf, not to learned",
        ),
        (("--runs", "random,mock", "--method", "learned"), "learned needs validation requests"),
        (("--runs", "random,mock", "--method", "cascade"), "cascade needs a budget"),
        (("--runs", "random,mock", "--method", "cascade", "-O", "budget=120%"), "budget"),
        (("--runs", "random,mock,itemknn", "--method", "cascade", "-O", "top=3"), "a cascade takes two runs, not 3"),
        (
            ("--runs", "random,mock", "--method", "learned", "-O", "learn_on=small@now"),
            "small@now has test requests, but no validation requests",
        ),
        (("--runs", "random,mock", "--seed", "1"), "--seed applies only to"),
        (("--runs", "random,mock", "--template", "label"), "--template applies only to language models"),
        (("--runs", "random,mock", "--from-cache"), "--from-cache applies only to language models"),
    ],
)
def test_what_cannot_be_joined_is_said(joined: Bench, arguments: tuple[str, ...], words: str) -> None:
    before = joined.files()
    failed = joined.run("infer", "-d", "small@now", "--model", "fusion", *arguments, code=2)
    assert words in failed.stderr
    assert joined.files() == before


def test_runs_of_other_requests_are_refused_with_code_4(home: Bench) -> None:
    small = "now"
    home.prepare("--n-candidates", "5", dataset="small@five")
    foreign = home.name("infer", "-d", "small@five", "--model", "popularity")
    shutil.copytree(home.home / "small" / "five" / "runs" / foreign, home.home / "small" / small / "runs" / foreign)
    failed = home.run("infer", "-d", f"small@{small}", "--model", "fusion", "--runs", f"random,{foreign}", code=4)
    assert f"run {foreign} cannot be combined" in failed.stderr
    assert "requests" in failed.stderr


def test_runs_that_write_and_rank_nothing_are_refused(home: Bench, tmp_path: Path) -> None:
    note = home.name("infer", "-d", "small@now", "--model", "mock", "--template", "interest")
    failed = home.run("infer", "-d", "small@now", "--model", "fusion", "--runs", f"random,{note}", code=2)
    assert "ranks nothing" in failed.stderr
    refused = home.run(
        "export", "-d", "small@now", "--run", note, "--to", str(tmp_path / "o"), "--format", "trec", code=2
    )
    assert "ranks nothing" in refused.stderr


def test_validation_requests_are_those_of_the_same_data(home: Bench) -> None:
    home.prepare("--held-out", "validation", "--n-candidates", "5", dataset="small@five")
    named = ("--run", "random", "--run", "mock", "--method", "learned")
    failed = home.run("fuse", "-d", "small@now", *named, "--learn-on", "small@five", code=4)
    assert "small@five was prepared with n_candidates 5, but small@now with 20" in failed.stderr
    home.prepare("--held-out", "validation", "--users", "10", dataset="small@ten")
    home.run("infer", "-d", "small@ten", "--model", "random")
    failed = home.run("fuse", "-d", "small@now", *named, "--learn-on", "small@ten", code=2)
    assert "has no run with the options of mock-listwise" in failed.stderr
    assert "--dataset small@ten" in failed.stderr
    home.run("infer", "-d", "small@ten", "--model", "mock", "--limit", "6")
    home.run("fuse", "-d", "small@now", *named, "--learn-on", "small@ten")
    learned = list(home.home.glob("small/now/runs/fusion-learned*/manifest.json"))
    assert ["small@ten", 6] in [json.loads(each.read_text("utf-8"))["facts"]["learned_on"] for each in learned]


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_catalogue_is_joined_too(bench: Bench, method: str) -> None:
    bench.prepare("--candidates", "all", dataset="small@now")
    bench.prepare("--candidates", "all", "--held-out", "validation", dataset="small@earlier")
    for model in ("popularity", "itemknn"):
        for variant in ("now", "earlier"):
            bench.run("infer", "-d", f"small@{variant}", "--model", model)
    run = fuse(bench, "popularity,itemknn", "--method", method, *METHODS[method])
    found = rankings(bench, run)
    assert found["request_id"].n_unique() == USERS
    assert found.select("request_id", "item_id").is_unique().all()
    seen = pl.read_parquet(only(bench, "data/requests.parquet")).select("request_id", item_id="history")
    assert found.join(seen.explode("item_id"), on=["request_id", "item_id"], how="semi").is_empty()
    bench.run("evaluate", "-d", "small@now")
    rows = json.loads(bench.run("compare", "-d", "small@now", "--format", "json").stdout)["rows"]
    assert len(rows) == 4
