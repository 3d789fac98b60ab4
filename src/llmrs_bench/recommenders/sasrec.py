"""SASRec: the transformer baseline that a language model has to beat, trained at its published strength."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from llmrs_bench import config
from llmrs_bench.errors import ModelError, OptionError
from llmrs_bench.recommenders.candidates import check_candidates
from llmrs_bench.recommenders.checkpoint import damaged, read_checkpoint, write_checkpoint
from llmrs_bench.recommenders.losses import LOSSES
from llmrs_bench.recommenders.sasrec_net import NetOptions, SASRecNet
from llmrs_bench.recommenders.sequences import PADDING, Sequences, Vocabulary, user_sequences
from llmrs_bench.recommenders.training import TrainingOptions, resolve_device, seeded, train
from llmrs_bench.recommenders.validation import Holdout
from llmrs_bench.types import Json, Progress, Scores

# The score of an item that was not in training: below every trained item, finite, the same everywhere.
UNKNOWN_SCORE = -1e9
# Sequences in one forward pass. Those of a training step are sorted by length first, against padding.
_GROUP = 32


class SASRecOptions(NetOptions, TrainingOptions):
    """Defaults are those of SASRec+ on MovieLens-1M (Klenitskiy and Vasilev, RecSys 2023).

    `max_history` is the number of newest items of a user that training and scoring look at;
    `loss` is `ce`, the softmax cross-entropy over all items.
    """

    loss: Literal["ce"] = "ce"


class SASRec:
    """Scores a candidate by the dot product of its embedding with the state after the request's history.

    Trained on the part train, stopped by NDCG@10 on the part valid. At scoring the history is all the request
    holds, cut to its newest `max_history` known items. A candidate that was not in training scores
    `UNKNOWN_SCORE`; where no history item is known, an item scores the log of its share of training events.
    """

    Options: ClassVar[type[config.Options]] = SASRecOptions

    def __init__(self, options: SASRecOptions, *, seed: int, device: str) -> None:
        self.options = options
        self.seed = seed
        self.device = resolve_device(device)
        self._vocabulary = Vocabulary(())
        self._shares = torch.empty(0, dtype=torch.float64)  # (item,)
        self._net: SASRecNet | None = None

    def fit(self, interactions: pl.DataFrame, progress: Progress) -> dict[str, Json]:
        """Train on the table `interactions`, and return epochs, validation, seconds, parameters and device.

        Users with a single training event are left out of training. On a CPU the same seed gives the same
        weights for one number of threads.

        Raises:
            ModelError: If fewer than two items, no sequence of two, or no validation event is there,
                or the training diverges.
        """
        events = interactions.filter(pl.col("part") == "train")
        vocabulary = Vocabulary.of(events["item_id"])
        if len(vocabulary) < 2:
            raise ModelError(
                f"sasrec needs at least two items to choose from, the training part has {len(vocabulary)}",
                hint="Lower the filters of the data set, or take a larger one.",
            )
        holdout = Holdout.of(interactions, vocabulary)
        # One more than the network sees: the newest is a target only.
        sequences = user_sequences(events, vocabulary)[1].last(self.options.max_history + 1)
        sequences = sequences.take(np.flatnonzero(sequences.lengths > 1))
        if not len(sequences):
            raise ModelError("no user has two training events", hint="Prepare a data set with more events per user.")
        with seeded(self.seed, self.device) as generator:
            net = self._build(len(vocabulary))
            facts = train(
                net,
                lambda: self._losses(net, sequences, generator),
                lambda: holdout.ndcg(lambda histories: self._states(net, histories) @ net.item_weights().T),
                self.options,
                progress("sasrec", self.options.epochs),
            )
        counts = np.bincount(vocabulary.encode(events["item_id"]) - 1, minlength=len(vocabulary))
        self._vocabulary, self._net = vocabulary, net
        self._shares = torch.from_numpy(np.log(counts / counts.sum()))
        return {**facts, "items": len(vocabulary), "sequences": len(sequences)}

    def score(self, requests: pl.DataFrame) -> Iterator[Scores]:
        """Yield a score of every candidate, sorted by the length of histories.

        Computed in float64 and rounded to float32, so that the noise of another batch is rounded away.

        Raises:
            ModelError: If the model is not trained, or a request has no list of candidates.
        """
        check_candidates(requests)
        net = deepcopy(self._trained()).double().eval()
        histories = Sequences.of(requests["history"], self._vocabulary).last(self.options.max_history)
        order = np.argsort(histories.lengths, kind="stable")
        for start in range(0, len(order), _GROUP):
            rows = order[start : start + _GROUP]
            yield from self._score_group(net, requests[rows], histories.take(rows))

    def save(self, folder: Path) -> None:
        """Write weights, options, seed and item vocabulary into the existing `folder`.

        Raises:
            ModelError: If the model is not trained.
        """
        facts: dict[str, Json] = {
            "options": self.options.model_dump(mode="json"),
            "seed": self.seed,
            "items": list(self._vocabulary.ids),
        }
        write_checkpoint(folder, "sasrec", facts, {**self._trained().state_dict(), "shares": self._shares})

    @classmethod
    def load(cls, folder: Path, *, device: str) -> Self:
        """Return the model that `save` wrote; its scores are the same.

        Raises:
            ModelError: If the folder is damaged, incomplete or another recommender's.
        """
        facts, weights = read_checkpoint(folder, "sasrec")
        place = resolve_device(device).type
        try:
            model = cls(SASRecOptions.parse(facts["options"], owner="sasrec"), seed=int(facts["seed"]), device=place)
            model._vocabulary = Vocabulary(tuple(facts["items"]))
            model._shares = weights.pop("shares")
            model._net = model._build(len(model._vocabulary))
            model._net.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError, OptionError) as error:
            raise damaged(folder, "sasrec", str(error)) from error
        return model

    def _build(self, items: int) -> SASRecNet:
        return SASRecNet(items, self.options).to(self.device)

    def _trained(self) -> SASRecNet:
        if self._net is None:
            raise ModelError("sasrec is not trained yet", hint="Call fit, or load a trained model.")
        return self._net

    def _losses(self, net: SASRecNet, sequences: Sequences, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the loss of each step of one epoch, over `batch` users in random order."""
        order = torch.randperm(len(sequences), generator=generator).numpy()
        for start in range(0, len(order), self.options.batch):
            batch = sequences.take(order[start : start + self.options.batch])
            batch = batch.take(np.argsort(batch.lengths, kind="stable"))
            states, targets = [], []
            for first in range(0, len(batch), _GROUP):
                items = batch.take(np.arange(first, min(first + _GROUP, len(batch)))).padded().to(self.device)
                real = items[:, 1:] != PADDING  # (sequence, time)
                states.append(net(items[:, :-1])[real])
                targets.append(items[:, 1:][real] - 1)
            yield LOSSES[self.options.loss](torch.cat(states), net.item_weights(), torch.cat(targets))

    def _states(self, net: SASRecNet, histories: Sequences) -> Tensor:
        """Return the state after the newest item of each history (history, dim); zeros where there is none."""
        items = histories.last(self.options.max_history).padded().to(self.device)
        if not items.shape[1]:
            return net.item_weights().new_zeros(len(histories), self.options.dim)
        newest = torch.from_numpy(np.maximum(histories.last(self.options.max_history).lengths - 1, 0)).to(self.device)
        states: Tensor = net(items)[torch.arange(len(items), device=self.device), newest]
        return states

    @torch.inference_mode()
    def _score_group(self, net: SASRecNet, requests: pl.DataFrame, histories: Sequences) -> list[Scores]:
        """Return the scores of requests that fit into one forward pass."""
        scores = []
        rows = requests.select("request_id", "candidates").iter_rows()
        for (name, items), state, length in zip(rows, self._states(net, histories), histories.lengths, strict=True):
            logits = net.item_weights() @ state if length else self._shares
            candidates = pl.Series(items, dtype=pl.String)
            scores.append(Scores(name, dict(zip(items, self._pick(logits, candidates), strict=True))))
        return scores

    def _pick(self, logits: Tensor, candidates: pl.Series) -> list[float]:
        """Return the score of each candidate from those of all known items (item,)."""
        codes = torch.from_numpy(self._vocabulary.encode(candidates))
        chosen = logits.cpu()[(codes - 1).clamp(min=0)].float()
        return torch.where(codes == PADDING, torch.tensor(UNKNOWN_SCORE), chosen).tolist()
