"""Are EASE, random walks and item-kNN here as good as published, on the very splits of the papers?

python benchmarks/published_linear.py ml-1m.zip --folds FOLDER --lists FOLDER --split-100k MovieLens.pkl

Each source is optional, and is a file of a public repository; none is part of this project.

- `--folds`: `data/movielens_1m/splitting` of
  github.com/sisinflab/Top-N-Recommendation-Algorithms-A-Quest-for-the-State-of-the-Art (Anelli et al., UMAP 2022): five
  random hold-outs of a fifth of each user's ratings of 4 and 5 (10-core). Only `N/test.tsv` is read; the rest of the
  events is learned from. Figures: github.com/Faisalse/RecSys2023_hyperparameter_tuning, `Additional
  material/Movielens_1m`, on the same files (Shehzad and Jannach, RecSys 2023).
- `--lists`: `Data` of github.com/hexiangnan/neural_collaborative_filtering: `ml-1m.test.rating` and
  `ml-1m.test.negative`, a user's last event among 99 others. Figures: Tables 55, 58 and 59 of
  `DL_Evaluation_TOIS_Additional_material.pdf`, github.com/MaurizioFD/RecSys2019_DeepLearning_Evaluation (Ferrari
  Dacrema et al., TOIS 2021).
- `--split-100k`: `data/ID4SNR/MovieLens.pkl` of github.com/Faisalse/IntentAwareRS, which is MovieLens-100K with other
  ids and 15.9 % of its events to test. Figures: `results/ID4SNR/MovieLens` there.

The lists become a data set by `prepare --candidates file:`, the split of MovieLens-100K by impressions of everything
that a user has not chosen. The published RP3beta and item-kNN are those of one framework, which does more to the
weights; the rows "as published" do the same to ours (item-kNN: instead of ours), and import what is ranked.
"""

import argparse
import io
import json
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from llmrs_bench.results import Prepared, Run

PAIR = ["user_id", "item_id"]
PAST, TESTED = 1_000_000_000, 1_000_086_400  # seconds: what is learned from, and what is tested
ALL = {"fit_on": "train+valid", "max_history": 5000}  # both parts are what the papers learned from
ALL_LESS = {"fit_on": "train+valid"}
TOP = 10
TUNED = 696.7858293223413

# Values of the files named above, by weight and the fold whose they are, of TUNED the best of the five.
EASE: dict[tuple[int, float], tuple[float, ...]] = {
    (0, 15.930101258108873): (0.277916, 0.224576, 0.163200, 0.844344),
    (0, TUNED): (0.343266, 0.279980, 0.196541, 0.882333),
    (0, 2988.7076376245245): (0.327050, 0.264028, 0.183390, 0.866868),
    (0, 20669.050984605827): (0.265513, 0.211111, 0.143964, 0.796941),
    (2, 3.72): (0.248742, 0.201260, 0.146690, 0.808875),
}
POPULAR = {0: (0.162207, 0.139284, 0.085814, 0.623634)}
FOLD_METRICS = ["ndcg@10", "precision@10", "recall@10", "hit@10"]
LISTS_METRICS = ["hit@1", "ndcg@5", "hit@10", "ndcg@10"]
SMALL_METRICS = ["ndcg@10", "precision@10", "recall@10"]


