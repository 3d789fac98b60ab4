"""What a careless person types ends in one message, with a hint and the right exit code."""

from pathlib import Path

import pytest

from command_line import Bench
from llmrs_bench.core.registry import ENGINES, Registry


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("prompt", "--dataset", "small"), 1, ("not prepared", "llmrs-bench prepare --dataset small")),
        (("infer", "--model", "random", "--dataset", "ml1"), 2, ("Did you mean 'ml1m'",)),
        (("infer", "--model", "random", "--dataset", "small@"), 2, ("cannot name a variant",)),
        (("prepare", "--dataset", "ml1mm"), 2, ("Did you mean 'ml1m'",)),
        (
            ("prepare", "--dataset", "demo", "--users", "none"),
            2,
            ("--users none is not", "a whole number of at least 1 or 'all'", "default is 1000"),
        ),
        (("prepare", "--dataset", "demo", "--users", "0"), 2, ("at least 1",)),
        (
            ("prepare", "--dataset", "demo", "--n-candidates", "1"),
            2,
            ("--n-candidates 1 is below 2", "its default is 20"),
        ),
        (("prepare", "--dataset", "demo", "--users", str(2**64)), 2, (f"--users {2**64} is not",)),
        (("prepare", "--dataset", "demo", "--k-core", str(2**64)), 2, (f"--k-core {2**64} is above",)),
        (("prepare", "--dataset", "demo", "--min-rating", "nan"), 2, ("--min-rating nan is not a finite number",)),
        (("prepare", "--dataset", "demo", "--min-rating", "1e309"), 2, ("--min-rating inf is not a finite number",)),
        (("prepare", "--dataset", "demo", "--max-unpacked", "-1"), 2, ("--max-unpacked -1.0 is not above 0",)),
        (("prepare", "--dataset", "demo", "--item-word", ""), 2, ("--item-word",)),
        (("prepare", "--dataset", "demo", "--columns", "item=asin"), 2, ("no effect on the format demo",)),
        (("prepare", "--dataset", "demo", "--columns", "item"), 2, ("--columns item is not KEY=VALUE",)),
        (("prepare", "--dataset", "demo", "--seed", str(2**64)), 2, (f"is above {2**63 - 1}",)),
        (("prepare", "--dataset", "demo", "--users", "x" * 5000), 2, ("x ... (5,000 characters)",)),
        (("prepare", "--dataset", "demo", "--candidates", "popular"), 2, ("Did you mean 'popularity'",)),
        (("prepare", "--dataset", "demo", "--candidates", "file:none.tsv"), 1, ("none.tsv",)),
        (("prepare", "--dataset", "demo", "--candidates", "file:~nobody-here/x"), 1, ("~nobody-here/x",)),
        (("prepare", "--dataset", "demo", "--protocol", "papers"), 2, ("Did you mean 'paper'",)),
        (("prepare", "--dataset", "small", "--source", "nowhere"), 1, ("nowhere",)),
        (("tune", "--model", "itemknn", "--dataset", "demo"), 2, ("itemknn is not a language model", "infer --model")),
        (
            ("tune", "--model", "smollm2-135m", "--dataset", "demo"),
            2,
            ("tune needs a template", "Add --template label"),
        ),
        (
            ("prepare", "--dataset", "demo", "--window-by", "events"),
            2,
            ("Add --split time, or leave out --window-by.",),
        ),
        (
            ("prepare", "--dataset", "demo", "--split", "time", "--validation", "users:0"),
            2,
            ("--validation: 'users:0' is not", "--validation takes last-item, time or users:N, with N from 1 on;"),
        ),
        (
            ("prepare", "--dataset", "demo", "--cold-users", "0,0,1"),
            2,
            ("--cold-users: 0,0,1 names a number twice", "different whole numbers of at least 0, such as 0,1,2,5,10."),
        ),
        (("rm", "sasrek"), 2, ("unknown run 'sasrek'", "hint: There are none.")),
        (
            ("prepare", "--dataset", "demo", "--split", "time", "--windows", "0"),
            2,
            ("--windows 0 is below 2", "a whole number of at least 2 and of at most 1,000.\n"),
        ),
        (("prepare", "--dataset", "demo", "--task", "click", "--cut", "0.9"), 2, ("hint: Leave out --cut.",)),
        (("show", "sasrek"), 2, ("unknown run 'sasrek'", "sasrec is a model that was not run on these data")),
        (("prepare", "--dataset", "demo", "--k-core", "5000"), 1, ("hint",)),
    ],
)
def test_mistakes_before_any_data_end_in_one_message(
    bench: Bench, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    if "small" in arguments and "prepare" not in arguments:
        (bench.home / "small").mkdir(parents=True)
    result = bench.run(*arguments, code=code)
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    assert not list(bench.home.rglob("manifest.json"))
    assert not list(bench.home.rglob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("infer", "--model", "sasrek"), 2, "Did you mean 'sasrec'"),
        (("infer", "--model", "llama2-7b"), 2, "Did you mean 'llama-2-7b'"),
        (("infer", "--model", "mock", "--template", "list-wise"), 2, "Did you mean 'listwise'"),
        (("infer", "--model", "mock", "--engine", "vlm"), 2, "Did you mean 'vllm'"),
        (("infer", "--model", "no-such", "--engine", "vlm"), 2, "Did you mean 'vllm'"),
        (("infer", "--model", "llama-2-7b", "--engine", "mock"), 2, "false name"),
        (("infer", "--model", "mock", "-T", "colour=red"), 2, "colour"),
        (("infer", "--model", "popularity", "--from-cache"), 2, "--from-cache"),
        (("infer", "--model", "popularity", "--check-determinism", "3"), 2, "--check-determinism"),
        (("evaluate", "--normalize", "max"), 2, "normalize"),
        (("evaluate", "--normalize", "token"), 2, "no run with likelihoods"),
        (("infer", "--model", "sasrec", "--history", "5"), 2, "--history applies only to language models"),
        (("infer", "--model", "sasrec", "-O", "width=5"), 2, "width"),
        (("infer", "--model", "sasrec", "-O", "dim"), 2, "KEY=VALUE"),
        (("infer", "--model", "sasrec", "-O", "dim=8", "-O", "dim=9"), 2, "twice"),
        (("infer", "--model", "sasrec", "--device", "tpu"), 2, "device"),
        (("evaluate", "--run", "sasrec"), 2, "unknown run"),
        (("compare", "--metrics", "ndgc@10"), 2, "ndcg@10"),
        (("compare", "--metrics", ""), 2, "--metrics: the value is empty"),
        (("evaluate", "--run", " "), 2, "--run: the value is empty"),
        (("evaluate", "--run="), 2, "--run=: the value is empty"),
        (("infer", "--model", "caf\udce9"), 2, "caf\\udce9 is not in UTF-8"),
        (("infer", "--model", "itemknn", "-O", "neighbours=1e309"), 2, "is not a whole number"),
        (("infer", "--model", "itemknn", "-O", f"neighbours={2**64}"), 2, "is above 2147483647"),
        (("infer", "--model", "mock", "-O", "pause=inf"), 2, "pause=inf is not a finite number"),
        (("infer", "--model", "mock", "--history", str(2**64)), 2, "--history 18446744073709551616 is above"),
        (("infer", "--model", "mock", "-T", "samples=90000"), 2, "samples=90000 is above 1000"),
        (("infer", "--model", "sasrec", "--train-fraction", "nan"), 2, "--train-fraction nan is not a finite number"),
        (("evaluate", "--metrics", "recall@" + "7" * 5000), 2, "unknown metric"),
        (("compare", "--samples", "70000000"), 2, "--samples 70000000 is above 100000"),
        (("compare", "--permutations", "2000000000"), 2, "--permutations 2000000000 is above 10000000"),
    ],
)
def test_mistakes_on_prepared_data_end_in_one_message(
    bench: Bench, arguments: tuple[str, ...], code: int, words: str
) -> None:
    bench.prepared()
    result = bench.run(*arguments, "--dataset", "small", code=code)
    assert result.stderr.count("error:") == 1
    assert words in result.stderr


