"""Trained networks on disk: safetensors weights beside JSON of everything needed to rebuild them."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from llmrs_bench.core.errors import ModelError, is_damage
from llmrs_bench.core.types import Json

if TYPE_CHECKING:
    from torch import Tensor

_WEIGHTS, _FACTS = "weights.safetensors", "model.json"
_DIGEST = "digest"  # in the JSON: of all the rest
_HINT = "Delete the folder and train the model again."


def write_checkpoint(folder: Path, kind: str, facts: Mapping[str, Json], weights: "Mapping[str, Tensor]") -> None:
    """Write `weights` and `facts` of a recommender called `kind` into the existing `folder`.

    The JSON is written last, and holds the digest of the weights and one of itself: the two cannot be mixed up.
    """
    from safetensors.torch import save

    data = save({name: value.detach().cpu().contiguous() for name, value in weights.items()})
    (folder / _WEIGHTS).write_bytes(data)
    described = {"kind": kind, "sha256": sha256(data).hexdigest(), **facts}
    described[_DIGEST] = _facts_digest(described)
    (folder / _FACTS).write_text(json.dumps(described, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_checkpoint(folder: Path, kind: str) -> "tuple[dict[str, Any], dict[str, Tensor]]":
    """Return the facts and weights of a checkpoint, the weights on the CPU.

    Raises:
        ModelError: If a file is missing or damaged, or the checkpoint is of another kind.
        OSError: If the machine does not let it be read: a permission, a limit.
    """
    from safetensors.torch import load

    facts = read_facts(folder)
    if facts.get("kind") != kind:
        raise ModelError(f"the checkpoint in {folder} is of kind {facts.get('kind')!r}, not {kind!r}", hint=_HINT)
    try:
        data = (folder / _WEIGHTS).read_bytes()
    except OSError as error:
        if not is_damage(error):
            raise
        raise ModelError(f"no readable {kind} checkpoint in {folder}: {error}", hint=_HINT) from error
    if sha256(data).hexdigest() != facts.get("sha256"):
        raise damaged(folder, kind, f"{_WEIGHTS} is not the file that {_FACTS} describes")
    try:
        return facts, load(data)
    except SafetensorError as error:
        raise damaged(folder, kind, str(error)) from error


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the JSON of a checkpoint, whatever its kind.

    Raises:
        ModelError: If it is missing or damaged.
        OSError: If the machine does not let it be read: a permission, a limit.
    """
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise ModelError(f"no readable checkpoint in {folder}: {error}", hint=_HINT) from error
    if not isinstance(facts, dict):
        raise ModelError(f"no readable checkpoint in {folder}: {_FACTS} is not an object", hint=_HINT)
    # Checkpoints of earlier versions have no digest of their JSON.
    if facts.pop(_DIGEST, None) not in (None, _facts_digest(facts)):
        raise damaged(folder, str(facts.get("kind")), f"{_FACTS} was changed after it was written")
    return facts


def _facts_digest(facts: Mapping[str, Json]) -> str:
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def damaged(folder: Path, kind: str, reason: str) -> ModelError:
    """Return the error for a checkpoint that is there but cannot be used."""
    return ModelError(f"the {kind} checkpoint in {folder} is damaged: {reason}", hint=_HINT)