class _Plain(pickle.Unpickler):
    """Reads numbers, collections and arrays, and no other class."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        core = np._core.multiarray  # type: ignore[attr-defined]
        known = {"scalar": core.scalar, "_reconstruct": core._reconstruct, "dtype": np.dtype, "ndarray": np.ndarray}
        if module.partition(".")[0] != "numpy" or name not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not expected in this file")
        return known[name]


def rated(archive: Path) -> "pl.DataFrame":
    """Return the ratings of MovieLens-1M, in their order: user_id, item_id, rating, timestamp."""
    import polars as pl

    with zipfile.ZipFile(archive) as packed:
        text = packed.read("ml-1m/ratings.dat").decode().replace("::", "\t")
    names = [*PAIR, "rating", "timestamp"]
    read = pl.read_csv(io.StringIO(text), separator="\t", has_header=False, new_columns=names)
    return read.with_columns(pl.col(PAIR).cast(pl.String))


def k_core(events: "pl.DataFrame", least: int) -> "pl.DataFrame":
    """Return the events in which every user and every item has at least `least`."""
    import polars as pl

    height = -1
    while height != events.height:
        height = events.height
        for name in PAIR:
            events = events.filter(pl.len().over(name) >= least)
    return events


def hold_out(home: Path, name: str, events: "pl.DataFrame", test: "pl.DataFrame") -> "Prepared":
    """Prepare a hold-out: each user is shown all items that he has not chosen, and `test` of them were clicked."""
    import polars as pl

    import llmrs_bench as lb

    past = events.select(PAIR).join(test, on=PAIR, how="anti")
    users, items = test.select("user_id").unique().sort("user_id"), events.select("item_id").unique().sort("item_id")
    shown = users.join(items, how="cross").join(past, on=PAIR, how="anti")
    marked = test.select(*PAIR, label=pl.lit(1))
    shown = shown.join(marked, on=PAIR, how="left").with_columns(pl.col("label").fill_null(0))
    parts = [(past.with_columns(label=pl.lit(1)), PAST, "past"), (shown, TESTED, "shown")]
    rows = [frame.with_columns(timestamp=pl.lit(at), impression=pl.lit(kind)) for frame, at, kind in parts]
    place = home / f"{name}.parquet"
    pl.concat(rows, how="vertical_relaxed").write_parquet(place)
    return lb.prepare(name, source=place, home=home, candidates="impressions", users="all", allow_untitled=True)


def folds(archive: Path, folder: Path) -> Iterator[tuple["pl.DataFrame", "pl.DataFrame"]]:
    """Yield the events and what is tested of each of the five hold-outs."""
    import polars as pl

    events = k_core(rated(archive).filter(pl.col("rating") >= 4), 10)
    for number in range(5):
        names = [*PAIR, "rating", "timestamp"]
        read = pl.read_csv(folder / f"{number}/test.tsv", separator="\t", has_header=False, new_columns=names)
        test = read.select(pl.col(PAIR).cast(pl.String))
        if test.join(events, on=PAIR, how="anti").height:
            sys.exit(f"fold {number} tests what is not among the {events.height:,} events of the archive")
        yield events, test


def split_100k(place: Path) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Return all events of the split of MovieLens-100K, and those that are tested."""
    import polars as pl

    with place.open("rb") as file:
        found = _Plain(file).load()
    rows = {
        part: [(str(user), str(int(item))) for user, items in enumerate(found[f"{part}_user_list"]) for item in items]
        for part in ("train", "test")
    }
    train, test = (pl.DataFrame(sorted(rows[part]), schema=PAIR, orient="row") for part in ("train", "test"))
    return pl.concat([train, test]), test


def lists(archive: Path, folder: Path, home: Path) -> "Prepared":
    """Prepare the published lists: items are numbered there in the order in which the archive first rates them."""
    import polars as pl

    import llmrs_bench as lb

    events = rated(archive)
    items = events["item_id"].unique(maintain_order=True)
    read = (folder / "ml-1m.test.negative").read_text().splitlines()
    negatives, target = {}, {}
    for line in read:
        pair, *others = line.split("\t")
        user, item = map(int, pair.strip("()").split(","))
        negatives[str(user + 1)] = [items[int(other)] for other in others]
        target[str(user + 1)] = items[item]
    chosen = pl.DataFrame({"user_id": target.keys(), "item_id": target.values()})
    if chosen.join(events, on=PAIR, how="anti").height:
        sys.exit("the lists test what is not among the events of the archive")
    # 42 % of users have a tie at their last time, which the lists resolve in a way of their own.
    latest = chosen.with_columns(last=pl.lit(1))
    told = events.join(latest, on=PAIR, how="left", maintain_order="left").with_columns(
        timestamp=pl.when(pl.col("last") == 1).then(pl.col("timestamp").max() + 1).otherwise("timestamp")
    )
    told.drop("last").write_parquet(home / "lists.parquet")
    (home / "lists.tsv").write_text("".join(f"{user}\t{' '.join(others)}\n" for user, others in negatives.items()))
    data = lb.prepare(
        "lists",
        source=home / "lists.parquet",
        home=home,
        users="all",
        candidates=f"file:{home / 'lists.tsv'}",
        n_candidates=100,
        include_seen=True,
        allow_untitled=True,
    )
    # 156 of the lists name the target among the others, too.
    ready = {user: set(candidates) for user, candidates in data.requests().select("user_id", "candidates").iter_rows()}
    if ready != {user: {target[user], *others} for user, others in negatives.items()}:
        sys.exit("the lists of the data set are not those of the file")
    return data


