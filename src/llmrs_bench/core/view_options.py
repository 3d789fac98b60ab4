"""What a prompt shows of a request: the options of a template that are the same for all of them."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from llmrs_bench.core.config import Options
from llmrs_bench.core.option_faults import MOST

_BOTH = re.compile(r"(?:self|similar)[:@,+](.+)")


class ViewOptions(Options):
    """What a prompt shows of a request, and in which orders it shows the candidates.

    Args:
        past: Whose history is shown: the user's own; none; the same items `shuffled`; or that of another user, to show
            what it is worth.
        relevant: How many items of the earlier history are retrieved.
        query: What they have to be relevant to: the candidates, the recent items that are shown, or these and the text
            of `interest_run`.
        retriever: How they are found, by words (BM25) or by sentence embeddings.
        retriever_model: The embedding model; None: the default of the recommender `embedding`.
        shots: How many choices are shown as examples.
        shots_from: Whose: the user's own latest ones, `self`; those of the most similar users, `similar`; or those of
            users of another prepared data set, by its name.
        orders: In how many orders the candidates are shown, each a prompt of its own.
        samples: How often each prompt is answered, at a temperature above 0 (self-consistency, Wang et al., 2023).
        slots: Places for the target, each a prompt of its own, counted from 0: for studies of position bias alone. Of
            several targets the first is put there, and the others keep their order among the rest.
        aggregate: How the answers to several orders or samples become one ranking.
        interest_run: A run of a template of the form `note`, whose texts are shown as the user's interest.
        notes_run: A run of the template `notes`, whose lines are shown beside the items that they are about.
        scores_run: The run of a recommender, whose opinion of each candidate is shown beside it.
        scores: As what: its `rank` in the list, or its `score`, from 0 for the lowest of the list to 100.
        explained_run: The run whose first item of each list is explained.
        stated: What is said of every user, such as "a woman" or "a 70-year-old": for studies of what that changes.
        title_tokens: The most tokens of a title, counted by the tokenizer of the model `title_tokenizer`; None: all.
    """

    past: Literal["own", "none", "shuffled", "other"] = "own"
    relevant: int = Field(default=0, ge=0, le=1000)
    query: Literal["candidates", "recent", "interest"] = "candidates"
    retriever: Literal["bm25", "embedding"] = "bm25"
    retriever_model: str | None = None
    shots: int = Field(default=0, ge=0, le=1000)
    shots_from: str = "self"
    orders: int = Field(default=1, ge=1, le=1000)
    samples: int = Field(default=1, ge=1, le=1000)
    slots: tuple[Annotated[int, Field(ge=0)], ...] = ()
    aggregate: Literal["mean-rank", "borda", "reciprocal-rank"] = "mean-rank"
    interest_run: str | None = None
    notes_run: str | None = None
    scores_run: str | None = None
    scores: Literal["rank", "score"] = "rank"
    explained_run: str | None = None
    stated: str | None = Field(default=None, min_length=1, max_length=500)
    title_tokens: int | None = Field(default=None, ge=4, le=MOST)
    title_tokenizer: str | None = None

    @field_validator("slots", mode="before")
    @classmethod
    def listed(cls, slots: Any) -> Any:
        """Read `0,5,10` as typed."""
        return tuple(slots.split(",")) if isinstance(slots, str) else slots

    @property
    def several(self) -> bool:
        """Whether a request is shown, or answered, more than once."""
        return self.orders > 1 or self.samples > 1 or bool(self.slots)

    @property
    def examples_of(self) -> str | None:
        """The other data set that examples are of; None: they are of this one."""
        return None if self.shots_from in ("self", "similar") else self.shots_from

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that nothing reads."""
        if self.orders > 1 and self.slots:
            raise ValueError("orders and slots exclude each other: slots say where the target stands in each order")
        if not self.several and "aggregate" in self.model_fields_set:
            raise ValueError("aggregate has no effect on one order; add orders=N or samples=N")
        if not self.relevant and self.model_fields_set & {"query", "retriever", "retriever_model"}:
            raise ValueError("query, retriever and retriever_model have no effect without relevant=N")
        if self.query == "interest" and self.interest_run is None:
            raise ValueError("query=interest needs a text about the user: add interest_run=RUN")
        if self.title_tokens is None and self.title_tokenizer is not None:
            raise ValueError("title_tokenizer has no effect without title_tokens=N")
        if self.scores_run is None and "scores" in self.model_fields_set:
            raise ValueError("scores has no effect without scores_run=RUN")
        if self.scores_run is not None and self.notes_run is not None:
            raise ValueError("notes_run and scores_run exclude each other: an item can have only one text next to it")
        if not self.shots and "shots_from" in self.model_fields_set:
            raise ValueError("shots_from has no effect without shots=K")
        if (found := _BOTH.fullmatch(self.shots_from)) is not None:
            raise ValueError(
                f"shots_from={self.shots_from}: users of another data set are not compared with those of this one; "
                f"write shots_from={found[1]} for choices of any of them, or shots_from=similar"
            )
        return self
