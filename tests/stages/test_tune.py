import errno
import math
import re
import resource
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from llmrs_bench.core import training_checkpoint
from llmrs_bench.core.artifacts import StageResult, restate
from llmrs_bench.core.config import LanguageModelConfig, PrepareConfig, PromptConfig
from llmrs_bench.core.errors import BenchError, DataError, LeakError, ModelError, OptionError, next_step
from llmrs_bench.core.tables import atomic_write
from llmrs_bench.core.types import Message, Prompt, no_progress
from llmrs_bench.llm import tuning
from llmrs_bench.llm.adapters import CARD, TunedModel, read_tuned
from llmrs_bench.llm.base import ModelOptions
from llmrs_bench.llm.loading import Checkpoint
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.llm.tokenization import PromptReader
from llmrs_bench.llm.tuning import end_of_turn
from llmrs_bench.report.words import sample_lines, tuning_forecast_lines
from llmrs_bench.stages.export import ModelForm, export_model
from llmrs_bench.stages.infer_language_model import infer_language
from llmrs_bench.stages.prepare import prepare
from llmrs_bench.stages.prompt import open_plan
from llmrs_bench.stages.serving import check_probe, serve
from llmrs_bench.stages.source import Origin
from llmrs_bench.stages.tune import TuneConfig, _warnings, mean_ndcg
from llmrs_bench.stages.tune import tune as stage
from llmrs_bench.stages.tune_preview import forecast_tuning, show_samples
from llmrs_bench.stages.tune_samples import Example, SampleMaker, check_tunable
from llmrs_bench.stages.tuned_models import training_of
from llmrs_bench.stages.workspace import Data, open_data
from tiny_models import tiny_llama, tiny_t5

QUICK = {"epochs": "2", "batch": "8", "lr": "0.01", "rank": "2", "valid": "4", "dtype": "float32"}


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "chatting", chat=True, context=512)


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_t5(tmp_path_factory.mktemp("models") / "encoding", context=512)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Labels by a rule: users like films with an even number."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("clicks")
    rows = [(user, (user * 7 + step * 3) % 50, step) for user in range(20) for step in range(10)]
    events = [f"u{user},i{item},{1000 * step + user},{1 - item % 2},Film number {item}" for user, item, step in rows]
    path = folder / "events.csv"
    path.write_text("user_id,item_id,timestamp,label,title\n" + "\n".join(events) + "\n")
    prepare(
        home,
        "liked",
        PrepareConfig.parse({"dataset": "liked", "task": "click", "allow_untitled": True}, owner="p"),
        Origin(path),
        no_progress,
    )
    return open_data(home, "liked")


def config(model: Path, template: str = "label", samples: int | str = 16, **more: Any) -> TuneConfig:
    options = {name: value for name, value in (QUICK | more.pop("options", {})).items() if value is not None}
    return TuneConfig(model=str(model), template=template, samples=samples, options=options, device="cpu", **more)  # type: ignore[arg-type]


def tune(data: Data, asked: TuneConfig, progress: Any) -> StageResult:
    """Tune in this process alone."""
    done = stage(data, asked, progress)
    assert done is not None
    return done


def maker(data: Data, model: Path, template: str, *, context: int = 512) -> SampleMaker:
    checkpoint = Checkpoint(ModelSpec("m", str(model)), ModelOptions())
    encoder = bool(checkpoint.config().is_encoder_decoder)
    reader = PromptReader(checkpoint.tokenizer(), chat=None, encoder_decoder=encoder)
    plan = open_plan(PromptConfig(template=template))
    check_tunable(data, plan)
    return SampleMaker(data, plan, history=5, reader=reader, end=end_of_turn(reader), context=context, seed=0)


def infer(data: Data, model: str, template: str = "label", **options: str) -> Any:
    asked = LanguageModelConfig(model=model, template=template, device="cpu", engine="transformers", options=options)
    return infer_language(data, asked, no_progress).artifact