def show(
    model: str, setting: str, found: "pl.DataFrame", metrics: list[str], published: tuple[float, ...] | None
) -> None:
    """Print a row: the mean of users with its 95 % interval, and the published one, of each metric."""
    cells = []
    for at, metric in enumerate(metrics):
        values = found.filter(metric=metric)["value"].to_numpy()
        mean, margin = values.mean(), 1.96 * values.std(ddof=1) / len(values) ** 0.5
        told = "" if published is None else f" / {published[at]:.4f}"
        cells.append(f"{mean:.4f} ±{margin:.4f}{told}")
    print(f"| {model} | {setting} | {' | '.join(cells)} |", flush=True)


def head(title: str, metrics: list[str]) -> None:
    """Print the head of a table."""
    print(f"\n{title}\n")
    print(f"| model | setting | {' | '.join(f'{metric}: ours / published' for metric in metrics)} |")
    print(f"| --- | --- | {' | '.join('---:' for _ in metrics)} |")


def framed(home: Path, data: "Prepared", name: str, weights: Callable[[Any], Any]) -> "Run":
    """Rank by the events times the weights (item, item) that a function makes of them (user, item), and import it."""
    import numpy as np
    import polars as pl
    from scipy.sparse import csr_matrix

    from llmrs_bench.results import Run
    from llmrs_bench.stages.import_run import import_run

    events, asked = data.interactions().select(PAIR), data.requests().select("request_id", "user_id", "candidates")
    users, items = events["user_id"].unique(maintain_order=True), data.items()["item_id"]  # some are only tested
    codes = {item: at for at, item in enumerate(items)}
    rows = {user: at for at, user in enumerate(users)}
    places = [rows[user] for user in events["user_id"]], [codes[item] for item in events["item_id"]]
    matrix = csr_matrix((np.ones(events.height), places), shape=(len(users), len(items)))
    scores = matrix @ weights(matrix)
    frames = []
    for request, user, candidates in asked.iter_rows():
        told = np.zeros(len(items) + 1)  # the last is for what nobody chose
        told[:-1] = scores[[rows[user]]].toarray().ravel()
        values = told[[codes.get(item, -1) for item in candidates]]
        frames.append(pl.DataFrame({"request_id": [request] * len(values), "item_id": candidates, "score": values}))
    place = home / f"{name}.parquet"
    pl.concat(frames).write_parquet(place)
    return Run(data.data, import_run(data.data, place, {"name": name}).artifact)


def cut_columns(weights: Any, kept: int) -> Any:
    """Return the `kept` largest weights to each item."""
    import numpy as np
    from scipy.sparse import csc_matrix, csr_matrix

    columns = csc_matrix(weights)
    for at in range(columns.shape[1]):
        values = columns.data[columns.indptr[at] : columns.indptr[at + 1]]
        if len(values) > kept:
            values[np.argsort(values)[:-kept]] = 0
    columns.eliminate_zeros()
    return csr_matrix(columns)


def walks(alpha: float, beta: float, kept: int, *, normalised: bool) -> Callable[[Any], Any]:
    """Return our weights of walks, with what the framework of the figures does to them after that."""

    def made(matrix: Any) -> Any:
        import numpy as np
        from scipy.sparse import diags

        from llmrs_bench.recommenders.rp3beta import RP3beta, RP3betaOptions

        options = RP3betaOptions(alpha=alpha, beta=beta, neighbours=kept)
        weights = RP3beta(options, seed=0, device="cpu").similarities(matrix)
        if normalised:
            weights = diags(1 / np.asarray(weights.sum(1)).ravel().clip(1e-300)) @ weights
        return cut_columns(weights, kept)

    return made


