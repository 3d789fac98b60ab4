"""The command `evaluate`."""

from typing import Annotated

import typer

from llmrs_bench.cli.console import exit_codes, finish, say, track
from llmrs_bench.cli.options import HERE, METRICS, Dataset, Home, Invalid, Log, LogOption, Metrics, Names


def evaluate(
    dataset: Dataset,
    run: Names = None,
    normalize: Annotated[
        str | None,
        typer.Option(
            help="How the log-probabilities of a title's tokens become its score: sum, mean per token (token) or per "
            "byte (byte), or the sum minus the sum without a history (pmi).",
            rich_help_panel=METRICS,
        ),
    ] = None,
    metrics: Metrics = None,
    invalid: Invalid = "expected",
    home: Home = HERE,
    log: LogOption = Log.text,
) -> None:
    """Compute and store the metrics of every request."""
    with exit_codes():
        from llmrs_bench.core.config import EvaluateConfig
        from llmrs_bench.report.words import bias_lines, choice_words
        from llmrs_bench.stages.evaluate import evaluate as stage
        from llmrs_bench.stages.workspace import LeftOutError, open_data

        values = {"normalize": normalize, "invalid": invalid, "metrics": metrics or ()}
        config = EvaluateConfig.parse_flags(values, command="evaluate")
        failed: LeftOutError | None = None
        try:
            made = stage(open_data(home, dataset), run or [], config, track)
        except LeftOutError as error:
            made, failed = list(error.made), error
        for done in made:
            means = {**done.artifact.facts["means"], **done.artifact.facts["catalogue"]}
            shown = [name for name in ("hit@1", "ndcg@10", "mrr@10", "auc", "uauc") if name in means] or list(means)
            finish(done, "".join(f"  {name} {means[name]:.4f}" for name in shown))
            for words in choice_words(done.artifact.facts.get("first_choices")):
                say(f"answers: {words}")
            bias = done.artifact.facts.get("bias")
            if bias is not None and bias["views"] > bias["requests"]:
                for line in bias_lines(bias):
                    say(line)
        if failed is not None:
            raise failed