TEMPLATES = ("label", "likelihood", "listwise", "yes-no", "like")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", ["llama", "chatting", "encoding"])
def test_what_is_learned_is_the_answer_and_the_end_of_its_turn(
    data: Data, clicks: Data, template: str, kind: str, request: pytest.FixtureRequest
) -> None:
    making = maker(clicks if template == "like" else data, request.getfixturevalue(kind), template)
    made, decode = making.make("train", 6), making.reader.tokenizer.decode
    assert len(made.examples) == 6
    for example in made.examples:
        sample = making.sample(example)
        bare = example.prompt.messages[-1].content
        assert sample.answer[-1:] == making.end
        written = decode(list(sample.answer[:-1])).strip()
        # A token may span the border: then what is learned begins with the end of the prompt.
        assert written.endswith(example.answer.strip())
        assert len(written) <= len(example.answer.strip()) + 8
        assert decode(list(sample.prompt + sample.answer[:-1])).count(example.answer.strip()) >= 1
        assert bare


def test_validation_counts_a_tie_as_the_mean_over_its_orders() -> None:
    prompt = Prompt("p", "r", (Message("user", "Which?"),), ("a", "b", "c"), choices=("A", "B", "C"))
    example = Example(prompt, "A", "a", label=True)

    def value(*scores: float) -> float:
        return mean_ndcg([example], [dict(zip("abc", scores, strict=False))])

    second, third = 1 / math.log2(3), 1 / math.log2(4)
    assert value(1, 1, 1) == pytest.approx((1 + second + third) / 3)
    assert value(1, 1, 2) == pytest.approx((second + third) / 2)
    assert value(2, 1, 1) == 1
    assert value(math.nan, 1, 1) == 0
    assert mean_ndcg([example], [{"b": 1.0}]) == 0
    assert mean_ndcg([example], [{"a": 1.0} | {f"i{n}": 1.0 for n in range(19)}]) == pytest.approx(
        sum(1 / math.log2(2 + rank) for rank in range(10)) / 20
    )


def test_fewer_samples_are_part_of_more_and_validation_stays(data: Data, llama: Path) -> None:
    making = maker(data, llama, "likelihood")
    few, many = making.make("train", 5), making.make("train", 20)
    assert [one.prompt for one in few.examples] == [one.prompt for one in many.examples[:5]]
    other = SampleMaker(data, making.plan, history=5, reader=making.reader, end=making.end, context=512, seed=1)
    assert [one.prompt for one in other.make("train", 5).examples] != [one.prompt for one in few.examples]
    assert [one.prompt.shown for one in other.make("valid", 5).examples] == [
        one.prompt.shown for one in making.make("valid", 5).examples
    ]


@pytest.mark.parametrize("template", ["label", "yes-no"])
def test_in_another_epoch_the_same_events_have_other_candidates(data: Data, llama: Path, template: str) -> None:
    making = maker(data, llama, template)
    first, again, second = (making.make("train", 12, epoch=epoch).examples for epoch in (0, 0, 1))
    assert [one.prompt for one in first] == [one.prompt for one in again]
    assert [one.prompt.request_id for one in first] == [one.prompt.request_id for one in second]
    assert [one.prompt.shown for one in first] != [one.prompt.shown for one in second]
    known = dict(data.artifact.table("interactions").group_by("user_id").agg("item_id").iter_rows())
    for one in second:
        user = one.prompt.request_id.split("-")[1]
        assert [item for item in one.prompt.shown if item in known[user]] == ([one.target] if one.label else [])
    if template == "label":
        assert [one.target for one in first] == [one.target for one in second]
        assert all(set(one.prompt.shown) != set(other.prompt.shown) for one, other in zip(first, second, strict=True))