def cosines(kept: int, shrink: float, weighting: str) -> Callable[[Any], Any]:
    """Return the cosines of the framework: a constant added to each product of norms, the largest to each item kept."""

    def made(matrix: Any) -> Any:
        import numpy as np
        from implicit.nearest_neighbours import bm25_weight, tfidf_weight
        from scipy.sparse import csr_matrix

        weighted = bm25_weight(matrix.T, K1=1.2, B=0.75).T if weighting == "bm25" else tfidf_weight(matrix.T).T
        products = csr_matrix(weighted.T @ weighted).toarray()
        norms = np.sqrt(np.diag(products))
        products /= np.outer(norms, norms) + shrink + 1e-6
        np.fill_diagonal(products, 0)
        return cut_columns(csr_matrix(products), kept)

    return made


def irspack_child(folder: Path, beta: float) -> None:
    """Write the ten best unseen items of each user, by random walks and by EASE of irspack."""
    import numpy as np
    import pandas as pd
    from irspack.recommenders import DenseSLIMRecommender, RP3betaRecommender
    from scipy.sparse import csr_matrix

    events = pd.read_csv(folder / "events.csv", dtype=str)
    users, items = (pd.Index(events[column].unique()) for column in PAIR)
    places = users.get_indexer(events["user_id"]), items.get_indexer(events["item_id"])
    matrix = csr_matrix((np.ones(len(events)), places), shape=(len(users), len(items)))
    for name, model in (
        ("rp3beta", RP3betaRecommender(matrix, alpha=1, beta=beta)),
        ("ease", DenseSLIMRecommender(matrix, reg=200)),
    ):
        scores = model.learn().get_score_remove_seen(np.arange(len(users)))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        told = {"user_id": users.repeat(TOP), "item_id": items[best.ravel()]}
        told["score"] = np.take_along_axis(scores, best, 1).ravel()
        pd.DataFrame(told).to_csv(folder / f"{name}.csv", index=False)
    print(json.dumps({"users": len(users)}))


