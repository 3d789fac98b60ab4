"""Options of each stage as frozen values: unknown keys are refused, defaults are stated once."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from llmrs_bench.core.errors import OptionError
from llmrs_bench.core.masking import holds_key
from llmrs_bench.core.option_faults import MOST, default, flag, flag_words, is_number, key_words, missing, shown, takes

BOARD_METRICS = ("hit@1", "ndcg@10", "hit@10", "mrr")
# Where a whole catalogue is ranked, this many ranks are kept; metrics that look deeper are not measured.
DEPTH = 100
CATALOGUE_METRICS = ("hit@1", "ndcg@10", "hit@10", "mrr@10")
# What the runs of a board have in common, unless they are allowed to differ.
ProtocolField: TypeAlias = Literal["data", "split", "users", "candidates", "tie-rule", "metric-definition"]
Normalize: TypeAlias = Literal["sum", "token", "byte", "pmi"]
TrainBy: TypeAlias = Literal["users", "time", "events", "each-user"]
Invalid: TypeAlias = Literal["expected", "worst", "drop"]
LARGEST_SEED = 2**63 - 1
FREE_TEXT, EXPLANATION = "note", "explanation"
TEXTS = (FREE_TEXT, EXPLANATION)  # the forms of templates that rank nothing
WHOLE, IMPRESSIONS, MODELS, LISTS = "all", "impressions", "model:", "file:"
CLICK, RATING = "click", "rating"  # the tasks whose requests are labelled rows of one item each
LABELLED = (CLICK, RATING)
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

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    cost_only: ClassVar[frozenset[str]] = frozenset()  # options that change no result, only its price or its time
    identifying: ClassVar[frozenset[str]] = frozenset()  # options that the identity of a model states in its own words
    largest: ClassVar[int] = MOST  # of whole numbers, but for seeds

    @model_validator(mode="before")
    @classmethod
    def counts_are_no_truths(cls, values: Any) -> Any:
        """Refuse true and false for numbers, which Python and pydantic take for 1 and 0."""
        for name, value in values.items() if isinstance(values, Mapping) else ():
            known = cls.model_fields.get(name)
            if isinstance(value, bool) and known and is_number(known.annotation):
                raise ValueError(f"{name}={str(value).lower()} is not a number")
        return values

    @model_validator(mode="after")
    def within_range(self) -> Self:
        """Refuse whole numbers that nothing can count to."""
        for name, value in self:
            largest = LARGEST_SEED if name == "seed" else self.largest
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and not -largest <= number <= largest:
                    raise ValueError(f"{name}={shown(number)} is {'above ' if number > 0 else 'below -'}{largest}")
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
        place = f"{owner}: " if owner else ""
        for name, value in dict(values).items():
            if isinstance(value, str) and name not in _NAMES and holds_key(value):
                raise OptionError(
                    f"{place}{name} looks like a secret key, and options are stored with the results",
                    hint="Put the key into an environment variable, such as OPENAI_API_KEY.",
                )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            fields = [default(name, field) for name, field in cls.model_fields.items() if not field.is_required()]
            wrong = key_words(error.errors(), cls.model_json_schema()["properties"])
            hint = missing(error.errors()) or f"Its options and defaults: {', '.join(fields) or 'none'}."
            raise OptionError(f"{place}{wrong}", hint=hint) from error

    @classmethod
    def parse_table(cls, values: Mapping[str, Any]) -> Self:
        """Return the options made from a table of a file, whose place the caller names.

        Raises:
            OptionError: Naming every wrong option, what it takes and its default.
        """
        try:
            return cls.parse(values, owner="")
        except OptionError as error:
            if isinstance(error.__cause__, ValidationError):
                error.hint = takes(error.__cause__.errors(), cls.model_json_schema()["properties"], written=str)
            raise

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
            faults, known = error.__cause__.errors(), cls.model_json_schema()["properties"]
            together = f"`llmrs-bench {command} --help` shows which options go together."
            hint = takes(faults, known, written=flag) or missing(faults) or together
            raise OptionError(f"{command}: {flag_words(faults, known)}", hint=hint) from error


_OF_RANKINGS = frozenset(
    {
        *("candidates", "n_candidates", "include_seen", "force_target", "min_rating", "relevant_rating"),
        *("cold_users", "cold_items", "held_out", "draws"),
    }
)
_OF_CLICKS = frozenset({"protocol", "like_from", "order"})
# Options that a task, or a protocol of the task `click`, does not read.
_IDLE: dict[str | None, frozenset[str]] = {
    "ranking": _OF_CLICKS | {"valid_requests"},
    CLICK: _OF_RANKINGS,
    RATING: _OF_RANKINGS | _OF_CLICKS | {"implicit"},
    None: frozenset({"order"}),
    "collm": frozenset({"split", "k_core", "order"}),
    "tallrec": frozenset({"split", "k_core"}),
    "paper-ctr": frozenset({"k_core", "order"}),
}
_OF_TIME = frozenset({"cut", "target", "validation", "history_until", "min_history", "windows", "window_by"})
_COLD = frozenset({"cold_users", "cold_items"})


class PrepareConfig(Options):
    """What `prepare` makes of a raw source.

    Requests. `users` is a number of test users or `all`. `candidates` is `random`, `popularity`, `file:PATH`, `all`
    (the whole catalogue, ranked to a depth of 100), `model:NAME` (the top items of a recommender, of several in turn as
    in `model:sasrec+bm25`, or of an exported one, `model:PATH`), or `impressions` (lists that users were shown, whose
    clicked items are the targets). `retriever_options` are options of these recommenders, as `NAME.KEY`. Their lists
    hold the target only if it was retrieved, unless `force_target`; all other lists always do. With `relevant_rating`,
    lists are what users rated, and the targets what they rated at least this high. `draws` repeats each request with
    newly drawn candidates; the first lists are those of a single draw. `cold_users` lists how many of the newest events
    the same requests show; no model learns from anything that the test users did. `cold_items` tests only targets with
    fewer training events.

    Reading. `columns` names columns of the source by role (`item=asin`), `item_columns` those of its table of items.
    `unrated` lists values that mean no rating, separated by commas. `encoding` is for text that is not UTF-8 (of one
    table: `items=cp1251`), `time_unit` for times whose size does not reveal their unit. If a user has several events
    with one item, `repeats` keeps the `first` in time, the `last`, or `all`, or refuses them (`error`). `implicit`
    ignores ratings. `titles` are kept, or made natural (`Matrix, The (1999)` is The Matrix); None does what fits the
    data set. `allow_untitled` continues even if most items have no title; these items are shown by their id, or dropped
    with their events if `untitled` is `drop`. `line_order` says that the lines of a table without times are in
    chronological order. `drop_bad` drops rows that cannot be read. `max_unpacked` limits the unpacked size of a file in
    GB; None: 100 times its packed size, at least 64 MiB.

    Prompts. `history` is the number of history items that a prompt shows, unless `prompt` sets another number.
    `item_word` is the word for an item, or its singular and plural (`story/stories`); None: the data set's own.

    Split. `split` says which event of a user is the target: the last, or a random one. With `time`, nothing after `cut`
    (a share of the events, or a date in UTC) is training data; `target` says which later events of a user are held out,
    in each of the `windows`, which `window_by` makes equal, if there are any; `validation` says which earlier events
    are for validation, `history_until` where histories end, and `min_history` how many events they have at least. With
    `held_out` `validation`, the test events are set aside and the others are split in the same way, so that requests
    are for validation.

    Clicks. With `task` click, a request is one user and one item, and the model predicts whether the user will like it.
    An event is labelled, or liked if rated `like_from` or higher (with a protocol 4). `protocol` builds the requests
    as a paper did; otherwise `split` cuts all labelled events 8:1:1, in `time` or at `random`. `order` is the order of
    the rows of which `tallrec` takes the last. At most `valid_requests` validation rows are asked, too, for
    calibration. `users` is `all` by default.

    Ratings. With `task` rating, the model predicts how the user will rate the item. All rated events are split as
    labelled ones without a protocol.
    """

    cost_only: ClassVar[frozenset[str]] = frozenset({"max_unpacked", "allow_untitled", "line_order", "drop_bad"})
    # Came later: what was prepared without them keeps its fingerprint.
    later: ClassVar[frozenset[str]] = frozenset(
        {
            *("columns", "item_columns", "unrated", "encoding", "time_unit"),
            *("repeats", "implicit", "titles", "untitled"),
            *("relevant_rating", "split", "held_out", "draws", *_OF_TIME, *_COLD),
            *("task", "protocol", "like_from", "valid_requests", "order"),
        }
    )

    dataset: str
    users: Annotated[int, Field(ge=1, le=MOST)] | Literal["all"] = 1000
    candidates: str = "random"
    n_candidates: int = Field(default=20, ge=2, le=MOST)
    include_seen: bool = False
    force_target: bool = False
    retriever_options: dict[str, str] = Field(default_factory=dict)
    history: int = Field(default=10, ge=0, le=MOST)
    min_rating: float | None = None
    relevant_rating: float | None = None
    k_core: int = Field(default=0, ge=0, le=MOST)
    split: Literal["leave-one-out", "random", "time"] = "leave-one-out"
    cut: str = "0.9"
    target: Literal["last", "first", "random", "successive", "all"] = "last"
    validation: str = Field(
        default="last-item", json_schema_extra={"takes": "last-item, time or users:N, with N from 1 on"}
    )
    history_until: Literal["target", "cut"] = "target"
    min_history: int = Field(default=0, ge=0, le=MOST)
    windows: int = Field(default=0, ge=2, le=1000)  # 0: none
    window_by: Literal["time", "events"] = "time"
    cold_users: tuple[Annotated[int, Field(ge=0, le=MOST)], ...] = Field(
        default=(), json_schema_extra={"takes": "different whole numbers of at least 0, such as 0,1,2,5,10"}
    )
    cold_items: Annotated[int, Field(ge=1, le=MOST)] | None = None
    draws: int = Field(default=1, ge=1, le=1000)
    held_out: Literal["test", "validation"] = "test"
    task: Literal["ranking", "click", "rating"] = "ranking"
    protocol: Literal["collm", "tallrec", "paper-ctr"] | None = None
    like_from: float | None = None
    valid_requests: int = Field(default=1000, ge=0, le=MOST)
    order: Literal["users", "time"] = "users"
    item_word: str | None = Field(default=None, min_length=1)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    columns: dict[str, str] = Field(default_factory=dict)
    unrated: str | None = None
    item_columns: dict[str, str] = Field(default_factory=dict)
    encoding: str | None = None
    time_unit: Literal["auto", "s", "ms", "us", "ns", "ticks", "iso"] = "auto"
    repeats: Literal["first", "last", "all", "error"] = "first"
    implicit: bool = False
    titles: Literal["keep", "natural"] | None = None
    allow_untitled: bool = False
    untitled: Literal["id", "drop"] = "id"
    line_order: bool = False
    drop_bad: bool = False
    max_unpacked: float | None = Field(default=None, gt=0)

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that may change a result; those that came later only where they are no defaults."""
        defaults = PrepareConfig(dataset=self.dataset).model_dump(mode="json")
        options = super().result_options
        return {key: value for key, value in options.items() if key not in self.later or value != defaults[key]}

    @model_validator(mode="before")
    @classmethod
    def defaults_of_task(cls, given: Any) -> Any:
        """Refuse options of another task, and fill in what is another default for labelled rows."""
        task, protocol = given.get("task"), given.get("protocol")
        labelled = task in LABELLED
        unread = _IDLE[task if labelled else "ranking"]
        if task == CLICK:
            unread |= _IDLE.get(protocol, frozenset())
        if names := sorted(given.keys() & unread):
            where = f"without --task {CLICK}" + ("" if _OF_CLICKS & {*names} else f" or {RATING}")
            if task == CLICK:
                where = f"with --task {CLICK}" + (f" --protocol {protocol}" if protocol else " and no protocol")
            elif task == RATING:
                where = f"with --task {RATING}"
            raise ValueError(f"{' and '.join(map(flag, names))} would have no effect {where}")
        return {"users": "all", "split": "time", **given} if labelled else given

    @field_validator("item_word")
    @classmethod
    def one_or_two_words(cls, text: str | None) -> str | None:
        """Refuse what is no word for an item, nor two for one and several."""
        words = [] if text is None else text.split("/")
        if len(words) > 2 or not all(word.strip() and word.isprintable() for word in words):
            raise ValueError(f"item_word={text!r} is not a word, or singular/plural such as story/stories")
        return text

    @field_validator("cut", mode="before")
    @classmethod
    def as_typed(cls, cut: Any) -> Any:
        """Take a number or a date of a recipe, or of Python, as it would be typed."""
        return str(cut) if isinstance(cut, float | date) else cut

    @field_validator("validation")
    @classmethod
    def one_of_three(cls, text: str) -> str:
        """Refuse what names no events for validation."""
        if not re.fullmatch(r"last-item|time|users:[1-9]\d{0,8}", text):
            raise ValueError(f"{text!r} is not last-item, time or users:N, with N a number of users from 1 on")
        return text

    @field_validator("cold_users", mode="before")
    @classmethod
    def listed(cls, numbers: Any) -> Any:
        """Read `0,1,5` as typed, in their order."""
        numbers = numbers.split(",") if isinstance(numbers, str) else numbers
        if len(set(map(str, numbers))) < len(numbers):
            raise ValueError(f"{','.join(map(str, numbers))} names a number twice")
        return (
            tuple(sorted(map(int, numbers))) if all(str(number).strip().isdecimal() for number in numbers) else numbers
        )

    @model_validator(mode="after")
    def fits_the_task(self) -> Self:
        """Refuse a split and repeats that labelled rows cannot have."""
        if self.task in LABELLED and self.split == "leave-one-out":
            raise ValueError(f"--split leave-one-out does not fit --task {self.task}, which takes time or random")
        if self.task == RATING and self.repeats == "all":
            raise ValueError("--repeats all does not fit --task rating: a history shows one rating of an item")
        return self

    @model_validator(mode="after")
    def lists_can_be_drawn_again(self) -> Self:
        """Refuse several draws of lists that are not drawn, or are asked several times already."""
        if self.draws > 1 and (self.candidates not in ("random", "popularity") or self.cold_users):
            raise ValueError("--draws applies only to --candidates random and popularity, without --cold-users")
        return self

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that the chosen candidates do not read."""
        unread = sorted(self.model_fields_set & _OF_TIME)
        if unread and (self.split != "time" or self.task in LABELLED):
            flags = " and ".join(flag(name) for name in unread)
            if self.task in LABELLED:
                raise ValueError(f"{flags} would have no effect with --task {self.task}")
            raise ValueError(f"{flags} would have no effect without --split time")
        if "window_by" in self.model_fields_set and not self.windows:
            raise ValueError("--window-by would have no effect without --windows")
        if self.repeats != "first" and (self.target in ("successive", "all") or self.windows):
            raise ValueError(
                f"--repeats {self.repeats} does not fit several targets per user: one may be in the history of another"
            )
        if self.candidates == WHOLE and "n_candidates" in self.model_fields_set:
            raise ValueError("--candidates all ranks the whole catalogue, so --n-candidates has no effect")
        if self.held_out == "validation" and self.relevant_rating is not None:
            raise ValueError("--held-out validation needs lists that users were shown, not those of --relevant-rating")
        if self.candidates != IMPRESSIONS and self.relevant_rating is not None:
            raise ValueError(
                "--relevant-rating applies only to --candidates impressions, where lists are what was rated"
            )
        idle = self.model_fields_set & {"n_candidates", "include_seen", "split", *_COLD}
        if self.candidates == IMPRESSIONS and idle:
            raise ValueError(
                "--candidates impressions takes lists as they were shown, so "
                + " and ".join(f"--{name.replace('_', '-')}" for name in sorted(idle))
                + (" has" if len(idle) == 1 else " have")
                + " no effect"
            )
        if not self.candidates.startswith(MODELS) and (self.force_target or self.retriever_options):
            raise ValueError(f"--force-target and -O apply only to --candidates model:NAME, not to {self.candidates}")
        if self.line_order and self.split == "random":
            raise ValueError("--split random ignores the order of events, so --line-order has no effect")
        if self.implicit and (self.min_rating is not None or self.unrated is not None):
            raise ValueError("--implicit reads no ratings, so --min-rating and --unrated have no effect")
        return self


PROTOCOLS: dict[str, dict[str, Any]] = {
    "default": {},
    **{name: {"protocol": name} for name in ("collm", "tallrec", "paper-ctr")},  # of clicks
    # arXiv 2401.04997, section 3.3; the LLMRank lists it builds on keep items the user has seen.
    "paper": {"users": 200, "n_candidates": 20, "history": 10, "include_seen": True},
}


class PromptConfig(Options):
    """Which template is rendered, and how; `history` is the number of history items shown, None: as prepared.

    `template` is the name of a built-in template, or the path of a TOML file. `options` are those of views, of the
    template's parts (`role=recommender`) and of its answer form.
    """

    template: str = "listwise"
    options: dict[str, str] = Field(default_factory=dict)
    history: int | None = Field(default=None, ge=0)


def with_own_tokens(options: Mapping[str, str], model: str) -> dict[str, str]:
    """Return template options in which the tokens of titles are those of a model, unless they name another one."""
    return {**({"title_tokenizer": model} if "title_tokens" in options and model != "mock" else {}), **options}


class RecommenderConfig(Options):
    """A recommender or click model: its own `options`, and its training data.

    `train_fraction` is the share of the training events to learn from. `train_by` says how they are chosen: whole
    `users`, the earliest in `time`, random `events`, or random events of `each-user`. `max_users` limits the number of
    users. `train_samples` takes the samples of `tune` instead. The seed decides which are drawn, and a smaller sample
    is part of a larger one. With `retrain` `each`, the model is fitted again before each window of `prepare --windows`,
    on all events up to its start; with `never`, it is the model of the cut.
    """

    model: str
    options: dict[str, str] = Field(default_factory=dict)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    train_fraction: float = Field(default=1.0, gt=0, le=1)
    train_by: TrainBy = "users"
    max_users: int | None = Field(default=None, ge=1, le=MOST)
    train_samples: int | None = Field(default=None, ge=1, le=MOST)
    retrain: Literal["never", "each"] = "never"

    @model_validator(mode="after")
    def no_idle_options(self) -> Self:
        """Refuse options that say nothing beside the others."""
        given = self.model_fields_set & {"train_fraction", "train_by", "max_users"}
        if self.train_samples is not None and given:
            idle = " and ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
            raise ValueError(f"--train-samples fixes the number of samples, so {idle} would have no effect")
        if given & {"train_fraction", "train_by"} == {"train_by"}:
            raise ValueError("--train-by would have no effect without --train-fraction")
        if self.retrain == "each" and self.train_samples is not None:
            raise ValueError(
                "--train-samples uses the samples of `tune`, all before the cut, so --retrain each has no effect"
            )
        return self


class LanguageModelConfig(Options):
    """A language model that ranks the requests: its prompts and its engine; `options` are the engine's.

    `limit` asks only the first requests, in a seeded order.
    """

    model: str
    template: str = "listwise"
    template_options: dict[str, str] = Field(default_factory=dict)
    history: int | None = Field(default=None, ge=0)
    engine: str = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    options: dict[str, str] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1, le=MOST)

    @property
    def prompt(self) -> PromptConfig:
        """What of it decides the prompts."""
        options = with_own_tokens(self.template_options, self.options.get("tokenizer", self.model))
        return PromptConfig(template=self.template, options=options, history=self.history)


class EvaluateConfig(Options):
    """What is measured, and how.

    Args:
        normalize: How log-likelihoods of titles become scores, see `Normalization`; None: runs stay as they are.
        invalid: How unranked items count, which are placed below all ranked ones. `expected`: the mean over all their
            orders. `worst`: relevant ones are never found. `drop`: like `expected`, but requests in which a model
            ranked nothing are left out of its means.
        metrics: Metrics in addition to `METRIC_NAMES`.
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
    """What the leaderboard shows, and how its intervals and tests are made; by default the metrics fit the data set.

    `permutations` None takes as many as the tests need. `invalid` is that of `EvaluateConfig` and selects evaluations.
    `by` is a grouping that `--by` lists, `allow_different` the fields in which runs may differ. `published` shows
    printed tables, `published_table` a single one. `null` is how often labels of clicks are permuted within users.
    `primary` (metrics), `main` and `against` (rows) declare the primary comparisons.
    """

    metrics: tuple[str, ...] | None = None
    primary: tuple[str, ...] = ()
    main: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    samples: int = Field(default=2000, ge=100, le=100_000)
    seed: int = Field(default=0, ge=0)
    permutations: int | None = Field(default=None, ge=100, le=10_000_000)
    correction: Literal["holm", "bh", "none"] = "holm"
    invalid: Invalid = "expected"
    by: str | None = None
    allow_different: tuple[ProtocolField, ...] = ()
    published: bool = False
    published_table: str | None = None
    null: int = Field(default=0, ge=0, le=10_000)
