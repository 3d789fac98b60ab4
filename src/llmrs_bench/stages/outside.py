"""Models whose rankings are not computed here: `file:PATH`, made elsewhere, and `fusion`, made of other runs."""

from collections.abc import Collection
from pathlib import Path

from llmrs_bench.config import InferConfig
from llmrs_bench.errors import OptionError

FILE = "file:"
FUSION = "fusion"
# Bumped when the same file, or the same runs, give other rankings: older runs are then made anew.
FORMAT = "1"


def is_outside(model: str) -> bool:
    """Tell whether `model` is a file with a ranking, or a fusion of runs."""
    return model == FUSION or model.startswith(FILE)


def refuse_idle(config: InferConfig, *, read: Collection[str], export_to: Path | None, asked: Collection[str]) -> None:
    """Refuse options of `infer` that the model does not read.

    Args:
        config: The options.
        read: Names of those that are read, beside `model` and `options`.
        export_to: Where a trained model should be copied to.
        asked: Names of options for language models that were given.

    Raises:
        OptionError: Naming the first.
    """
    defaults = InferConfig(model=config.model)
    names = [name for name in InferConfig.model_fields if name not in ("model", "options", *read)]
    given = [name for name in names if getattr(config, name) != getattr(defaults, name)]
    given += ["export"] if export_to is not None else []
    given += asked
    if given:
        option = given[0].replace("_", "-").replace("template-options", "template-option")
        raise OptionError(f"--{option} means nothing to --model {config.model}", hint="Leave it out.")
