"""What a stage hands back: the artifact, what to call it, and whether it was made just now."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmrs_bench.artifacts import Artifact, Draft, Recipe, find_made, new_artifact
from llmrs_bench.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished stage; `fresh` is False where the same artifact was there already."""

    name: str
    artifact: Artifact
    fresh: bool

    @property
    def warnings(self) -> list[str]:
        """What the stage wants said aloud, each time it is asked for."""
        return [str(warning) for warning in self.artifact.facts.get("warnings", [])]


def make_once(path: Path, recipe: Recipe, fill: Callable[[Draft], None], *, name: str | None = None) -> Outcome:
    """Return the artifact of `recipe` at `path`, made by `fill` unless it is there.

    Raises:
        ArtifactError: If the place holds something else.
    """
    made = find_made(path, recipe)
    if made is not None:
        return Outcome(name or path.name, made, fresh=False)
    with new_artifact(path, recipe) as draft:
        fill(draft)
    made = find_made(path, recipe)
    if made is None:
        raise ArtifactError(f"{path} vanished while it was made", hint="Run the command again.")
    return Outcome(name or path.name, made, fresh=True)
