"""What reaches stderr: libraries are silent for people, and every line of a JSON log is an object."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from command_line import Bench
from llmrs_bench.cli import console
from tiny_models import tiny_llama

NOISE = """
import logging, os, subprocess, sys, warnings
import typer
from llmrs_bench.cli.console import exit_codes, log_as_json, say, track
log_as_json({as_json})

@exit_codes()
def command():
    import numpy, tqdm
    say("before")
    warnings.warn_explicit("goes away", FutureWarning, "library.py", 1)
    warnings.warn_explicit("an odd shape", UserWarning, "library.py", 1)
    warnings.warn_explicit("ours", UserWarning, {own!r}, 1)
    logging.getLogger("library").warning("careful")
    logging.getLogger("library").error("failed")
    for _ in tqdm.tqdm(range(3), desc="Writing model shards"):
        pass
    print("printed", file=sys.stderr)
    os.write(2, b"from C\\rfrom C code\\n")
    subprocess.run([sys.executable, "-c", "import sys, warnings; print('{chat}', file=sys.stderr); warnings.warn('w')"])
    with track("asking", 50) as step:
        step(55)
    say("after")
    {end}

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command)
app()
"""


def run(code: str, *arguments: str, exit_code: int = 0) -> str:
    """Run Python code in a process of its own and return its stderr."""
    return ran(code, *arguments, exit_code=exit_code).stderr


def ran(code: str, *arguments: str, exit_code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "PYTEST"))}
    path = os.pathsep.join([str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == exit_code, done.stderr
    return done


def noise(*, as_json: bool, end: str = "pass", exit_code: int = 0) -> str:
    import llmrs_bench

    own = str(Path(llmrs_bench.__file__).parent / "stages" / "x.py")
    return run(NOISE.format(as_json=as_json, own=own, chat="from a process", end=end), exit_code=exit_code)


def objects(stderr: str) -> list[dict[str, Any]]:
    """Return the lines as objects, each of which has a time, a level and a message."""
    found = [json.loads(line) for line in stderr.splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in found)
    return found


def test_every_line_of_a_json_log_is_an_object_whoever_writes_it() -> None:
    said = {line["message"]: line for line in objects(noise(as_json=True))}
    assert {"before", "after", "ours", "careful", "failed", "printed", "from C code", "from a process"} <= set(said)
    assert (said["goes away"]["level"], said["goes away"]["category"]) == ("debug", "FutureWarning")
    assert said["an odd shape"]["level"] == "debug"
    assert said["ours"]["level"] == said["careful"]["level"] == "warning"
    assert said["careful"]["logger"] == "library"
    assert said["asking: 55 of 55"]["level"] == "progress"
    assert not any("shards" in message for message in said)


def test_people_read_what_the_command_says_and_what_failed() -> None:
    lines = noise(as_json=False).splitlines()
    assert lines == ["before", "warning: ours", "error: failed", "asking: 55 of 55", "after"]


def test_people_whose_command_fails_read_what_libraries_wrote() -> None:
    said = noise(as_json=False, end="raise OSError('full')", exit_code=1).splitlines()
    assert said[5:8] == [
        "error: full",
        "hint: Check the path, its permissions and the free space.",
        "libraries wrote:",
    ]
    assert said[8:] == ["  printed", "  from C", "  from C code", "  from a process"]


@pytest.mark.parametrize(
    ("end", "code", "fields"),
    [
        ("1 / 0", 1, {"message": "ZeroDivisionError: division by zero"}),
        ("raise OSError('full')", 1, {"message": "full"}),
        ("raise KeyboardInterrupt", 130, {"message": "interrupted; no unfinished files were left"}),
    ],
)
def test_a_failure_is_an_object_of_a_json_log(end: str, code: int, fields: dict[str, str]) -> None:
    (failed,) = (
        line for line in objects(noise(as_json=True, end=end, exit_code=code)) if fields.items() <= line.items()
    )
    assert failed["level"] == "error"
    assert ("Traceback" in failed.get("traceback", "")) == (end == "1 / 0")


def test_wrong_options_are_objects_too() -> None:
    main = "from llmrs_bench.cli.main import main; main()"
    for arguments in (["--nonsense"], ["--dataset", "demo", "--seed", "x"], []):
        (only,) = objects(run(main, "infer", *arguments, "--log", "json", exit_code=2))
        assert only["level"] == "error"


def test_the_environment_is_set_for_the_command_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrs_bench.cli.logs import logged

    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with logged(as_json=False):
        assert os.environ["TQDM_DISABLE"] == "1"
        assert os.environ["VLLM_LOGGING_LEVEL"] == "INFO"
    assert "TQDM_DISABLE" not in os.environ
    assert os.environ["VLLM_LOGGING_LEVEL"] == "INFO"


TRAINING = """
import sys
from pathlib import Path
from llmrs_bench.cli.console import exit_codes, log_as_json, track
log_as_json(sys.argv[2] == "json")
with exit_codes():
    from llmrs_bench.llm.backends.demo_lm import DemoOptions, Document, train_demo_lm
    options = DemoOptions(documents=50, vocabulary=300, width=16, layers=1, heads=2, context=64)
    train_demo_lm([Document("A film", " called", " Heat")] * 50, Path(sys.argv[1]), options, seed=0, progress=track)
