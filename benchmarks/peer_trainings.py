"""Time epochs of one recommender of another library; benchmarks/peers.py runs it in that library's environment.

usage: peer_trainings.py LIBRARY MODEL EVENTS.inter EPOCHS STEPS    # STEPS: of an epoch of RecBole, others run all

EVENTS.inter is a file of RecBole's format with the columns user_id, item_id and timestamp. The last line on stdout is a
JSON object: the `seconds` of each epoch, scaled from the `share` of it that was run, and the `version` of the library.
"""

import json
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

# The same for every library: 64 dimensions, 2 blocks, 200 items of history, 128 users or rows a step.
DIM, BLOCKS, LENGTH, BATCH, DROPOUT, LR = 64, 2, 200, 128, 0.2, 1e-3
RECTOOLS = {
    "n_factors": DIM,
    "n_blocks": BLOCKS,
    "n_heads": 1,
    "session_max_len": LENGTH,
    "batch_size": BATCH,
    "dropout_rate": DROPOUT,
    "lr": LR,
    "loss": "softmax",
}


def recbole(model: str, events: Path, epochs: int, steps: int) -> tuple[list[float], float]:
    """Return the seconds of each epoch and the share that was run.

    RecBole learns each event of a sequence in a row of its own, with all that comes before it. A step is what its
    `Trainer` does in one: zero gradients, loss, backward pass, Adam.
    """
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    classes = {"sasrec": "SASRec", "bert4rec": "BERT4Rec", "gru4rec": "GRU4Rec", "bprmf": "BPR"}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "events")
        place.mkdir()
        (place / "events.inter").write_bytes(events.read_bytes())
        settings: dict[str, Any] = {
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "checkpoint_dir": folder,
            "MAX_ITEM_LIST_LENGTH": LENGTH,
            "train_batch_size": BATCH if model != "bprmf" else 2048,
            "learning_rate": LR,
            "hidden_size": DIM,
            "embedding_size": DIM,
            "inner_size": 4 * DIM,
            "n_layers": BLOCKS,
            "n_heads": 1,
            "hidden_dropout_prob": DROPOUT,
            "attn_dropout_prob": DROPOUT,
            "loss_type": "BPR" if model == "bprmf" else "CE",
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
        }
        if model != "bprmf":
            settings["train_neg_sample_args"] = None
        sys.argv = sys.argv[:1]  # RecBole reads the command line as settings
        config = Config(model=classes[model], dataset="events", config_dict=settings)
        init_seed(0, reproducibility=True)
        rows, _, _ = data_preparation(config, create_dataset(config))
        net = get_model(config["model"])(config, rows.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, net)
        run, seconds = min(steps, len(rows)), list[float]()
        net.train()
        for _ in range(epochs):
            start = time.perf_counter()
            for batch in islice(rows, run):
                trainer.optimizer.zero_grad()
                loss = net.calculate_loss(batch)
                loss.backward()
                trainer.optimizer.step()
            seconds.append((time.perf_counter() - start) * len(rows) / run)
        assert torch.isfinite(loss), loss
        return seconds, run / len(rows)


def rectools(model: str, events: Path, epochs: int, _: int) -> tuple[list[float], float]:
    """Return the seconds of each epoch and the share that was run; RecTools takes whole histories, as ours does."""
    import pandas as pd
    from pytorch_lightning import Callback, Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import BERT4RecModel, SASRecModel

    frame = pd.read_csv(events, sep="\t")
    frame.columns = [Columns.User, Columns.Item, Columns.Datetime]
    frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="s")
    frame[Columns.Weight] = 1.0
    seconds: list[float] = []

    class Clock(Callback):  # type: ignore[misc]
        def on_train_epoch_start(self, *_: Any) -> None:
            self.start = time.perf_counter()

        def on_train_epoch_end(self, *_: Any) -> None:
            seconds.append(time.perf_counter() - self.start)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=epochs,
            min_epochs=epochs,
            deterministic=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            enable_checkpointing=False,
            accelerator="cpu",
            devices=1,
            callbacks=[Clock()],
        )

    made = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}[model](
        epochs=epochs, get_trainer_func=trainer, **RECTOOLS
    )
    made.fit(Dataset.construct(frame))
    return seconds, 1.0


def implicit(_model: str, events: Path, epochs: int, _steps: int) -> tuple[list[float], float]:
    """Return the seconds of each epoch and the share that was run: all."""
    import pandas as pd
    from implicit.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix

    frame = pd.read_csv(events, sep="\t")
    users, items = (frame[name].astype("category").cat.codes for name in frame.columns[:2])
    matrix = csr_matrix(([1.0] * len(frame), (users, items)))
    seconds = []
    for _ in range(epochs):
        made = BayesianPersonalizedRanking(factors=DIM, iterations=10, num_threads=2, random_state=0)
        start = time.perf_counter()
        made.fit(matrix, show_progress=False)
        seconds.append((time.perf_counter() - start) / 10)
    return seconds, 1.0


LIBRARIES = {"recbole": recbole, "rectools": rectools, "implicit": implicit}
TAKES = {
    "recbole": ("sasrec", "bert4rec", "gru4rec", "bprmf"),
    "rectools": ("sasrec", "bert4rec"),
    "implicit": ("bprmf",),
}


if __name__ == "__main__":
    library, model, events, epochs, steps = sys.argv[1:]
    seconds, share = LIBRARIES[library](model, Path(events), int(epochs), int(steps))
    print(json.dumps({"seconds": seconds, "share": share, "version": version(library)}))
