"""An artifact is complete or absent, and says what it was made from."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from errno import ENOLCK
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrs_bench.core import artifacts, locks, tables
from llmrs_bench.core.artifacts import (
    Draft,
    Recipe,
    StageResult,
    find_made,
    get_or_create,
    is_complete,
    new_artifact,
    open_artifact,
    restate,
)
from llmrs_bench.core.errors import ArtifactError, DamagedError, is_damage, next_step
from llmrs_bench.core.hashing import file_digest
from llmrs_bench.core.locks import is_locked, machine
from llmrs_bench.core.schemas import METRICS, TRUTH
from llmrs_bench.core.tables import parts_digest

VALUES = pl.DataFrame([{"request_id": "r", "metric": "mrr", "value": 0.5}], schema=METRICS)
RECIPE = Recipe("evaluate", "run", {"metrics": ["mrr"]}, {"rankings": "d1"})


def make(path: Path, recipe: Recipe = RECIPE) -> None:
    with new_artifact(path, recipe) as draft:
        draft.write("metrics", VALUES)
        draft.facts["note"] = "ü"


def test_tables_and_facts_come_back(tmp_path: Path) -> None:
    make(tmp_path / "a")
    made = open_artifact(tmp_path / "a", hint="")
    assert made.table("metrics").equals(VALUES)
    assert made.facts == {"note": "ü"}
    assert made.manifest.fingerprint == RECIPE.fingerprint
    assert find_made(tmp_path / "a", RECIPE) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["m" * 240, "ü" * 127])
def test_names_are_cut_so_that_drafts_and_locks_have_room(tmp_path: Path, name: str) -> None:
    recipe = Recipe("evaluate", name, {"metrics": ["mrr"]}, {"rankings": "d1"})

    def fill(draft: Draft) -> None:
        draft.write("metrics", VALUES)

    made = get_or_create(recipe.place(tmp_path), recipe, fill)
    assert made.name == made.artifact.manifest.folder
    assert not get_or_create(recipe.place(tmp_path), recipe, fill).fresh
    assert made.artifact.manifest.name == name


def test_every_part_of_a_recipe_but_its_name_changes_the_fingerprint() -> None:
    same = Recipe("evaluate", "other name", {"metrics": ["mrr"]}, {"rankings": "d1"})
    others = [
        Recipe("infer", "run", {"metrics": ["mrr"]}, {"rankings": "d1"}),
        Recipe("evaluate", "run", {"metrics": ["ndcg@1"]}, {"rankings": "d1"}),
        Recipe("evaluate", "run", {"metrics": ["mrr"]}, {"rankings": "d2"}),
        Recipe("evaluate", "run", {"metrics": ["mrr"]}, {"rankings": "d1"}, {"definitions": "2"}),
    ]
    assert same.fingerprint == RECIPE.fingerprint
    assert len({RECIPE.fingerprint, *(other.fingerprint for other in others)}) == 5


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_or_interrupted_stage_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with new_artifact(tmp_path / "a", RECIPE) as draft:
            draft.write("metrics", VALUES)
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", ["", "home", "home/set"])
def test_a_failed_stage_leaves_no_folder_that_it_made(tmp_path: Path, existing: str) -> None:
    def fail(_: Draft) -> None:
        raise RuntimeError

    (tmp_path / existing).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RuntimeError):
        get_or_create(tmp_path / "home/set/variant/data", RECIPE, fail)
    assert sorted(tmp_path.rglob("*")) == before


def test_leftovers_of_this_system_are_swept_and_those_of_others_kept_for_a_week(tmp_path: Path) -> None:
    ours, theirs, old = (tmp_path / f".a.{name}.partial" for name in (f"{machine()}-1", "other-2", "1"))
    for folder in (ours, theirs, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    get_or_create(tmp_path / "a", RECIPE, lambda draft: draft.write("metrics", VALUES))
    assert sorted(path.name for path in tmp_path.iterdir()) == [theirs.name, "a"]


def test_a_file_system_without_locks_is_named_once_and_keeps_no_lock_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    locks._warn_of_no_locks.cache_clear()
    for name in "ab":
        get_or_create(tmp_path / name, RECIPE, lambda draft: draft.write("metrics", VALUES))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    (tmp_path / ".a.lock").touch()  # of a process that was killed
    assert not is_locked(tmp_path / ".a.lock")
    assert len(caplog.messages) == 1


def test_nobody_sweeps_what_is_being_made(tmp_path: Path) -> None:
    """Whatever its process is called: in a container every first process has the number 1."""

    def fill(draft: Draft) -> None:
        assert is_locked(tmp_path / ".a.lock")
        get_or_create(tmp_path / "b", RECIPE, lambda draft: draft.write("metrics", VALUES))
        draft.write("metrics", VALUES)

    assert get_or_create(tmp_path / "a", RECIPE, fill).artifact.table("metrics").equals(VALUES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_first_of_two_makers_wins(tmp_path: Path) -> None:
    with new_artifact(tmp_path / "a", RECIPE) as draft:
        draft.write("metrics", VALUES)
        make(tmp_path / "b")
        (tmp_path / "b").rename(tmp_path / "a")
        draft.facts["note"] = "late"
    assert open_artifact(tmp_path / "a", hint="").facts == {"note": "ü"}


def test_a_maker_who_loses_at_the_last_moment_gets_what_the_winner_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "winner")
    rename = os.replace

    def late(source: Path, target: Path) -> None:
        rename(tmp_path / "winner", target)  # after any look at the target, just before it is moved there
        rename(source, target)

    monkeypatch.setattr(os, "replace", late)
    with new_artifact(tmp_path / "a", RECIPE) as draft:
        draft.write("metrics", VALUES)
        draft.facts["note"] = "late"
    assert open_artifact(tmp_path / "a", hint="").facts == {"note": "ü"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_something_else_that_came_to_the_place_is_left_there_and_named(tmp_path: Path) -> None:
    def fill(_: Draft) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "notes.txt").write_text("mine")

    with pytest.raises(ArtifactError, match="cannot be moved to") as caught:
        get_or_create(tmp_path / "a", RECIPE, fill)
    assert "delete it" in caught.value.hint
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/notes.txt"]


MAKER = """
import logging, sys
from pathlib import Path
import polars as pl
from llmrs_bench.core.artifacts import Recipe, get_or_create
from llmrs_bench.core.schemas import METRICS

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")

