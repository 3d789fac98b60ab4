"""How much do published figures of one configuration differ between trainings? Time-to-Split's results, beside ours.

    python benchmarks/published_grid.py time-to-split

Reads the repository of arXiv 2507.16289 (github.com/monkey0head/time-to-split), which holds the results of 108
configurations of SASRec on MovieLens-1M with the cut at .9, each trained three times: with validation events by user,
by time, and the last of each user. Prints NDCG@10 of these trainings and their mean for the configurations that
were trained here; and over all 108 the standard deviation of the trainings of one configuration, with the mean of each
kind of validation taken off, and without.
"""

import argparse
from math import sqrt
from pathlib import Path
from statistics import fmean

import polars as pl

VALIDATIONS = ("val_by_user", "val_by_time", "val_last_train_item")
TARGETS = ("successive_global", "last", "random", "first")
# The grid in its order: dimensions x blocks x heads x dropout, each of these but the first with three values.
DIMENSIONS, BLOCKS, HEADS, DROPOUTS = (32, 64, 128, 256), (1, 2, 3), (1, 2, 4), (0.1, 0.3, 0.5)
# The configurations that were trained here, and the NDCG@10 of each target, as in benchmarks/README.md.
OURS = {
    (64, 3, 2, 0.1): {"successive_global": 0.1038, "last": 0.0927, "random": 0.1025, "first": 0.0297},
    (32, 1, 2, 0.1): {"successive_global": 0.0825, "last": 0.0818, "random": 0.0846, "first": 0.0342},
    (64, 2, 1, 0.1): {"last": 0.0955, "random": 0.1074, "first": 0.0319},
}


def place(dimension: int, blocks: int, heads: int, dropout: float) -> int:
    """Return the number of a configuration in the grid."""
    order = (DIMENSIONS.index(dimension), BLOCKS.index(blocks), HEADS.index(heads), DROPOUTS.index(dropout))
    return ((order[0] * len(BLOCKS) + order[1]) * len(HEADS) + order[2]) * len(DROPOUTS) + order[3]


def results(folder: Path, target: str) -> pl.DataFrame:
    """Return NDCG@10 (configuration, validation, value)."""
    files = {
        kind: folder / f"data/results/global_timesplit/{kind}/Movielens-1m/q09/SASRec/final_results/test_{target}.csv"
        for kind in VALIDATIONS
    }
    return pl.concat(
        pl.read_csv(file).select(
            pl.col("grid_point").alias("configuration"),
            pl.lit(kind).alias("validation"),
            pl.col("NDCG@10").alias("value"),
        )
        for kind, file in files.items()
    )


def trained(found: pl.DataFrame, configuration: int) -> list[float]:
    """Return the values of the trainings of one configuration."""
    values: list[float] = found.filter(configuration=configuration)["value"].to_list()
    return values


def told(values: list[float]) -> str:
    """Return values in words."""
    return ", ".join(f"{value:.4f}" for value in values)


def spread(found: pl.DataFrame, column: str) -> float:
    """Return the standard deviation of the trainings of one configuration, pooled over all of them."""
    variances: list[float] = found.group_by("configuration").agg(pl.col(column).var())[column].to_list()
    return sqrt(fmean(variances))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a clone of the repository")
    folder = parser.parse_args().folder
    print("| target | dim, blocks, heads, dropout | three trainings, published | mean | ours | difference |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    notes = []
    for target in TARGETS:
        found = results(folder, target)
        for shape, ours in OURS.items():
            if target in ours:
                values = trained(found, place(*shape))
                mean = fmean(values)
                name = ", ".join(map(str, shape))
                print(
                    f"| {target} | {name} | {told(values)} | {mean:.4f} | {ours[target]:.4f} "
                    f"| {ours[target] / mean - 1:+.1%} |"
                )
        centred = found.with_columns(pl.col("value") - pl.col("value").mean().over("validation"))
        best = found.filter(validation=VALIDATIONS[0]).top_k(1, by="value")
        again = told(trained(found, best["configuration"].item()))
        notes.append(
            f"{target}: one configuration varies by {spread(found, 'value'):.4f}, without the mean of each validation "
            f"{spread(centred, 'value'):.4f}; the best of {VALIDATIONS[0]} has {again}"
        )
    print("", *notes, sep="\n- ")


if __name__ == "__main__":
    main()
