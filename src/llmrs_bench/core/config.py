"""Options of each stage as frozen values: unknown keys are refused, defaults are stated once."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.masking import holds_key

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

BOARD_METRICS = ("hit@1", "ndcg@10", "hit@10", "mrr")
# Where a whole catalogue is ranked, this many ranks are kept; metrics that look deeper are not measured.
DEPTH = 100
CATALOGUE_METRICS = ("hit@1", "ndcg@10", "hit@10", "mrr@10")
# What the runs of a board have in common, unless they are allowed to differ.
ProtocolField: TypeAlias = Literal["data", "split", "users", "candidates", "tie-rule", "metric-definition"]
Normalize: TypeAlias = Literal["sum", "token", "byte", "pmi"]
Invalid: TypeAlias = Literal["expected", "worst", "drop"]
_MOST = 2**31 - 1  # of anything that is counted
LARGEST_SEED = 2**63 - 1
FREE_TEXT = "note"  # the form of templates that rank nothing
WHOLE, IMPRESSIONS, MODELS, LISTS = "all", "impressions", "model:", "file:"
# What `evaluate` always measures; `metrics.names.METRIC_FORMS` says what else there is.
METRIC_NAMES = (
    *(f"ndcg@{k}" for k in (1, 5, 10, 20)),
    *(f"hit@{k}" for k in (1, 5, 10, 20)),
    "mrr",
    "mrr@10",
    "coverage",
    "answered",
)


_NAMES = ("dataset", "model", "source")  # options for which people choose names, such as sk-news


class Options(BaseModel):
    """Options of a stage or a plug-in: frozen, strict about unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    cost_only: ClassVar[frozenset[str]] = frozenset()  # options that change no result, only its price or its time
    identifying: ClassVar[frozenset[str]] = frozenset()  # options that the identity of a model states in its own words
    largest: ClassVar[int] = _MOST  # of whole numbers, but for seeds

    @model_validator(mode="after")
    def within_range(self) -> Self:
        """Refuse whole numbers that nothing can count to."""
        for name, value in self:
            largest = LARGEST_SEED if name == "seed" else self.largest
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and not -largest <= number <= largest:
                    raise ValueError(f"{name}={_shown(number)} is {'above ' if number > 0 else 'below -'}{largest}")
        return self

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that may change a result."""
        return self.model_dump(mode="json", exclude=set(self.cost_only | self.identifying))

    @classmethod
    def naming(cls, typed: Mapping[str, str]) -> dict[str, str]:
        """Return those of the typed options that name a row of the leaderboard: all that may change a result."""
        return {name: value for name, value in typed.items() if name not in cls.cost_only}

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, owner: str) -> Self:
        """Return the options made from `values`, for instance strings typed as `-O key=value`.

        Raises:
            OptionError: Naming `owner`, every wrong option, and the options there are.
        """
        for name, value in dict(values).items():
            if isinstance(value, str) and name not in _NAMES and holds_key(value):
                raise OptionError(
                    f"{owner}: {name} holds what looks like a secret key, and what is typed is kept beside results",
                    hint="Keys go into environment variables, such as OPENAI_API_KEY.",
                )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            fields = {name: field for name, field in cls.model_fields.items() if not field.is_required()}
            known = ", ".join(_default(name, field) for name, field in fields.items())
            wrong = "; ".join(_fault_words(fault, list(cls.model_fields)) for fault in error.errors())
            raise OptionError(f"{owner}: {wrong}", hint=f"Its options and defaults: {known or 'none'}.") from error

    @classmethod
    def parse_flags(cls, values: Mapping[str, Any], *, command: str) -> Self:
        """Return the options made from `values` that are typed as `--key VALUE`.

        Raises:
            OptionError: Naming `command`, every wrong option as it is typed, what it takes and its default.
        """
        try:
            return cls.parse(values, owner=command)
        except OptionError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            properties = cls.model_json_schema()["properties"]
            faults: dict[str, list[ErrorDetails]] = {}
            for fault in error.__cause__.errors():
                named = re.match(r"Value error, (\w+)=", fault["msg"])
                name = str(next(iter(fault["loc"]), named[1] if named and named[1] in properties else ""))
                faults.setdefault(name, []).append(fault)
            wrong = "; ".join(_flag_words(name, found, properties.get(name, {})) for name, found in faults.items())
            takes = [
                f"{_flag(name)} takes {_allowed(properties[name])}{_default_words(properties[name])}."
                for name in faults
                if name in properties
            ]
            hint = " ".join(takes) or f"`llmrs-bench {command} --help` lists what goes together."
            raise OptionError(f"{command}: {wrong}", hint=hint) from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _flag_words(name: str, faults: "Sequence[ErrorDetails]", schema: Mapping[str, Any]) -> str:
    """Say what is wrong with an option that is typed as `--key VALUE`; no form of several fits where faults are."""
    if len(faults) > 1:
        return f"{_flag(name)} {_shown(faults[0]['input'])} is not {_allowed(schema)}"
    words = _fault_words(faults[0], ())
    if not name:
        return words
    return re.sub(rf"^{name}(?:\.\w+)*([=:])", lambda sign: _flag(name) + (" " if sign[1] == "=" else ":"), words)


def _default_words(schema: Mapping[str, Any]) -> str:
    known = schema.get("default")
    if known in (None, [], {}):
        return ""
    return f"; its default is {str(known).lower() if isinstance(known, bool) else known}"


_BOUNDS = {
    "minimum": "of at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "of at most {}",
    "exclusiveMaximum": "below {}",
}


def _allowed(schema: Mapping[str, Any]) -> str:
    """Say in words which values a JSON schema allows."""
    if "anyOf" in schema:
        return " or ".join(_allowed(part) for part in schema["anyOf"] if part.get("type") != "null")
    if schema.get("type") == "array" and "items" in schema:
        return _allowed(schema["items"])  # it may be repeated
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}
    bounds = [words.format(f"{schema[key]:,}") for key, words in _BOUNDS.items() if schema.get(key, _MOST) < _MOST]
    return " ".join(
        [kinds.get(schema.get("type", ""), "KEY=VALUE"), *bounds[:1], *(f"and {more}" for more in bounds[1:])]
    )


def _default(name: str, field: "FieldInfo") -> str:
    """Return an option with its default, as it is typed."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if field.is_required():
        return name
    if value is None or value in ((), {}):
        return f"{name} (none)"
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def _shown(value: object) -> str:
    """Return a wrong value for a message, cut where it is long."""
    text = str(value) if not isinstance(value, int) or value.bit_length() < 1000 else hex(value)
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text):,} characters)"