def fill(draft):
    draft.write("metrics", pl.DataFrame([{"request_id": "r", "metric": "mrr", "value": 0.5}], schema=METRICS))
    draft.facts["maker"] = sys.argv[2]
    print("filled", flush=True)
    sys.stdin.readline()

made = get_or_create(Path(sys.argv[1]), Recipe("evaluate", "a", {}), fill)
print(made.fresh, made.artifact.facts["maker"], made.artifact.table("metrics").height)
"""


def test_the_second_of_two_processes_waits_and_takes_what_the_first_made(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(maker(tmp_path, "one"))
        assert line(first) == "filled\n"
        second = stack.enter_context(maker(tmp_path, "two"))
        assert line(second).startswith(f"waiting for a: process {first.pid} on ")
        assert first.communicate("\n")[0] == "True one 1\n"
        assert second.communicate()[0] == "False one 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_second_goes_on_where_the_first_was_killed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(maker(tmp_path, "one"))
        assert line(first) == "filled\n"
        second = stack.enter_context(maker(tmp_path, "two"))
        assert line(second).startswith("waiting for a")
        first.kill()
        assert line(second) == "filled\n"
        assert second.communicate("\n")[0] == "True two 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def maker(folder: Path, name: str) -> "subprocess.Popen[str]":
    pipe, command = subprocess.PIPE, [sys.executable, "-c", MAKER, str(folder / "a"), name]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_half_written_artifacts_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").unlink()
    assert not is_complete(tmp_path / "a")
    with pytest.raises(ArtifactError, match="incomplete") as caught:
        open_artifact(tmp_path / "a", hint="run it.")
    assert "Delete it" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", '{"stage": "x"}', json.dumps({"stage": 1})])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_artifact(tmp_path / "a", hint="")


def test_no_flipped_byte_of_a_table_is_passed_over_or_makes_a_library_cry(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "a")
    path, met = tmp_path / "a" / "metrics.parquet", list[bool]()
    whole = path.read_bytes()
    for place in range(4, len(whole), 41):
        for flip in (1, 128):  # 128: no UTF-8
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            made = open_artifact(tmp_path / "a", hint="")
            for in_parts in (False, True):
                try:
                    found = pl.concat(made.parts("metrics", 1)) if in_parts else made.table("metrics")
                    assert found.equals(VALUES)
                    met.append(True)
                except DamagedError:
                    met.append(False)
    assert set(met) == {True, False}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("field", ["config", "facts", "tables"])
def test_a_manifest_that_lost_a_field_is_named_with_it(tmp_path: Path, field: str) -> None:
    make(tmp_path / "a")
    manifest = tmp_path / "a" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text("utf-8")), field: {}}), "utf-8")
    with pytest.raises(ArtifactError, match=f"{manifest} was changed .*: nothing is left of its {field}$"):
        open_artifact(tmp_path / "a", hint="")


def test_a_manifest_that_was_changed_anywhere_is_refused_and_one_written_anew_is_not(tmp_path: Path) -> None:
    make(tmp_path / "a")
    manifest = tmp_path / "a" / "manifest.json"
    content = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps(content, sort_keys=True), "utf-8")
    assert open_artifact(tmp_path / "a", hint="").facts == {"note": "ü"}
    for changed in ({"facts": {"note": "u"}}, {"seconds": -1.0}, {"name": "walk"}):
        manifest.write_text(json.dumps({**content, **changed}), "utf-8")
        with pytest.raises(ArtifactError, match="changed after it was written"):
            open_artifact(tmp_path / "a", hint="")


def test_a_manifest_says_in_one_line_what_it_lacks(tmp_path: Path) -> None:
    make(tmp_path / "a")
    manifest = tmp_path / "a" / "manifest.json"
    content = json.loads(manifest.read_text("utf-8"))
    del content["facts"]
    manifest.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read: it lacks facts$"):
        open_artifact(tmp_path / "a", hint="")
    manifest.write_text("[" * 100_000, "utf-8")
    with pytest.raises(ArtifactError, match="nested too deep"):
        open_artifact(tmp_path / "a", hint="")


def test_what_the_system_refuses_is_no_damage(tmp_path: Path) -> None:
    make(tmp_path / "a")
    made = open_artifact(tmp_path / "a", hint="")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, limits[1]))
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with suppress(OSError):
            while True:
                files.enter_context(open(os.devnull, "rb"))
        with pytest.raises(OSError, match="Too many open files") as caught:
            made.table("metrics")
    for error in (caught.value, OSError("Too many open files (os error 24)")):  # Polars says it in words alone
        assert not is_damage(error)
        assert "ulimit -n" in next_step(error)
    for words in (
        "could not spawn threads",
        'Os { code: 11, kind: WouldBlock, message: "..." }',
        "can't start new thread",
    ):
        error = OSError(f"it is not a Parquet table, or damaged: {words}")
        assert not is_damage(error)
        assert "ulimit -u" in next_step(error)
    assert is_damage(OSError("it is not a Parquet table, or damaged"))


def test_a_full_disk_is_what_a_maker_hears_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.open

    def full(path: Path, *arguments: Any, **more: Any) -> Any:
        return whole(Path("/dev/full") if path.suffix == ".parquet" else path, *arguments, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"), new_artifact(tmp_path / "a", RECIPE) as draft:
        draft.write("metrics", VALUES)
    assert list(tmp_path.iterdir()) == []


def test_paths_are_never_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "g[a]*?{x}"
    make(folder / "a")
    made = open_artifact(folder / "a", hint="")
    assert made.table("metrics").equals(VALUES)
    assert next(made.parts("metrics", 1)).equals(VALUES)


def test_damaged_missing_and_swapped_tables_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    path, made = tmp_path / "a" / "metrics.parquet", open_artifact(tmp_path / "a", hint="")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="cannot be read"):
        made.table("metrics")
    with pytest.raises(ArtifactError, match="cannot be read"):
        next(made.parts("metrics", 1))
    VALUES.with_columns(value=pl.lit(1.0)).write_parquet(path)
    with pytest.raises(ArtifactError, match="digests differ"):
        made.table("metrics")
    VALUES.cast({"value": pl.Float32}).write_parquet(path)
    with pytest.raises(ArtifactError, match="'value' is Float32, expected Float64"):
        made.table("metrics")
    path.unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        made.table("metrics")
    os.mkfifo(path)  # nobody waits for what will never be written
    with pytest.raises(ArtifactError, match="a pipe"):
        made.table("metrics")
    with pytest.raises(ArtifactError, match="a pipe"):
        next(made.parts("metrics", 1))


def test_a_file_is_checked_once_and_again_after_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_digest(path)

    monkeypatch.setattr(tables, "file_digest", counted)
    monkeypatch.setattr(artifacts, "parts_digest", lambda *_: pytest.fail("the contents were serialised"))
    make(tmp_path / "a")
    path, made = tmp_path / "a" / "metrics.parquet", open_artifact(tmp_path / "a", hint="")
    read.clear()
    assert [made.table("metrics").height, sum(part.height for part in made.parts("metrics", 1))] == [1, 1]
    assert open_artifact(tmp_path / "a", hint="").table("metrics").equals(VALUES)
    assert read == [path]
    monkeypatch.undo()
    VALUES.with_columns(value=pl.lit(1.0)).write_parquet(path)
    with pytest.raises(ArtifactError, match="digests differ"):
        made.table("metrics")
    with pytest.raises(ArtifactError, match="digests differ"):
        next(made.parts("metrics", 1))


def test_a_file_written_anew_with_the_same_contents_is_taken(tmp_path: Path) -> None:
    make(tmp_path / "a")
    path, made = tmp_path / "a" / "metrics.parquet", open_artifact(tmp_path / "a", hint="")
    VALUES.write_parquet(path, compression="uncompressed")
    assert file_digest(path) != made.manifest.tables["metrics"].bytes_digest
    assert made.table("metrics").equals(VALUES)


def test_artifacts_without_digests_of_bytes_open_and_their_damage_is_found(tmp_path: Path) -> None:
    make(tmp_path / "a")
    manifest = tmp_path / "a" / "manifest.json"
    content = json.loads(manifest.read_text("utf-8"))
    del content["tables"]["metrics"]["bytes_digest"], content["digest"]  # of an earlier version
    manifest.write_text(json.dumps(content), "utf-8")
    made = open_artifact(tmp_path / "a", hint="")
    assert made.table("metrics").equals(VALUES)
    VALUES.with_columns(value=pl.lit(1.0)).write_parquet(tmp_path / "a" / "metrics.parquet")
    with pytest.raises(ArtifactError, match="digests differ"):
        made.table("metrics")


def test_tables_of_another_shape_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="'label'"), new_artifact(tmp_path / "a", RECIPE) as draft:
        draft.write("truth", pl.DataFrame({"request_id": ["r"], "item_id": ["i"], "label": [1]}))
    assert not (tmp_path / "a").exists()


def test_a_place_taken_by_other_options_says_which(tmp_path: Path) -> None:
    make(tmp_path / "a")
    other = Recipe("evaluate", "run", {"metrics": ["hit@1"]}, {"rankings": "d1"})
    with pytest.raises(ArtifactError, match=r"metrics: \['mrr'\] there, \['hit@1'\] now"):
        find_made(tmp_path / "a", other)


def test_digests_are_over_contents() -> None:
    frame = pl.DataFrame([{"request_id": f"r{n}", "item_id": "i", "label": 1.0} for n in range(5)], schema=TRUTH)
    pieces = pl.concat([frame[:2], frame[2:]], rechunk=False)
    digest = parts_digest([frame], "truth")
    assert digest == parts_digest([pieces], "truth") == parts_digest([frame[:2], frame[2:]], "truth")
    assert digest != parts_digest([frame.reverse()], "truth")
    assert digest != parts_digest([frame.rename({"item_id": "item"})], "truth")


def test_what_is_unfinished_is_made_again_and_stays_until_that_has_succeeded(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def fill(rest: int) -> Callable[[Draft], None]:
        return lambda draft: draft.facts.update(rest=rest)

    def fail(_: Draft) -> None:
        raise OSError("no server")

    def again(how: Callable[[Draft], None]) -> StageResult:
        return get_or_create(path, RECIPE, how, unfinished=lambda made: bool(made.facts["rest"]))

    again(fill(1))
    with pytest.raises(OSError, match="no server"):
        again(fail)
    assert open_artifact(path, hint="").facts["rest"] == 1
    assert again(fill(0)).fresh
    assert not again(fail).fresh
    assert open_artifact(path, hint="").facts["rest"] == 0
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_facts_may_be_restated(tmp_path: Path) -> None:
    made = get_or_create(tmp_path / "a", RECIPE, lambda draft: draft.facts.update(one=1, two=2)).artifact
    assert restate(made, two=3).facts == open_artifact(made.path, hint="").facts == {"one": 1, "two": 3}
