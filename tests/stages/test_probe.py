"""Stage `probe`: planted lines are recognised, what nobody can know is at chance; answers are kept; boards say it."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from command_line import Bench, write_small
from llmrs_bench.core.errors import ArtifactError, DataError, OptionError
from llmrs_bench.core.types import Prompt, Response, no_progress
from llmrs_bench.data.raw_lines import GENERIC
from llmrs_bench.stages.groups import group_requests
from llmrs_bench.stages.probe import ProbeConfig, lines_of, probe, trials_of
from llmrs_bench.stages.probed import open_probes
from llmrs_bench.stages.workspace import Data, open_data
from tiny_models import tiny_llama


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A home with the small data set, prepared."""
    home = tmp_path_factory.mktemp("probe")
    source = home / "source"
    source.mkdir()
    made = Bench(home / "home", write_small(source))
    made.prepared()
    return made


@pytest.fixture
def prepared(small: Bench) -> Data:
    return open_data(small.home, "small")


def plant(folder: Path, lines: list[tuple[str, str]], *, steps: int) -> Path:
    """Tune the tiny model of a folder on texts until it knows each end behind its beginning."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    batch = tokenizer([prefix + end for prefix, end in lines], padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned = folder.with_name(f"{folder.name}-tuned")
    model.save_pretrained(tuned)
    tokenizer.save_pretrained(tuned)
    return tuned


def test_a_mock_is_at_chance_and_the_table_has_every_trial(prepared: Data) -> None:
    made = probe(prepared, ProbeConfig(model="mock", items=30, users=20), no_progress)
    table = made.artifact.table("probes")
    verdicts = {(each["probe"], each["reading"]): each for each in made.artifact.facts["verdicts"]}
    assert not any(each["significant"] for each in verdicts.values())
    assert verdicts.keys() == {("item", "token"), ("item", "pmi"), ("line", "token")}
    assert made.artifact.facts["left_out"][0].startswith("next events: no user has an event that can be matched")
    for (name, reading), each in verdicts.items():
        rows = table.filter(pl.col("probe") == name, pl.col("reading") == reading, ~pl.col("control"))
        first = rows.select(pl.when(pl.col("better") == 0).then(1 / (1 + pl.col("tied"))).otherwise(0.0).mean()).item()
        assert first == pytest.approx(each["share"])
        assert rows.height == each["trials"]
        assert each["chance"] == pytest.approx((1 / rows["candidates"]).mean())
    again = probe(prepared, ProbeConfig(model="mock", items=30, users=20), no_progress)
    assert not again.fresh
    assert again.artifact.path == made.artifact.path


def test_a_larger_probe_asks_for_the_rest_alone(prepared: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrs_bench.llm.backends.mock import MockEngine

    answered: list[str] = []
    plainly = MockEngine.answer

    def counted(self: MockEngine, prompts: Sequence[Prompt]) -> Iterator[Response]:
        answered.extend(each.prompt_id for each in prompts)
        return plainly(self, prompts)

    monkeypatch.setattr(MockEngine, "answer", counted)
    probe(prepared, ProbeConfig(model="mock", users=0, seed=5, items=10), no_progress)
    assert sum(name.startswith("item-") for name in answered) == 20
    answered.clear()
    probe(prepared, ProbeConfig(model="mock", users=0, seed=5, items=15), no_progress)
    assert sum(name.startswith("item-") for name in answered) == 10
    assert len(answered) <= 15  # of titles without an id those that are new


@pytest.mark.slow
def test_planted_lines_are_recalled_and_unplanted_ones_are_at_chance(prepared: Data, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "tiny", context=128, layers=2)
    config = ProbeConfig(model=str(base), items=20, users=20, options={"self_check": "0"})
    trials, _ = trials_of(prepared, config, lines_of(prepared, "auto"))
    tuned = plant(base, [(trial.prefix, trial.choices[trial.true]) for trial in trials], steps=400)
    before = probe(prepared, config, no_progress).artifact.facts["verdicts"]
    after = probe(prepared, config.model_copy(update={"model": str(tuned)}), no_progress).artifact.facts["verdicts"]
    assert not any(each["significant"] for each in before)
    for each in after:
        if each["reading"] == "token":
            assert each["share"] > 0.95, each
            assert each["significant"], each
            # The control of a line still has the user, of whom one line alone was planted.
            assert each["control_share"] < (0.8 if each["probe"] == "line" else 0.3), each


def test_boards_say_what_a_probe_found(small: Bench, prepared: Data) -> None:
    small.run("infer", "-d", "small", "-m", "mock", "-t", "likelihood")
    small.run("probe", "-d", "small", "-m", "mock", "--items", "12", "--users", "0")
    quiet = small.run("compare", "-d", "small", "--format", "markdown")
    assert "No sign that mock knows small by heart: item titles" in " ".join(quiet.stdout.split())
    assert "by heart" not in quiet.stderr  # no warning
    assert "‡" not in quiet.stdout
    place = next(prepared.place.probes.glob("*/manifest.json"))
    for path in prepared.place.probes.glob("*/manifest.json"):  # as if the model had known the titles
        facts = json.loads(path.read_text("utf-8"))
        facts["facts"]["verdicts"][0] |= {"significant": True, "share": 0.31, "corrected": 1e-9}
        path.write_text(json.dumps({**facts, "digest": None}), "utf-8")
    assert place.is_file()
    said = small.run("compare", "-d", "small", "--format", "markdown")
    board = " ".join(said.stdout.split())
    assert "warning: probe of memory: mock knows the data by heart" in " ".join(said.stderr.split())
    assert "mock knows the data by heart: item titles 31.0 % at rank 1, chance" in board
    # Whether a row is on the Pareto front, too, is a matter of seconds.
    marked = [line.partition(" | ")[0].replace(" \\*", "") for line in said.stdout.splitlines() if "‡" in line]
    assert [*dict.fromkeys(marked)] == ["| mock ‡", "‡ knows the data by heart, as its probe shows"]
    words = " ".join(small.run("compare", "-d", "small").stdout.replace(" *", "").split())
    assert "mock (likelihood) ‡" in words
    assert "‡ knows the data by heart, as its probe shows" in words
    latex = small.run("compare", "-d", "small", "--format", "latex").stdout
    assert any(line.startswith("mock") and r"$^{\ddagger}$ &" in line for line in latex.splitlines())
    assert r"$^{\ddagger}$: knows the data by heart" in latex
    page = small.home / "page.html"
    small.run("compare", "-d", "small", "--html", str(page))
    assert page.read_text("utf-8").count('"memory":"knows the data by heart') == 1
    made = json.loads(small.run("compare", "-d", "small", "--format", "json").stdout)
    rows = {row["model"]: row for row in made["rows"]}
    assert "memory" in json.dumps(rows["mock"])
    assert "memory" not in json.dumps(rows["chance"])


def test_the_command_prints_what_it_says_in_every_format(small: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    arguments = ("probe", "-d", "small", "-m", "mock", "-n", "8")
    table = small.run(*arguments).stdout
    assert "Lines as in RecBole atomic files" in table
    assert "item titles, PMI" in table
    assert "| item titles | 8 |" in small.run(*arguments, "--format", "markdown").stdout
    found = json.loads(small.run(*arguments, "--format", "json").stdout)
    assert found["kind"] == "probe"
    assert found["verdicts"][0]["trials"] == 8
    generic = json.loads(small.run(*arguments, "--lines", "generic", "--format", "json").stdout)
    assert generic["lines"] == GENERIC.name
    assert "mock" not in small.run("list", "runs", "--state", "damaged").stdout
    small.run("du")
    small.run("rm", "--unused", "--yes")
    assert json.loads(small.run(*arguments, "--format", "json").stdout) == found


def test_what_cannot_be_asked_is_refused(prepared: Data) -> None:
    with pytest.raises(OptionError, match="unknown layout of lines"):
        lines_of(prepared, "demo")
    with pytest.raises(DataError, match="no items and no users are asked for"):
        probe(prepared, ProbeConfig(model="mock", items=0, users=0), no_progress)
    with pytest.raises(OptionError):
        ProbeConfig.parse_flags({"model": "mock", "item": 3}, command="probe")


def test_boards_are_divided_by_whether_the_title_of_the_target_is_recalled(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    bench = Bench(tmp_path / "home", write_small(tmp_path / "source"))
    bench.prepared()
    made = open_data(bench.home, "small")
    assert "llmrs-bench probe --model MODEL" in bench.run("compare", "-d", "small", "--by", "recalled", code=1).stderr
    bench.run("probe", "-d", "small", "-m", "mock", "--items", "40", "--users", "0")
    table = open_probes(made)[0].table("probes").filter(pl.col("reading") == "token", ~pl.col("control"))
    recalled = dict(table.select("subject", pl.col("better") == 0).iter_rows())
    truth = dict(made.artifact.table("truth").select("request_id", "item_id").iter_rows())
    words = {True: "title recalled", False: "not recalled", None: "unknown"}
    for by in ("recalled", "recalled:mock"):
        groups = dict(group_requests(made, by).select("request_id", "group").iter_rows())
        assert groups == {request: words[recalled.get(item)] for request, item in truth.items()}
    assert set(groups.values()) >= {"not recalled", "unknown"}
    with pytest.raises(ArtifactError, match="no probe has asked llama"):
        group_requests(made, "recalled:llama")


def test_a_recommender_has_no_likelihoods_to_probe(small: Bench) -> None:
    said = small.run("probe", "-d", "small", "-m", "popularity", code=2).stderr
    assert "'popularity' is not a language model" in said