"""


@pytest.mark.slow
@pytest.mark.parametrize("log", ["text", "json"])
def test_saving_a_model_draws_no_bar(log: str, tmp_path: Path) -> None:
    said = run(TRAINING, str(tmp_path), log)
    assert "shards" not in said
    lines = [line["message"] for line in objects(said)] if log == "json" else said.splitlines()
    assert lines
    assert all(line.startswith("demo-lm: ") for line in lines)


@pytest.mark.slow
def test_a_run_of_a_language_model_logs_nothing_but_objects(bench: Bench) -> None:
    bench.prepare("--users", "2", "--history", "2")
    model = str(tiny_llama(bench.home / "llama", context=512))
    options = ("--engine", "transformers", "--device", "cpu", "-t", "likelihood", "--log", "json")
    main = "from llmrs_bench.cli.main import main; main()"
    said = objects(run(main, "infer", "-m", model, "-d", "small", *options, "--home", str(bench.home)))
    last = [line for line in said if line["level"] == "progress"][-1]
    assert last["done"] == last["total"] >= 2
    assert any(line["message"].startswith("loading ") for line in said)
    assert not [line for line in said if line["level"] in ("warning", "error")]


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_a_run_of_vllm_logs_nothing_but_objects_and_prints_its_name_alone(bench: Bench) -> None:
    pytest.importorskip("vllm")
    bench.prepare("--users", "2", "--history", "2")
    model = str(tiny_llama(bench.home / "llama", context=512))
    options = ("-t", "label", "-O", "kv_cache_gb=1", "-O", "enforce_eager=true", "--log", "json")
    main = "from llmrs_bench.cli.main import main; main()"
    done = ran(main, "infer", "-m", model, "-d", "small", "--engine", "vllm", *options, "--home", str(bench.home))
    assert done.stdout.splitlines() == [next(bench.home.glob("small/*/runs/llama-label-*")).name]
    assert not [line for line in objects(done.stderr) if line["level"] == "error"]


def test_every_command_says_how_it_logs() -> None:
    from llmrs_bench.cli.main import COMMANDS, app

    for name in COMMANDS:
        assert "--log" in CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout, (
            name
        )


@pytest.mark.parametrize("log", ["text", "json"])
def test_libraries_that_are_taken_down_say_nothing(log: str) -> None:
    late = "import atexit, os; atexit.register(os.write, 2, b'late'); from llmrs_bench.cli.main import main; main()"
    assert run(late, "list", "models", "--log", log) == ""


def test_a_terminal_obeys_nothing_that_a_message_quotes(capfd: pytest.CaptureFixture[str]) -> None:
    with console.exit_codes():
        console.warn("the server said \x1b[2J\x07[bold]gone[/]\r")
    assert "the server said \\x1b[2J\\x07[bold]gone[/]\\r" in capfd.readouterr().err


def test_a_colon_in_a_name_is_no_emoji(capfd: pytest.CaptureFixture[str]) -> None:
    with console.exit_codes():
        console.say("made by org/model:free and :x:")
        console.warn("org/model:free is slow")
    said = capfd.readouterr().err
    assert "made by org/model:free and :x:" in said
    assert "org/model:free is slow" in said