@pytest.mark.slow
def test_tuning_draws_candidates_anew_where_they_are_shown(
    data: Data, clicks: Data, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    make = SampleMaker.make

    def noted(self: SampleMaker, part: str, count: int, *, epoch: int = 0) -> Any:
        epochs.extend([epoch] * (part == "train"))
        return make(self, part, count, epoch=epoch)

    monkeypatch.setattr(SampleMaker, "make", noted)
    once = tune(data, config(llama, samples=8), no_progress)
    assert epochs == [0]
    redrawn = tune(data, config(llama, samples=8, options={"redraw": "true"}), no_progress)
    assert epochs == [0, 0, 1]
    assert redrawn.name != once.name
    assert redrawn.artifact.facts["sample_ids"] == once.artifact.facts["sample_ids"]
    for some, template in ((clicks, "like"), (data, "likelihood")):
        with pytest.raises(OptionError, match=f"no effect on template {template}"):
            tune(some, config(llama, template, 8, options={"redraw": "true"}), no_progress)


def test_where_users_are_held_out_their_last_events_say_when_to_stop(llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    rows = [(user, (user * 7 + step * 3) % 50, 100 * step + user) for user in range(12) for step in range(10)]
    lines = [f"u{user},i{item},{time},Film number {item}" for user, item, time in rows]
    path.write_text("user_id,item_id,timestamp,title\n" + "\n".join(lines) + "\n")
    asked = {"dataset": "walks", "split": "time", "cut": "0.7", "validation": "users:4", "allow_untitled": True}
    prepare(tmp_path, "walks", PrepareConfig.parse(asked, owner="p"), Origin(path), no_progress)
    data = open_data(tmp_path, "walks")
    events = data.artifact.table("interactions")
    making = maker(data, llama, "label")
    held = events.filter(part="valid")
    made = making.make("valid", 100).examples
    assert len(made) == held["user_id"].n_unique() == 4
    for one in made:
        own = held.filter(user_id=one.prompt.request_id.split("-")[1])["item_id"].to_list()
        assert (one.prompt.request_id, one.target) == (
            f"valid-{one.prompt.request_id.split('-')[1]}-{len(own) - 1}",
            own[-1],
        )
        told = one.prompt.messages[-2 if one.prompt.messages[-1].role == "assistant" else -1].content
        assert all(f"- {item}\n" in told for item in own[-6:-1])
        assert not set(own[:-1]) & set(one.prompt.shown)
    learning = {one.prompt.request_id.split("-")[1] for one in making.make("train", 1000).examples}
    assert learning == set(events.filter(part="train")["user_id"])
    assert not learning & set(held["user_id"])


def test_no_held_out_event_is_in_a_sample(data: Data, llama: Path) -> None:
    making = maker(data, llama, "likelihood")
    truth = {(row[0].removeprefix("test-"), row[1]) for row in data.artifact.table("truth").iter_rows()}
    events = data.artifact.table("interactions")
    trained = set(events.filter(pl.col("part") == "train").select("user_id", "item_id").iter_rows())
    for example in making.make("train", 100).examples:
        user = example.prompt.request_id.split("-")[1]
        assert (user, example.target) in trained
        assert not {(user, item) for item in example.prompt.shown} & truth


def test_a_held_out_event_in_a_sample_is_refused(data: Data, llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making = maker(data, llama, "likelihood")
    first = making.make("train", 1).examples[0]
    user = first.prompt.request_id.split("-")[1]
    monkeypatch.setattr(SampleMaker, "_held", {user: [first.target]})
    with pytest.raises(LeakError, match=f"contains item '{first.target}'"):
        making.make("train", 100)


def test_history_is_left_out_and_never_the_answer(data: Data, llama: Path) -> None:
    making = maker(data, llama, "likelihood")
    sizes = [making.sample(one).size for one in making.make("train", 30).examples]
    tight = maker(data, llama, "likelihood", context=max(sizes) - 8)
    made = tight.make("train", 30)
    assert made.facts["n_truncated"] > 0
    for one, before in zip(made.examples, making.make("train", 30).examples, strict=True):
        sample = tight.sample(one)
        assert sample.size <= tight.context
        assert sample.answer == making.sample(before).answer
    with pytest.raises(BenchError, match="does not fit"):
        maker(data, llama, "likelihood", context=12).make("train", 30)
    asked = config(llama, "likelihood", 30, options={"context": str(tight.context)})
    shown, counts = show_samples(data, asked, 1)
    lost = f"{made.facts['n_truncated']:,}"
    assert f"{lost} show less history to fit" in list(sample_lines(shown, counts))[-1]
    trained = {"metric": "loss", "valid_before": 2.0, "valid_best": 1.0}
    assert f"{lost} samples show less history, to fit their token budget" in _warnings(trained, made, made)


def test_a_tuned_model_is_asked_beside_its_base(data: Data, chatting: Path) -> None:
    done = tune(data, config(chatting), no_progress)
    facts, folder = done.artifact.facts, done.artifact.path
    assert folder.parent == data.place.models
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja", CARD} <= {
        path.name for path in folder.iterdir()
    }
    assert facts["metric"] == "ndcg@10"
    assert len(facts["sample_ids"]) == facts["samples"] == 16
    assert not list(data.place.models.glob("*.training"))
    assert not tune(data, config(chatting), no_progress).fresh
    run = infer(data, done.name)
    assert run.facts["model"]["name"] == "chatting+lora-16"
    assert run.facts["typed"]["rank"] == "2"
    tuned = run.facts["tuned"]
    assert (tuned["name"], tuned["samples"]) == ("chatting+lora", 16)
    assert (tuned["options"]["rank"], tuned["options"]["dropout"]) == (2, 0.05)  # what was typed, and a default
    assert run.facts["training"]["seconds"] == facts["seconds"]
    assert run.facts["seconds"] == pytest.approx(run.facts["scoring_seconds"] + facts["seconds"], abs=0.01)
    base = infer(data, str(chatting))
    assert base.facts["model"]["name"] == "chatting"
    assert not run.table("rankings")["score"].equals(base.table("rankings")["score"])


def test_no_samples_are_the_model_as_it_is_under_the_name_of_a_tuned_one(data: Data, llama: Path) -> None:
    done = tune(data, config(llama, samples=0), no_progress)
    run, base = infer(data, done.name), infer(data, str(llama))
    assert run.facts["model"]["name"] == "llama+lora-0"
    asked = config(llama, samples=0)
    changed = [asked.model_copy(update=more) for more in ({"seed": 1}, {"history": 3})]
    models = [done, *(tune(data, each, no_progress) for each in changed)]
    tuned = [training_of(LanguageModelConfig(model=str(model.artifact.path), template="label")) for model in models]
    assert [each["seed"] for each in tuned] == [0, 1, 0]
    assert run.facts["tuned"]["series"] == tuned[0]["series"]
    restate(run, tuned={name: value for name, value in run.facts["tuned"].items() if name != "series"})  # as once made
    assert infer(data, done.name).facts["tuned"] == run.facts["tuned"]
    assert tuned[0]["series"] == tuned[1]["series"] != tuned[2]["series"]
    assert run.table("rankings")["score"].equals(base.table("rankings")["score"])


@pytest.mark.slow
def test_an_adapter_is_tuned_on(data: Data, llama: Path) -> None:
    first = tune(data, config(llama), no_progress)
    options = {name: value for name, value in QUICK.items() if name != "rank"}
    again = TuneConfig(model=first.name, template="label", samples=8, options=options, device="cpu", seed=1)
    second = tune(data, again, no_progress)
    assert second.artifact.facts["label"] == "llama+lora-16+lora-8"
    assert infer(data, second.name).facts["typed"]["tune_seed"] == "1"
    with pytest.raises(OptionError, match="is an adapter"):
        tune(data, again.model_copy(update={"options": QUICK}), no_progress)


@pytest.mark.slow
def test_all_weights_and_encoder_decoders_are_tuned(
    data: Data, llama: Path, encoding: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    full = {name: value for name, value in QUICK.items() if name != "rank"}
    wanted = TuneConfig(model=str(llama), template="listwise", samples=8, method="full", options=full, device="cpu")
    done = tune(data, wanted, no_progress)
    assert (done.artifact.path / "model.safetensors").is_file()
    assert capfd.readouterr().err == ""  # no bar of another library
    assert done.artifact.facts["metric"] == "loss"
    assert infer(data, str(done.artifact.path), "likelihood").facts["model"]["name"] == "llama+full-8"
    other = tune(data, config(encoding, "likelihood", 8), no_progress)
    assert infer(data, other.name, "likelihood").facts["typed"]["rank"] == "2"


@pytest.mark.slow
def test_a_rule_of_clicks_is_learned(clicks: Data, llama: Path) -> None:
    done = tune(clicks, config(llama, "like", 32), no_progress)
    assert done.artifact.facts["metric"] == "auc"
    run = infer(clicks, done.name, "like")
    assert run.table("rankings").height == clicks.artifact.table("requests").height


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the weights of an adapter, and the digest that is kept of them."""
    path, card = folder / "adapter_model.safetensors", read_tuned(folder)
    weights = load_file(path)
    change(weights)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, path)
    from llmrs_bench.core.hashing import file_digest

    assert card is not None
    card = card.model_copy(update={"files": {**card.files, path.name: file_digest(path)}})
    (folder / CARD).write_text(card.model_dump_json())


@pytest.mark.slow
def test_what_is_not_the_tuned_model_is_refused_by_its_own_message(data: Data, llama: Path, tmp_path: Path) -> None:
    folder = tune(data, config(llama), no_progress).artifact.path
    kept = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is empty"):
        infer(data, str(folder))
    (folder / "adapter_model.safetensors").write_bytes(kept[:-4] + b"\0\1\2\3")
    with pytest.raises(ModelError, match="is damaged"):
        infer(data, str(folder))
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(BenchError, match="holds no adapter_model"):
        infer(data, str(folder))
    (folder / "adapter_model.safetensors").write_bytes(kept)
    template = tmp_path / "template.jinja"
    template.write_text("{% for message in messages %}{{ message.content }}{% endfor %}")
    with pytest.raises(ModelError, match="another chat template"):
        infer(data, str(folder), chat_template=str(template))
    with pytest.raises(ModelError, match="tuned on another model"):
        infer(data, str(tiny_llama(tmp_path / "other", context=512, seed=5)), lora=str(folder))
    changed(folder, lambda weights: [weight.zero_() for name, weight in weights.items() if "lora_B" in name])
    with pytest.raises(ModelError, match="changes nothing"):
        infer(data, str(folder), dtype="bfloat16")


def test_an_engine_that_serves_something_else_is_refused(data: Data, llama: Path) -> None:
    done = tune(data, config(llama), no_progress)
    tuned = read_tuned(done.artifact.path)
    assert isinstance(tuned, TunedModel)
    engine = serve(
        data, LanguageModelConfig(model=str(llama), device="cpu", engine="transformers"), no_progress
    ).start()
    with pytest.raises(ModelError, match="serves the base without what was tuned"):
        check_probe(engine, tuned)
    off = tuned.model_copy(
        update={
            "probe": tuple(
                one.model_copy(
                    update={"tuned": tuple(x + 0.1 for x in one.base), "base": tuple(x + 9 for x in one.base)}
                )
                for one in tuned.probe
            )
        }
    )
    with pytest.raises(ModelError, match="it is not exact"):
        check_probe(engine, off)
    engine.close()


@pytest.mark.parametrize(
    ("template", "samples", "more", "words"),
    [
        ("pairwise", 8, {}, "does not define the right answer"),
        ("label", 5000, {}, "5,000 samples were asked for"),
        ("like", 8, {}, "--task ranking"),
        ("label", 8, {"template_options": {"orders": "2"}}, "shows a sample once"),
        ("label", 8, {"template_options": {"past": "other"}}, "applies to test requests"),
        ("label", 8, {"method": "full"}, "no effect with --method full"),
        ("label", 8, {"options": {"rnk": "3"}}, "unknown option 'rnk'"),
        ("yes-no", 1, {}, "have the answer"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    data: Data, llama: Path, template: str, samples: int, more: dict[str, Any], words: str
) -> None:
    with pytest.raises((OptionError, DataError), match=words):
        tune(data, config(llama, template, samples, **more), no_progress)


def test_too_few_samples_are_refused_before_a_prompt_is_written(
    data: Data, clicks: Data, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SampleMaker, "make", None)
    for some, template in ((data, "label"), (clicks, "like")):
        with pytest.raises(DataError, match="5,000 samples were asked for, but the training part has") as caught:
            tune(some, config(llama, template, 5000), no_progress)
        assert "--samples all" in caught.value.hint


def test_samples_are_shown_with_what_is_learned_marked(data: Data, chatting: Path) -> None:
    shown, counts = show_samples(data, config(chatting, samples=4), 2)
    assert len(shown) == 2
    assert all(one.choices[0].endswith("<|end|>") for one in shown)
    assert all(one.text.endswith("<|assistant|>Answer:") for one in shown)
    assert counts["samples"] == 4
    assert not list(data.place.models.glob("tuned-*"))
    with pytest.raises(OptionError, match="no sample to show"):
        show_samples(data, config(chatting, samples=0), 2)


@pytest.mark.slow
def test_a_look_before_tuning_loads_no_weights_and_knows_what_is_kept(
    data: Data, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(llama, samples=16, options={"epochs": "3", "evaluate_every": "2"})
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "base", None)
        before = forecast_tuning(data, asked)
    assert (before.made, before.kept, before.seconds, before.sessions) == (False, 0, None, 0)
    assert (before.counts["samples"], before.steps, before.validations) == (16, 6, 4)  # 3 epochs of 2 steps
    assert before.gb is not None
    assert before.gb < before.free_gb
    done = tune(data, asked, no_progress)
    facts = done.artifact.facts
    assert facts["tokens"] == before.counts["tokens"]
    assert facts["steps_planned"] == before.steps
    assert before.place == done.artifact.path
    after = forecast_tuning(data, asked)
    assert (after.made, after.seconds) == (True, 0.0)
    longer = forecast_tuning(data, config(llama, samples=16, options={"epochs": "6", "evaluate_every": "2"}))
    assert longer.sessions == 1
    assert longer.seconds is not None
    lines = list(tuning_forecast_lines(asdict(longer)))
    assert any(line.startswith("steps           12 at most") for line in lines)
    assert any("as 1 earlier tuning took" in line for line in lines)
    nothing = forecast_tuning(data, config(llama, samples=0))
    assert (nothing.steps, nothing.gb) == (0, None)
    other = forecast_tuning(data, config(llama, samples=16, method="full", options={"rank": None}))
    assert other.sessions == 0


def test_unknown_tuned_models_are_named(data: Data, llama: Path) -> None:
    with pytest.raises(OptionError, match="0 tuned models"):
        infer(data, "tuned-nothing")


@pytest.mark.slow
def test_a_model_tuned_on_another_split_is_refused(llama: Path, tmp_path: Path) -> None:
    """Its samples may hold what is tested: the same data, split in another way."""
    path = tmp_path / "events.csv"
    rows = [(user, (user * 7 + step * 3) % 50, 100 * step + user) for user in range(8) for step in range(10)]
    lines = [f"u{user},i{item},{time},{item % 2},Film number {item}" for user, item, time in rows]
    path.write_text("user_id,item_id,timestamp,label,title\n" + "\n".join(lines) + "\n")

    def liked(variant: str, **options: Any) -> Data:
        asked = PrepareConfig.parse({"dataset": "liked", "task": "click", "allow_untitled": True, **options}, owner="p")
        prepare(tmp_path, f"liked@{variant}", asked, Origin(path), no_progress)
        return open_data(tmp_path, f"liked@{variant}")

    tuned = tune(liked("time"), config(llama, "like"), no_progress).artifact.path
    with pytest.raises(ModelError, match="was tuned on another split of liked than liked@random") as caught:
        infer(liked("random", split="random"), str(tuned), "like")
    assert caught.value.hint == "Tune on this one: llmrs-bench tune --dataset liked@random --template like."
    with pytest.raises(ModelError, match="another split of liked than liked@ranked") as caught:
        infer(liked("ranked", task="ranking", n_candidates=5), str(tuned), "yes-no")
    assert str(caught.value.hint).endswith("--template TEMPLATE.")  # `like` is of clicks alone
    assert infer(liked("few", users=2), str(tuned), "like").table("rankings").height  # the same split, fewer users


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("sasrec", "sasrec is not a language model"),
        ("logistic", "logistic is not a language model"),
        ("mock", "mock answers by a formula"),
        ("smollm2-135m-instrct", "unknown model 'smollm2-135m-instrct'"),
    ],
)
def test_only_a_language_model_with_weights_is_tuned(data: Data, model: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        tune(data, config(Path(model)), no_progress)


@pytest.mark.slow
def test_an_exported_model_answers_the_same_in_transformers_and_here(
    data: Data, chatting: Path, tmp_path: Path
) -> None:
    done = tune(data, config(chatting), no_progress)
    forms: tuple[ModelForm, ...] = ("adapter", "weights")
    for form in forms:
        files = {path.name for path in export_model(data, done.name, form, tmp_path / form)}
        assert {CARD, "manifest.json", "tokenizer.json", "chat_template.jinja"} <= files
        assert ("adapter_model.safetensors" in files) == (form == "adapter")
        assert ("model.safetensors" in files) == (form == "weights")
    said = []
    for folder in (done.artifact.path, tmp_path / "adapter", tmp_path / "weights", chatting):
        with torch.inference_mode():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
            said.append(model(input_ids=torch.arange(20, 60)[None]).logits.log_softmax(-1))
    assert torch.equal(said[0], said[1])
    assert torch.allclose(said[0], said[2], atol=1e-5)
    assert not torch.allclose(said[0], said[3], atol=1e-3)
    kept, merged = infer(data, done.name), infer(data, str(tmp_path / "weights"))
    assert merged.facts["model"]["name"] == kept.facts["model"]["name"] == "chatting+lora-16"
    scores = [run.table("rankings")["score"].to_numpy() for run in (kept, merged)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_what_cannot_be_exported_is_said(data: Data, llama: Path, tmp_path: Path) -> None:
    untuned = tune(data, config(llama, samples=0), no_progress)
    with pytest.raises(OptionError, match="is its base, unchanged"):
        export_model(data, untuned.name, "adapter", tmp_path / "out")
    with pytest.raises(OptionError, match="not a model that was tuned here"):
        export_model(data, str(llama), "weights", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(OptionError, match="exists already"):
        export_model(data, untuned.name, "adapter", tmp_path / "full")


def test_a_prompt_that_does_not_fit_says_what_helps_when_tuning(data: Data, llama: Path) -> None:
    with pytest.raises(BenchError, match="does not fit") as caught:
        tune(data, config(llama, "listwise", 8, options={"context": "12"}), no_progress)
    assert caught.value.hint.startswith("Raise -O context=N, 512 at most, or end titles with -T title_tokens=N;")
    with pytest.raises(BenchError, match="does not fit") as caught:
        tune(data, config(tiny_llama(llama.parent / "short", context=16), "listwise", 8), no_progress)
    assert caught.value.hint.startswith("The model takes no more: choose a template whose answers are short")


@pytest.mark.parametrize("whose", ["self", "similar"])
@pytest.mark.parametrize("template", ["label", "yes-no", "listwise"])
def test_examples_are_choices_of_the_training_part(data: Data, llama: Path, template: str, whose: str) -> None:
    plan = open_plan(PromptConfig(template=template, options={"shots": "1", "shots_from": whose}))
    check_tunable(data, plan)
    base = maker(data, llama, template)
    making = SampleMaker(data, plan, history=3, reader=base.reader, end=base.end, context=512, seed=0)
    titles = dict(data.artifact.table("items").select("item_id", "title").iter_rows())
    events = data.artifact.table("interactions").filter(pl.col("part") == "train")
    known, told = {titles[item] for item in events["item_id"]}, 0
    for example in making.make("train", 40).examples:
        found = re.search(r"After (.+), a user chose (.+) next\.", example.prompt.messages[0].content)
        if found is None:  # nothing came before
            continue
        told += 1
        assert {*found[1].split("; "), found[2]} <= known
        assert found[2] not in {titles[item] for item in example.prompt.shown}
        assert making.sample(example).answer[-1:] == making.end
    assert told > 5


def test_examples_of_clicks_are_refused(clicks: Data, llama: Path) -> None:
    with pytest.raises(OptionError, match="shots has no effect with --task click"):
        tune(clicks, config(llama, "like", 8, template_options={"shots": "1"}), no_progress)


@pytest.mark.slow
def test_a_tuned_model_of_another_data_set_is_named(data: Data, clicks: Data, llama: Path) -> None:
    done = tune(clicks, config(llama, "like"), no_progress)
    home = data.place.root.parent.parent
    (home / "liked").symlink_to(clicks.place.root.parent)
    with pytest.raises(OptionError, match=f"; liked has {done.name}") as caught:
        infer(data, done.name[:-3])
    folder = home / "liked/models" / done.name
    assert caught.value.hint == f"To use it here, give its folder: --model {folder}."
    assert infer(data, str(folder)).facts["typed"]["tuned_on"] == "liked"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_encoder_decoder_is_tuned_and_tuned_on(data: Data, encoding: Path, method: Literal["lora", "full"]) -> None:
    options = {name: value for name, value in QUICK.items() if method == "lora" or name != "rank"}
    asked = TuneConfig(
        model=str(encoding),
        template="label",
        samples=8,
        method=method,
        options=options,
        device="cpu",
    )
    done = tune(data, asked, no_progress)
    assert infer(data, done.name).facts["model"]["name"] == f"encoding+{method}-8"
    again = {name: value for name, value in QUICK.items() if name != "rank"}
    on = asked.model_copy(update={"model": done.name, "samples": 4, "options": again})
    second = tune(data, on, no_progress)
    assert second.artifact.facts["label"] == f"encoding+{method}-8+{method}-4"


@pytest.mark.slow
def test_a_disk_that_fills_loses_nothing_that_was_kept(
    data: Data, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once while a checkpoint is written, and once while the tuned model is: by a limit of the system."""
    write, save, written = atomic_write, tuning.save_tuned, []

    def full_disk(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    def limited(*arguments: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        try:
            save(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    asked = config(llama, samples=16, options={"epochs": "3", "evaluate_every": "2"})
    with monkeypatch.context() as patched:
        patched.setattr(training_checkpoint, "atomic_write", full_disk)
        with pytest.raises(OSError, match="No space left") as caught:
            tune(data, asked, no_progress)
    assert "run the same command again" in next_step(caught.value)
    assert [path.suffix for path in data.place.models.iterdir() if not path.name.startswith(".")] == [".training"]
    assert forecast_tuning(data, asked).kept == 2
    with monkeypatch.context() as patched:
        patched.setattr(tuning, "save_tuned", limited)
        with pytest.raises(OSError, match="cannot be written to") as caught:
            tune(data, asked, no_progress)
    assert "run the same command again" in next_step(caught.value)
    assert not list(data.place.models.glob(".*.partial"))
    done = tune(data, asked, no_progress)
    assert done.artifact.facts["resumed_after"] == 3
    assert not list(data.place.models.glob("*.training"))