# What pydantic finds wrong, in words of this tool.
_FAULTS = {
    "int_parsing": "is no whole number",
    "int_type": "is no whole number",
    "int_from_float": "is no whole number",
    "float_parsing": "is no number",
    "float_type": "is no number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "literal_error": "is none of {expected}",
    "greater_than_equal": "is below {ge}",
    "greater_than": "is not above {gt}",
    "less_than_equal": "is above {le}",
    "less_than": "is not below {lt}",
    "int_parsing_size": "is too large",
    "finite_number": "is no finite number",
    "string_too_short": "is empty",
}


def _fault_words(fault: "ErrorDetails", known: Sequence[str]) -> str:
    """Say what is wrong with one option."""
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        return f"unknown option {name!r}" + (f", did you mean {near[0]!r}?" if near else "")
    if fault["type"] in _FAULTS:
        return f"{name}={_shown(fault['input'])} {_FAULTS[fault['type']].format(**fault.get('ctx', {}))}"
    words = fault["msg"].removeprefix("Value error, ")
    return f"{name}: {words}" if name else words


class PrepareConfig(Options):
    """What `prepare` makes of a raw source.

    `users` is a number of test users or `all`. `candidates` is `random`, `popularity`, `file:PATH`, `all` (the whole
    catalogue, ranked to a depth of 100), or `model:NAME` with the best items of a recommender, also of several in turn
    (`model:sasrec+bm25`) or of an exported one (`model:PATH`); `retriever_options` are theirs, as `NAME.KEY`.
    Lists of a model hold the target only where it was retrieved, unless `force_target`; all others always do. With
    `impressions` lists are what users were shown, and the targets what they clicked; with `relevant_rating` they are
    what users rated, and the targets what they rated so high.
    `split` says which event of a user is the target: the last one, or a random one.
    `history` is the number of history items a prompt shows unless `prompt` is given another number; `item_word` is
    what a prompt calls an item, or one and several (`story/stories`), None takes the data set's own. `columns` names
    columns of the source by their roles (`item=asin`), and `item_columns` those of its table of items; `unrated` lists
    texts that mean no rating there, with commas between them. `encoding` is that of text that is not UTF-8, `time_unit`
    that of times whose size does not tell it. Of a user's repeated events with one item `repeats` keeps the `first` in
    time, the `last`, or `all`, or refuses them (`error`). `implicit` leaves ratings out. `titles` are kept, or made
    natural (`Matrix, The (1999)` is The Matrix); None does what fits the data set. `allow_untitled` goes on where most
    items have no title. `max_unpacked` is how many GB of one packed file are read; None takes 100 times what is packed.
    """

    cost_only: ClassVar[frozenset[str]] = frozenset({"max_unpacked", "allow_untitled"})
    # Came later: what was prepared without them keeps its fingerprint.
    later: ClassVar[frozenset[str]] = frozenset(
        {
            *("columns", "item_columns", "unrated", "encoding", "time_unit", "repeats", "implicit", "titles"),
            *("relevant_rating", "split"),
        }
    )

    dataset: str
    users: Annotated[int, Field(ge=1, le=_MOST)] | Literal["all"] = 1000
    candidates: str = "random"
    n_candidates: int = Field(default=20, ge=2, le=_MOST)
    include_seen: bool = False
    force_target: bool = False
    retriever_options: dict[str, str] = Field(default_factory=dict)
    history: int = Field(default=10, ge=0, le=_MOST)
    min_rating: float | None = None
    relevant_rating: float | None = None
    k_core: int = Field(default=0, ge=0, le=_MOST)
    split: Literal["leave-one-out", "random"] = "leave-one-out"
    item_word: str | None = Field(default=None, min_length=1)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    columns: dict[str, str] = Field(default_factory=dict)
    unrated: str | None = None
    item_columns: dict[str, str] = Field(default_factory=dict)
    encoding: str | None = None
    time_unit: Literal["auto", "s", "ms", "us", "ns", "iso"] = "auto"
    repeats: Literal["first", "last", "all", "error"] = "first"
    implicit: bool = False
    titles: Literal["keep", "natural"] | None = None
    allow_untitled: bool = False
    max_unpacked: float | None = Field(default=None, gt=0)

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that may change a result; those that came later only where they are no defaults."""
        defaults = PrepareConfig(dataset=self.dataset).model_dump(mode="json")
        options = super().result_options
        return {key: value for key, value in options.items() if key not in self.later or value != defaults[key]}

    @field_validator("item_word")
    @classmethod
    def one_or_two_words(cls, text: str | None) -> str | None:
        """Refuse what is no word for an item, nor two for one and several."""
        words = [] if text is None else text.split("/")
        if len(words) > 2 or not all(word.strip() and word.isprintable() for word in words):
            raise ValueError(f"item_word={text!r} is neither a word nor two, as in story/stories")
        return text

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that the chosen candidates do not read."""
        if self.candidates == WHOLE and "n_candidates" in self.model_fields_set:
            raise ValueError("--candidates all ranks the whole catalogue, so --n-candidates has no effect")
        if self.candidates != IMPRESSIONS and self.relevant_rating is not None:
            raise ValueError(
                "--relevant-rating applies only to --candidates impressions, where lists are what was rated"
            )
        idle = self.model_fields_set & {"n_candidates", "include_seen", "split"}
        if self.candidates == IMPRESSIONS and idle:
            raise ValueError(
                "--candidates impressions takes lists as they were shown, so "
                + " and ".join(f"--{name.replace('_', '-')}" for name in sorted(idle))
                + (" has" if len(idle) == 1 else " have")
                + " no effect"
            )
        if not self.candidates.startswith(MODELS) and (self.force_target or self.retriever_options):
            raise ValueError(f"--force-target and -O apply only to --candidates model:NAME, not to {self.candidates}")
        if self.implicit and (self.min_rating is not None or self.unrated is not None):
            raise ValueError("--implicit reads no ratings, so --min-rating and --unrated have no effect")
        return self


