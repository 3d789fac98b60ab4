"""Is a language model a good recommender? How does it compare with a trained SASRec, and what does it cost?

`prepare`, `infer`, `tune`, `fuse`, `evaluate`, `board`, `probe`, `fairness`, `judge`, `export`, `run` and `runs` do
what the commands do; they are imported when they are used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrs_bench.api import (
        BenchError,
        Fairness,
        Judgement,
        Leaderboard,
        Prepared,
        Probe,
        Run,
        Study,
        Tuned,
        board,
        evaluate,
        export,
        fairness,
        fuse,
        infer,
        judge,
        prepare,
        probe,
        run,
        runs,
        tune,
    )

__version__ = "0.1.0"
__all__ = [
    "BenchError",
    "Fairness",
    "Judgement",
    "Leaderboard",
    "Prepared",
    "Probe",
    "Run",
    "Study",
    "Tuned",
    "board",
    "evaluate",
    "export",
    "fairness",
    "fuse",
    "infer",
    "judge",
    "prepare",
    "probe",
    "run",
    "runs",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("llmrs_bench.api"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