def test_files_are_looked_for_before_an_engine_is_imported(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.prepared()
    (bench.home / "model").mkdir()
    load = Registry.load
    monkeypatch.setattr(Registry, "load", lambda self, name: None if self is ENGINES else load(self, name))
    there = ("infer", "-m", str(bench.home / "model"))
    for arguments, code, words in (
        (("infer", "-m", "./gone.gguf"), 1, "no file './gone.gguf'"),
        (("infer", "-m", "./gone.gguf", "--dry-run"), 1, "no file './gone.gguf'"),
        (("tune", "-m", "./gone", "-t", "label"), 1, "no folder './gone'"),
        (("prompt", "-m", "./gone", "--show", "1"), 1, "no folder './gone'"),
        ((*there, "-O", "gguf_file=q4.gguf"), 2, "gguf_file=q4.gguf"),
        ((*there, "-O", "lora=gone"), 2, "lora=gone: there is no such folder"),
        ((*there, "-O", "chat_template=gone.jinja"), 2, "chat_template=gone.jinja: there is no such file"),
        (("judge", "-m", "x" * 300, "--run", "a", "--engine", "openai"), 2, "Give a short name as --model"),
    ):
        assert words in bench.run(*arguments, "--dataset", "small", code=code).stderr


def test_what_nothing_foresaw_is_one_line_and_a_log(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of\nall things")

    bench.prepared()
    monkeypatch.setattr("llmrs_bench.stages.evaluate.check_measurable", fail)
    said = bench.run("evaluate", "--dataset", "small", code=1).stderr
    assert "error: this is a fault of llmrs-bench: ZeroDivisionError: of all things\n" in said
    assert "Traceback" not in said
    log = Path(said.split("with the log ")[1].splitlines()[0])
    assert "Traceback" in log.read_text("utf-8")
    log.unlink()


def test_memory_that_is_not_there_is_no_fault_of_the_program(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    bench.prepared()
    monkeypatch.setattr("llmrs_bench.stages.evaluate.check_measurable", fail)
    assert "there is not enough memory: MemoryError\n" in bench.run("evaluate", "--dataset", "small", code=1).stderr


def test_one_bad_folder_is_named_and_blocks_nothing(bench: Bench) -> None:
    bench.prepared()
    bench.run("infer", "--model", "random", "--dataset", "small")
    bench.run("infer", "--model", "itemknn", "--dataset", "small")
    [place] = bench.home.glob("small/*/runs")
    (place / "attic").mkdir()
    (place / "attic" / "manifest.json").write_text("{}")
    [broken] = place.glob("itemknn-*")
    (broken / "rankings.parquet").write_bytes(b"PAR1")
    for arguments, code in ((("list", "runs"), 0), (("evaluate",), 1), (("compare",), 0)):
        result = bench.run(*arguments, "--dataset", "small", code=code)
        assert "attic" in result.stderr
        assert "random" in result.stdout
    said = bench.run("evaluate", "--dataset", "small", code=1).stderr
    assert said.count("warning: left out:") == 2
    assert f"{broken}/rankings.parquet" in said.replace("\n", "")
    assert "rankings.parquet" in bench.run("evaluate", "--dataset", "small", "--run", "itemknn", code=1).stderr
    (bench.home / "small" / "old" / "data").mkdir(parents=True)
    (bench.home / "small" / "old" / "data" / "manifest.json").write_text("[]")
    listed = bench.run("list", "data")
    assert f"small@{place.parent.name}" in listed.stdout
    assert "left out:" in listed.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--orders", "x", "Invalid value for '--candidate-orders': x is not a whole number"),
        ("--seeds", "0", "Invalid value for '--seeds': 0 is below 1"),
        ("--seeds", "5000", "Invalid value for '--seeds': 5000 is above 1000"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_all_options(bench: Bench, option: str, value: str, words: str) -> None:
    said = bench.run("infer", "-d", "small", "-m", "mock", option, value, code=2).stderr
    assert words in " ".join(said.replace("│", " ").split())
    as_json = bench.run("infer", "-d", "small", "-m", "mock", "--log", "json", option, value, code=2).stderr
    assert words in as_json
    assert "Input should" not in said + as_json


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["compare", "--dataset", "small", "-d", "other"], "--dataset"),
        (["infer", "-d", "small", "--model", "mock", "-mpopularity"], "--model"),
        (["infer", "-d", "small", "-m", "mock", "--orders", "2", "--seed=1", "--seed=2"], "--seed"),
        (["prepare", "-d", "small", "--include-seen", "--exclude-seen"], "--include-seen"),
        (["list", "runs", "--dataset", "small", "--dataset", "small"], "--dataset"),
    ],
)
def test_an_option_of_one_value_is_not_given_twice(bench: Bench, arguments: list[str], option: str) -> None:
    said = " ".join(bench.run(*arguments, code=2).stderr.replace("│", " ").split())
    assert f"Invalid value for '{option}'" in said
    assert "was given twice, and takes one value" in said
    assert not bench.home.exists()


def test_toml_that_is_too_deep_or_has_too_long_a_number_is_one_line(bench: Bench, tmp_path: Path) -> None:
    for content, said in (("x = " + "[" * 50_000, "nested too deep"), ("x = " + "7" * 5_000, "4,300 digits")):
        file = tmp_path / "file.toml"
        file.write_text(content)
        for command in (("run", str(file)), ("prepare", "-d", "demo", "--mapping", str(file))):
            result = bench.run(*command, code=1)
            assert said in result.stderr
            assert "Traceback" not in result.stderr
    result = bench.run("run", "paper/figure-3", "--set", f"data.users={'[' * 50_000}", code=2)
    assert "nested too deep" in result.stderr


def test_a_value_of_many_letters_does_not_bury_the_message(bench: Bench) -> None:
    bench.prepared()
    result = bench.run("compare", "-d", "small", "--fail-if", "x" * 100_000, code=2)
    assert len(result.stderr) < 5000
    assert "is no rule" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "guess"),
    [
        (("list", "run"), "Did you mean 'runs'?"),
        (("compare", "-d", "small", "--format", "markdwn"), "Did you mean 'markdown'?"),
        (("list", "zzz"), ""),
    ],
)
def test_a_choice_that_there_is_not_has_a_near_one(bench: Bench, arguments: tuple[str, ...], guess: str) -> None:
    said = " ".join(bench.run(*arguments, code=2).stderr.replace("│", "").split())
    assert " is not one of '" in said
    assert ("Did you mean" in said) == bool(guess)
    assert guess in said


def test_show_and_rm_name_the_model_that_was_meant(bench: Bench) -> None:
    bench.prepare()
    bench.run("infer", "-d", "small", "--model", "mock")
    for command in ("show", "rm"):
        assert "Did you mean 'mock'? Known: mock-listwise-" in bench.run(command, "mok", code=2).stderr
    assert bench.run("show", "mock-listwisse", code=2).stderr.count("Did you mean") == 1