PROTOCOLS: dict[str, dict[str, Any]] = {
    "default": {},
    # arXiv 2401.04997, section 3.3; the LLMRank lists it builds on keep items the user has seen.
    "paper": {"users": 200, "n_candidates": 20, "history": 10, "include_seen": True},
}


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
        shots_from: Whose: the user's own latest ones, or those of the most similar users.
        orders: In how many orders the candidates are shown, each a prompt of its own.
        samples: How often each prompt is answered, at a temperature above 0 (self-consistency, Wang et al., 2023).
        slots: Places for the target, each a prompt of its own, counted from 0: for studies of position bias alone. Of
            several targets the first is put there, and the others keep their order among the rest.
        aggregate: How the answers to several orders or samples become one ranking.
        interest_run: A run of a template of the form `note`, whose texts are shown as the user's interest.
        notes_run: A run of the template `notes`, whose lines are shown beside the items that they are about.
    """

    past: Literal["own", "none", "shuffled", "other"] = "own"
    relevant: int = Field(default=0, ge=0, le=1000)
    query: Literal["candidates", "recent", "interest"] = "candidates"
    retriever: Literal["bm25", "embedding"] = "bm25"
    retriever_model: str | None = None
    shots: int = Field(default=0, ge=0, le=1000)
    shots_from: Literal["self", "similar"] = "self"
    orders: int = Field(default=1, ge=1, le=1000)
    samples: int = Field(default=1, ge=1, le=1000)
    slots: tuple[Annotated[int, Field(ge=0)], ...] = ()
    aggregate: Literal["mean-rank", "borda", "reciprocal-rank"] = "mean-rank"
    interest_run: str | None = None
    notes_run: str | None = None

    @field_validator("slots", mode="before")
    @classmethod
    def listed(cls, slots: Any) -> Any:
        """Read `0,5,10` as typed."""
        return tuple(slots.split(",")) if isinstance(slots, str) else slots

    @property
    def several(self) -> bool:
        """Whether a request is shown, or answered, more than once."""
        return self.orders > 1 or self.samples > 1 or bool(self.slots)

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
            raise ValueError("query=interest searches for a text about the user; add interest_run=RUN")
        if not self.shots and "shots_from" in self.model_fields_set:
            raise ValueError("shots_from has no effect without shots=K")
        return self


class PromptConfig(Options):
    """Which template is rendered, and how; `history` is the number of items shown, None takes what was prepared.

    `template` is the name of one that ships with the tool, or the path of a TOML file. `options` are those of views, of
    the template's parts (`role=recommender`) and of its answer form.
    """

    template: str = "listwise"
    options: dict[str, str] = Field(default_factory=dict)
    history: int | None = Field(default=None, ge=0)


class RecommenderConfig(Options):
    """A recommender that ranks the requests: its own `options`, and what it learns from.

    It learns from a share `train_fraction` of the interactions, or from `max_users` users at most, taken whole and in a
    seeded order, so that less is part of more. `event_fraction` is the share of the interactions of each user.
    """

    model: str
    options: dict[str, str] = Field(default_factory=dict)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    train_fraction: float = Field(default=1.0, gt=0, le=1)
    max_users: int | None = Field(default=None, ge=1, le=_MOST)
    event_fraction: float = Field(default=1.0, gt=0, le=1)


class LanguageModelConfig(Options):
    """A language model that ranks the requests: how it is asked, and by which engine; `options` are the engine's."""

    model: str
    template: str = "listwise"
    template_options: dict[str, str] = Field(default_factory=dict)
    history: int | None = Field(default=None, ge=0)
    engine: str = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    options: dict[str, str] = Field(default_factory=dict)

    @property
    def prompt(self) -> PromptConfig:
        """What of it decides the prompts."""
        return PromptConfig(template=self.template, options=self.template_options, history=self.history)


