"""Stage `infer`: rank every request with a model, a recommender over interactions or a language model over prompts."""

from llmrs_bench.catalog import CATALOG
from llmrs_bench.config import InferConfig
from llmrs_bench.registry import RECOMMENDERS, unknown_name
from llmrs_bench.stages.demo_lm import NAME as DEMO_LM
from llmrs_bench.stages.home import Data
from llmrs_bench.stages.infer_language import infer_language, is_language_model
from llmrs_bench.stages.infer_recommender import infer_recommender
from llmrs_bench.stages.outcome import Outcome
from llmrs_bench.types import Progress


def infer(data: Data, config: InferConfig, progress: Progress) -> Outcome:
    """Make the artifact `run` of a model: rankings of the candidates of every request.

    Raises:
        OptionError: If the model is unknown, or an option does not fit it.
        ModelError: If the model cannot be had or trained.
        EngineError: If it fails while it answers.
    """
    if config.model in RECOMMENDERS.paths():
        return infer_recommender(data, config, progress)
    if is_language_model(config.model):
        return infer_language(data, config, progress)
    raise unknown_name(
        "model",
        config.model,
        [*RECOMMENDERS.names(), *CATALOG, DEMO_LM, "mock"],
        hint="Any Hugging Face id (ORG/NAME) and any local folder (./PATH) will do, too.",
    )
