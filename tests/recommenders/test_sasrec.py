"""SASRec: causality, padding, learning, determinism, scores, checkpoints."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import torch

from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.recommenders.protocol import Trained
from llmrs_bench.recommenders.sasrec import UNKNOWN_SCORE, SASRec, SASRecOptions
from llmrs_bench.recommenders.sasrec_net import NetOptions, SASRecNet
from llmrs_bench.schemas import INTERACTIONS, REQUESTS
from llmrs_bench.types import Step, silent

SMALL = {"max_history": "6", "dim": "16", "heads": "2", "epochs": "4", "batch": "4"}
ITEMS = [f"i{n:02}" for n in range(24)]


def interactions() -> pl.DataFrame:
    """Eight users; each walks the ring of items from a place of its own, two steps forward at a time."""
    rows = []
    for user in range(8):
        walk = [ITEMS[(3 * user + 2 * time) % 24] for time in range(9)]
        rows += [(f"u{user}", item, t, 1.0, "train" if t < 8 else "valid") for t, item in enumerate(walk)]
    return pl.DataFrame(rows, schema=INTERACTIONS, orient="row")


def request(name: str, history: list[str], candidates: list[str] | None) -> pl.DataFrame:
    return pl.DataFrame([(name, name, "test", 99, history, candidates)], schema=REQUESTS, orient="row")


REQUESTS_FRAME = pl.concat(
    [request(f"r{n}", [ITEMS[(n + 2 * t) % 24] for t in range(n)], ITEMS[n : n + 5]) for n in range(9)]
)


def sasrec(seed: int = 0, **options: str) -> SASRec:
    return SASRec(SASRecOptions.parse({**SMALL, **options}, owner="sasrec"), seed=seed, device="cpu")


def scores_of(model: SASRec, requests: pl.DataFrame = REQUESTS_FRAME) -> dict[str, dict[str, float]]:
    return {scores.request_id: dict(scores.values) for scores in model.score(requests)}


@pytest.fixture(scope="module")
def fitted() -> SASRec:
    model: Trained = (small := sasrec())
    model.fit(interactions(), silent)
    return small


@pytest.fixture
def net() -> SASRecNet:
    torch.manual_seed(0)
    return SASRecNet(9, NetOptions(max_history=8, dim=8, heads=2, dropout=0.0)).double().eval()


def test_a_position_sees_nothing_after_it(net: SASRecNet) -> None:
    before, after = net(torch.tensor([[1, 2, 3, 4, 5]])), net(torch.tensor([[1, 2, 9, 4, 5]]))
    assert torch.equal(before[:, :2], after[:, :2])
    assert (before[:, 2:] - after[:, 2:]).abs().amax(2).gt(1e-3).all()


def test_padding_changes_nothing(net: SASRecNet) -> None:
    alone, padded = net(torch.tensor([[1, 2, 3]])), net(torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]]))
    torch.testing.assert_close(padded[:1, :3], alone, rtol=0, atol=1e-12)


def test_training_and_evaluation_are_one_function_without_dropout(net: SASRecNet) -> None:
    items = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    torch.testing.assert_close(net.train()(items), net.eval()(items), rtol=0, atol=1e-12)


def test_order_and_position_matter(net: SASRecNet) -> None:
    first, second = net(torch.tensor([[1, 2, 3]]))[0, -1], net(torch.tensor([[2, 1, 3]]))[0, -1]
    assert (first - second).abs().max() > 1e-3


def test_eight_users_can_be_learned_by_heart() -> None:
    model = sasrec(dropout="0", epochs="80", patience="80", lr="0.01")
    facts = model.fit(interactions(), silent)
    assert facts["valid_ndcg@10"] == 1.0
    assert facts["sequences"] == 8
    assert facts["items"] == 24
    history = [ITEMS[(3 + 2 * time) % 24] for time in range(6)]
    values = scores_of(model, request("r", history, ITEMS))["r"]
    assert max(values, key=values.__getitem__) == ITEMS[(3 + 2 * 6) % 24]


def test_the_seed_makes_the_weights(fitted: SASRec) -> None:
    torch.rand(3)  # The state of the global generator is not to matter.
    again, other = sasrec(), sasrec(seed=1)
    again.fit(interactions(), silent)
    other.fit(interactions(), silent)
    assert scores_of(again) == scores_of(fitted)
    assert scores_of(other) != scores_of(fitted)


def test_progress_is_told_of_every_epoch() -> None:
    seen: list[tuple[str, int, int, str]] = []

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Step]:
        yield lambda done, note="": seen.append((label, total, done, note))

    facts = sasrec(epochs="2").fit(interactions(), progress)
    assert [entry[:3] for entry in seen] == [("sasrec", 2, 1), ("sasrec", 2, 2)]
    assert seen[0][3].startswith("loss ")
    assert "ndcg@10" in seen[0][3]
    assert facts["epochs"] == 2
    assert facts["device"] == "cpu"


def test_scores_do_not_depend_on_order_or_company(fitted: SASRec) -> None:
    together = scores_of(fitted)
    assert together.keys() == set(REQUESTS_FRAME["request_id"])
    turned = REQUESTS_FRAME.reverse().with_columns(pl.col("candidates").list.reverse())
    assert scores_of(fitted, turned) == together
    for row in REQUESTS_FRAME.iter_slices(1):
        name, candidates = row["request_id"][0], row["candidates"][0].to_list()[:2]
        alone = scores_of(fitted, request(name, row["history"][0].to_list(), candidates))[name]
        assert alone == {item: together[name][item] for item in candidates}


def test_scoring_leaves_no_mode_behind_between_scores(fitted: SASRec) -> None:
    modes = [torch.is_inference_mode_enabled() for _ in fitted.score(REQUESTS_FRAME)]
    assert modes == [False] * len(REQUESTS_FRAME)


def test_only_the_newest_history_counts(fitted: SASRec) -> None:
    recent = ITEMS[4:10]
    long, short = (request("r", history, ITEMS) for history in (ITEMS[12:20] + recent, recent))
    assert scores_of(fitted, long) == scores_of(fitted, short)
    assert scores_of(fitted, request("r", [*recent, "nobody knows it"], ITEMS)) == scores_of(fitted, short)
    assert scores_of(fitted, request("r", recent[:-1], ITEMS)) != scores_of(fitted, short)


def test_an_unknown_candidate_is_below_every_known_one(fitted: SASRec) -> None:
    values = scores_of(fitted, request("r", ITEMS[:3], [*ITEMS, "new"]))["r"]
    assert values.pop("new") == UNKNOWN_SCORE < min(values.values())


@pytest.mark.parametrize("history", [[], ["nobody", "knows"]])
def test_without_history_an_item_scores_the_log_of_its_share(fitted: SASRec, history: list[str]) -> None:
    train = interactions().filter(part="train")["item_id"].to_list()
    values = scores_of(fitted, request("r", history, [*ITEMS, "new"]))["r"]
    assert values.pop("new") == UNKNOWN_SCORE
    assert values == {item: pytest.approx(math.log(train.count(item) / len(train))) for item in ITEMS}


def test_no_candidates_give_no_scores_and_null_is_refused(fitted: SASRec) -> None:
    assert scores_of(fitted, request("r", ITEMS[:3], [])) == {"r": {}}
    with pytest.raises(ModelError, match="no candidates"):
        scores_of(fitted, request("r", ITEMS[:3], None))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (interactions().filter(part="train"), "validation"),
        (interactions().filter(item_id="i00"), "at least two items"),
        (interactions().filter(part="valid"), "at least two items"),
        (interactions().filter(pl.col("timestamp").is_in([0, 8])), "no user has two"),
    ],
)
def test_too_little_data_is_an_error(events: pl.DataFrame, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        sasrec().fit(events, silent)
    assert caught.value.hint


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="not a multiple of heads"):
        sasrec(dim="10", heads="4")
    with pytest.raises(OptionError, match="hidden_units"):
        sasrec(hidden_units="64")


def test_an_untrained_model_does_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not trained"):
        scores_of(sasrec())
    with pytest.raises(ModelError, match="not trained"):
        sasrec().save(tmp_path)


def test_a_saved_model_scores_the_same(fitted: SASRec, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = SASRec.load(tmp_path, device="cpu")
    assert loaded.options == fitted.options
    assert loaded.seed == fitted.seed
    assert scores_of(loaded) == scores_of(fitted)


def edit(folder: Path, **facts: object) -> None:
    file = folder / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


@pytest.mark.parametrize(
    "facts",
    [
        {"items": ITEMS[:-1]},
        {"items": None},
        {"options": {"dim": 8}},
        {"options": {"unheard": 8}},
        {"options": []},
        {"seed": None},
        {"kind": "gru4rec"},
        {"sha256": "0"},
    ],
)
def test_a_damaged_checkpoint_is_an_error(fitted: SASRec, tmp_path: Path, facts: dict[str, object]) -> None:
    fitted.save(tmp_path)
    edit(tmp_path, **facts)
    with pytest.raises(ModelError, match="sasrec") as caught:
        SASRec.load(tmp_path, device="cpu")
    assert "train the model again" in caught.value.hint


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_broken_file_is_an_error(fitted: SASRec, tmp_path: Path, name: str) -> None:
    fitted.save(tmp_path)
    (tmp_path / name).write_bytes(b"\xff\x00")
    with pytest.raises(ModelError, match="sasrec"):
        SASRec.load(tmp_path, device="cpu")
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match="sasrec"):
        SASRec.load(tmp_path, device="cpu")