class EvaluateConfig(Options):
    """What is measured, and how.

    Args:
        normalize: How log-likelihoods of titles are weighed, as `Normalization` says; None: runs stay as
            they are.
        invalid: How items count that a model was silent about; they stand below all that it ranked. `expected`: the
            mean over all orders of theirs. `worst`: the relevant ones are never found. `drop`: as `expected`, but
            requests in which a model ranked nothing are left out of its means.
        metrics: What to measure beside `METRIC_NAMES`.
    """

    normalize: Normalize | None = None
    invalid: Invalid = "expected"
    metrics: tuple[str, ...] = ()

    @field_validator("metrics", mode="before")
    @classmethod
    def listed(cls, metrics: Any) -> Any:
        """Read `recall@5,map` as typed."""
        return tuple(name.strip() for name in metrics.split(",")) if isinstance(metrics, str) else metrics


class CompareConfig(Options):
    """What the board shows, and how its intervals and tests are made; without metrics those that fit the data set.

    `permutations` None takes as many as the number of tests needs. `invalid` is that of `EvaluateConfig`: which of the
    evaluations is shown. `by` names a grouping of requests as `--by` lists them, `allow_different` the fields in
    which runs may differ, and `published` says whether printed tables of the same data are shown.
    """

    metrics: tuple[str, ...] | None = None
    samples: int = Field(default=2000, ge=100, le=100_000)
    seed: int = Field(default=0, ge=0)
    permutations: int | None = Field(default=None, ge=100, le=10_000_000)
    correction: Literal["holm", "bh", "none"] = "holm"
    invalid: Invalid = "expected"
    by: str | None = None
    allow_different: tuple[ProtocolField, ...] = ()
    published: bool = False