def beside_irspack(home: Path, data: "Prepared", environments: Path) -> None:
    """Print how many of the lists of ten are the same, item by item, as those of irspack."""
    import polars as pl

    import llmrs_bench as lb
    from peers import environment

    python = environment("irspack", environments)
    data.interactions().select(PAIR).write_csv(home / "events.csv")
    done = subprocess.run(
        [str(python), __file__, "--child", str(home), "0.6"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"irspack failed:\n{done.stderr[-2000:]}")
    own: dict[str, dict[str, Any]] = {"rp3beta": {"beta": 0.6, "neighbours": 100_000}, "ease": {"l2": 200.0}}
    user = data.requests().select("request_id", "user_id")
    for model, options in own.items():
        run = lb.infer(model, data, options={**ALL, **options}, home=home)
        ours = run.rankings().filter(pl.col("rank") <= TOP).join(user, on="request_id").sort("user_id", "rank")
        theirs = pl.read_csv(home / f"{model}.csv", schema_overrides=dict.fromkeys(PAIR, pl.String))
        lists_of = [
            frame.group_by("user_id", maintain_order=True).agg("item_id") for frame in (ours, theirs.drop("score"))
        ]
        both = lists_of[0].join(lists_of[1], on="user_id")
        same = (both["item_id"] == both["item_id_right"]).sum()
        shared = both.select(pl.col("item_id").list.set_intersection("item_id_right").list.len().mean()).item()
        print(f"{model}: {same:,} of {both.height:,} lists of ten as in irspack, {shared:.4f} of ten items shared")


def ranked(model: str, options: dict[str, Any], past: "pl.DataFrame", requests: "pl.DataFrame") -> "pl.DataFrame":
    """Return the ten best of all items that a user has not chosen, by one of our recommenders.

    A data set of a fold would list 16 million candidates, so the recommender is called as `infer` calls it.
    """
    import numpy as np
    import polars as pl

    from llmrs_bench.core.registry import RECOMMENDERS
    from llmrs_bench.ranking import rank_best
    from llmrs_bench.recommenders.base import Corpus, TrainContext

    items = past["item_id"].unique(maintain_order=True)
    codes = {item: at for at, item in enumerate(items)}
    kind: Any = RECOMMENDERS.load(model)
    made = kind(kind.Options.parse(options, owner=model), seed=0, device="cpu")
    made.fit(Corpus(past, pl.DataFrame({"item_id": items})), TrainContext())
    frames = []
    for block in made.score(requests, items):
        scores = np.array(block.scores, dtype=np.float64)
        for row, history in enumerate(requests[block.rows]["history"]):
            scores[row, [codes[item] for item in history]] = -np.inf
        least = np.partition(scores, -TOP, axis=1)[:, [-TOP]]
        rows, columns = np.nonzero(scores >= least)  # with all that tie with the tenth
        names = requests["request_id"].gather(block.rows[rows])
        frames.append(
            pl.DataFrame({"request_id": names, "item_id": items.gather(columns)}).with_columns(
                score=pl.Series(scores[rows, columns])
            )
        )
    return rank_best(pl.concat(frames), depth=TOP, seed=0)


def measure_folds(asked: argparse.Namespace, _: Path) -> None:
    """Hold EASE and popularity to the figures of two folds, and show how much the five drawings differ."""
    import polars as pl

    from llmrs_bench.metrics import Metric, measure

    metrics = [Metric.parse(name) for name in FOLD_METRICS]
    for number, (events, test) in enumerate(folds(asked.archive, asked.folds)):
        past = events.join(test, on=PAIR, how="anti", maintain_order="left").with_columns(part=pl.lit("train"))
        histories = past.group_by("user_id", maintain_order=True).agg(history="item_id")
        requests = histories.with_columns(request_id="user_id", part=pl.lit("test"), cutoff=pl.lit(TESTED))
        truth = test.select(request_id="user_id", item_id="item_id", label=pl.lit(1.0, dtype=pl.Float32))
        head(f"ML-1M, hold-out {number}: {requests.height:,} users, {past.height:,} events to learn from", FOLD_METRICS)

        def row(model: str, setting: str, options: dict[str, Any], published: tuple[float, ...] | None) -> None:
            found = measure(truth, ranked(model, options, past, requests), metrics)  # noqa: B023
            show(model, setting, found, FOLD_METRICS, published)

        row("popularity", "", {}, POPULAR.get(number))
        for l2 in sorted({TUNED, *(weight for fold, weight in EASE if fold == number)}):
            row("ease", f"l2 {l2:g}", {"max_history": 5000, "l2": l2}, EASE.get((number, l2)))
        # The settings of the first paper, whose figures could not be had.
        walked = {"neighbours": 158, "alpha": 1.4350197, "beta": 0.3265517}
        row("rp3beta", "neighbours 158, alpha 1.435, beta .3266", {"max_history": 5000, **walked}, None)
        row("itemknn", "neighbours 95", {"max_history": 5000, "neighbours": 95}, None)


def measure_lists(asked: argparse.Namespace, home: Path) -> None:
    """Hold all to the figures of the lists."""
    import llmrs_bench as lb

    data = lists(asked.archive, asked.lists, home)
    head("ML-1M, lists of 100", LISTS_METRICS)

    def ours(model: str, setting: str, options: dict[str, Any], published: tuple[float, ...] | None) -> None:
        run = lb.infer(model, data, options=options, home=home)
        show(model, setting, run.metrics(*LISTS_METRICS), LISTS_METRICS, published)

    ours("popularity", "", ALL_LESS, (0.1051, 0.2064, 0.4533, 0.2542))
    ours("ease", "l2 1320", {**ALL, "l2": 1320.0}, (0.2225, 0.3986, 0.7192, 0.4494))
    walked = (0.1836, 0.3419, 0.6758, 0.4011)
    same = {"neighbours": 546, "alpha": 1.0807, "beta": 0.7029}
    ours("rp3beta", "neighbours 546, alpha 1.0807, beta 0.7029", {**ALL, **same}, walked)
    made = framed(home, data, "rp3beta-published", walks(1.0807, 0.7029, 546, normalised=True))
    show("rp3beta", "the same, as published", made.metrics(*LISTS_METRICS), LISTS_METRICS, walked)
    straight = (0.1791, 0.3352, 0.6460, 0.3876)
    same = {"neighbours": 1000, "alpha": 1.2177, "beta": 0.0}
    ours("rp3beta", "neighbours 1000, alpha 1.2177, beta 0", {**ALL, **same}, straight)
    made = framed(home, data, "p3alpha-published", walks(1.2177, 0.0, 1000, normalised=False))
    show("rp3beta", "the same, as published", made.metrics(*LISTS_METRICS), LISTS_METRICS, straight)
    near = (0.1825, 0.3414, 0.6694, 0.3979)
    for similarity in ("cosine", "tfidf", "bm25"):
        options = {**ALL, "neighbours": 111, "similarity": similarity}
        ours("itemknn", f"neighbours 111, {similarity}", options, near)
    made = framed(home, data, "itemknn-published", cosines(111, 298, "bm25"))
    show("itemknn", "neighbours 111, bm25, shrink 298, as published", made.metrics(*LISTS_METRICS), LISTS_METRICS, near)
    factors = (0.1679, 0.3186, 0.6305, 0.3730)
    ours("bprmf", "defaults", {}, factors)
    ours("bprmf", "dim 200", {"dim": 200}, factors)


def measure_100k(asked: argparse.Namespace, home: Path) -> None:
    """Hold all to the figures of the split of MovieLens-100K, and compare lists with irspack."""
    import llmrs_bench as lb

    events, test = split_100k(asked.split_100k)
    data = hold_out(home, "ml100k-split", events, test)
    head("ML-100K, hold-out", SMALL_METRICS)

    def ours(model: str, setting: str, options: dict[str, Any], published: tuple[float, ...] | None) -> None:
        run = lb.infer(model, data, options=options, home=home)
        show(model, setting, run.metrics(*SMALL_METRICS), SMALL_METRICS, published)

    ours("popularity", "", ALL_LESS, (0.138754, 0.118664, 0.086669))
    ours("ease", "l2 210.926", {**ALL, "l2": 210.9260335725507}, (0.313082, 0.251220, 0.185129))
    walked = (0.289696, 0.230965, 0.173532)
    alpha, beta = 0.41257885094571617, 0.6050046063241745
    same = {"neighbours": 479, "alpha": alpha, "beta": beta}
    ours("rp3beta", "neighbours 479, alpha .4126, beta .6050", {**ALL, **same}, walked)
    made = framed(home, data, "rp3beta-published", walks(alpha, beta, 479, normalised=True))
    show("rp3beta", "the same, as published", made.metrics(*SMALL_METRICS), SMALL_METRICS, walked)
    near = (0.241881, 0.189290, 0.141100)
    ours("itemknn", "neighbours 805, tfidf", {**ALL, "neighbours": 805, "similarity": "tfidf"}, near)
    made = framed(home, data, "itemknn-published", cosines(805, 1000, "tfidf"))
    show(
        "itemknn", "neighbours 805, tfidf, shrink 1000, as published", made.metrics(*SMALL_METRICS), SMALL_METRICS, near
    )
    ours("bprmf", "defaults", {}, None)
    print()
    beside_irspack(home, data, asked.environments)


def main() -> None:
    """Measure what sources were given of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="ml-1m.zip")
    parser.add_argument("--folds", type=Path, help="folder with 0/test.tsv to 4/test.tsv")
    parser.add_argument("--lists", type=Path, help="folder with ml-1m.test.negative")
    parser.add_argument("--split-100k", type=Path, help="MovieLens.pkl")
    parser.add_argument("--environments", type=Path, default=Path(".peers"))
    parser.add_argument("--home", type=Path, help="folder in which data sets and runs are kept")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = asked.home or Path(folder)
        for given, measured in (
            (asked.split_100k, measure_100k),
            (asked.lists, measure_lists),
            (asked.folds, measure_folds),
        ):
            if given is not None:
                measured(asked, home)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        irspack_child(Path(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
