"""Prompts and choices as tokens, with the chat template of the model."""

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jinja2 import TemplateError

from llmrs_bench.core.errors import EngineError, ModelError, OptionError
from llmrs_bench.core.types import Message, Prompt, Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]
_NUMBERS: dict[int, int] = {}  # one object for each number, so that a remembered token takes 8 bytes and not 40


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A prompt and its choices as token ids.

    `prefix` + `suffixes[i]` is the text of the prompt and choice i. If `moved`, a token of that text spans the
    end of the prompt, so the suffixes begin with the last tokens of the prompt, all of them at the same token.
    """

    prefix: Ids
    suffixes: tuple[Ids, ...] = ()
    moved: bool = False

    @property
    def longest(self) -> int:
        """Return the number of tokens of the longest suffix."""
        return max(map(len, self.suffixes), default=0)

    @property
    def distinct(self) -> list[Ids]:
        """Return each suffix once, in an order that does not depend on that of the choices."""
        return sorted(set(self.suffixes))


def encode(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[Ids]:
    """Return the ids of each text, without special tokens and never cut."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # the same ids at half the time: without offsets and masks
        backend.no_truncation()
        backend.no_padding()
        same, found = _NUMBERS.setdefault, backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [tuple([same(token, token) for token in each.ids]) for each in found]
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [tuple([_NUMBERS.setdefault(token, token) for token in ids]) for ids in encoded["input_ids"]]


_STRUCTURE = re.compile(r"[<>\[\]{}|｜]|[^\W\d_].*[:#=~^\\@$§*_]|[:#=~^\\@$§*_].*[^\W\d_]", re.DOTALL)
_PLACEHOLDER = "a"


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    """Return the tokens that stand for structure and not for text, by id.

    They are those that the tokenizer calls special, and of those that were added to its vocabulary the ones with
    brackets or bars, as `[|user|]`, or with letters and a sign, as `USER:`, which some models do not call special.
    Other added ones are words or blanks.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    found = {
        number: token.content for number, token in added.items() if token.special or _STRUCTURE.search(token.content)
    }
    return {**dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)), **found}


def special_texts(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str] | None:
    """Return what finds the texts that a tokenizer reads as special tokens, or None if it has none."""
    texts = set(special_tokens(tokenizer).values())
    # One letter, or blanks alone, may be a special token of some models; no text can do without them.
    known = sorted((text for text in texts if len(text.strip()) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, known))) if known else None


def take_apart(text: str, special: re.Pattern[str] | None) -> str:
    """Return a text in which no special token is left: a blank is put after the first letter of each.

    A text without any is returned as it is.
    """
    while special is not None and special.search(text):
        text = special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text


def special_affixes(tokenizer: "PreTrainedTokenizerBase") -> tuple[Ids, Ids]:
    """Return the special tokens that the tokenizer puts before a text and after it, such as BOS and EOS."""
    bare = encode(tokenizer, ["a"])[0]
    full = tuple(tokenizer("a")["input_ids"])
    starts = [start for start in range(len(full) - len(bare) + 1) if full[start : start + len(bare)] == bare]
    if not bare or not starts:
        raise EngineError("the tokenizer writes the letter 'a' differently with special tokens than without them")
    return full[: starts[0]], full[starts[0] + len(bare) :]


def split_choices(
    tokenizer: "PreTrainedTokenizerBase", prompt_text: str, choices: Sequence[str], *, lead: Ids = ()
) -> Tokenized:
    """Return `prompt_text` and its choices as token ids, each choice as the continuation it is.

    The prompt is tokenised together with each choice; the choices begin where the ids of the prompt and of all
    these texts part. That is the end of the prompt unless a token spans it (arXiv 2412.03719); then it lies
    before it, for all choices alike, and their log-probabilities include those of the same end of the prompt.

    Args:
        tokenizer: It is called once, with all the texts.
        prompt_text: The rendered prompt.
        choices: The continuations, each with the space that it begins with, if any.
        lead: Special tokens before the text.

    Raises:
        EngineError: If a choice is blank, or no token is left before the choices.
    """
    for choice in choices:
        if not choice.strip():
            raise EngineError(f"a choice is blank: {choice!r}", hint="Look for items without a title in the data.")
    prompt, *joint = encode(tokenizer, [prompt_text, *(prompt_text + choice for choice in choices)])
    # A suffix is never empty: at the latest it begins with the last token of its text.
    end = min(min(shared(prompt, ids), len(ids) - 1) for ids in joint)
    if end + len(lead) < 1:
        raise EngineError("no token is left before the choices: the prompt is too short", hint="Write a longer prompt.")
    return Tokenized(lead + prompt[:end], tuple(ids[end:] for ids in joint), moved=end < len(prompt))


def shared(one: Ids, other: Ids) -> int:
    """Return how many tokens both begin with."""
    pairs = zip(one, other, strict=False)
    return next((index for index, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEMPLATE_HINT = "Give one with `-O chat_template=PATH` (a Jinja file)"


def render(
    messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", chat: bool | None, *, thinking: bool = False
) -> tuple[str, bool]:
    """Return the text of `messages`, and whether it holds its special tokens already.

    A chat model's own template writes the special tokens, the beginning of the sequence among them, so such a
    text is tokenised without adding any. Other models read the contents joined by line breaks.

    Args:
        messages: A last one of the assistant is a prefix that the model continues; of the role `text` all are plain.
        tokenizer: Holds the chat template.
        chat: Whether to use the template; None: if there is one.
        thinking: Whether a reasoning model is to think first; templates of other models take no notice.

    Raises:
        ModelError: If a template is wanted and there is none, or it refuses the messages.
    """
    plain = all(message.role == "text" for message in messages)
    if chat is False or plain or (chat is None and tokenizer.chat_template is None):
        return "\n".join(message.content for message in messages), False
    if tokenizer.chat_template is None:
        raise ModelError("the tokenizer of this chat model has no chat template", hint=f"{_TEMPLATE_HINT}.")
    continued = bool(messages) and messages[-1].role == "assistant"
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
            enable_thinking=thinking,
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise ModelError(f"the chat template refuses these messages: {error}", hint=f"{_TEMPLATE_HINT}.") from error
    return str(text), True


def read_template(path: Path) -> str:
    """Return the text of a chat template file.

    Raises:
        OptionError: If it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"chat_template: cannot read {path}: {error}", hint=f"{_TEMPLATE_HINT}.") from error


def template_digest(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return the SHA-256 of the chat template, or None if the tokenizer has none."""
    template = tokenizer.chat_template
    return None if template is None else sha256(str(template).encode()).hexdigest()


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")
_REMEMBERED = 12_000_000  # tokens of prompts, some 150 MB: who plans and then answers reads a prompt once
_SPLITS = 4  # how often what is read as a special token is split
_STRETCH = 256  # prompts at least, among which those of like length are brought together


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt, its rendered text and its tokens."""

    prompt: Prompt
    tokens: Tokenized
    text: str = ""

    @property
    def size(self) -> int:
        """How many tokens it holds."""
        return len(self.tokens.prefix) + sum(map(len, self.tokens.suffixes))


CUT = "…"  # ends a title that was cut


class TitleCounter:
    """Counts the tokens of titles, as they stand alone, and cuts those that have too many.

    Args:
        tokenizer: Whose tokens these are.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer

    def count(self, title: str) -> int:
        """Return how many tokens a title has."""
        return len(self.tokenizer.encode(title, add_special_tokens=False))

    def shortened(self, titles: Sequence[str], limit: int) -> list[str]:
        """Return titles of at most `limit` tokens each.

        One that has more ends behind a word, or within its first one, and with a mark that counts.
        """
        # A token stands for at least one byte, but for one that some tokenizers put in front.
        return [self._cut(title, limit) if len(title.encode()) + 1 > limit else title for title in titles]

    def _cut(self, title: str, limit: int) -> str:
        if self.count(title) <= limit:
            return title

        def until(end: int) -> str:
            return title[:end].rstrip(" ,;:-(") + CUT

        words = [found.end() for found in re.finditer(r"\S+", title)]
        for ends in (words[:-1], range(1, words[0])):
            if fits := bisect_right(ends, limit, key=lambda end: self.count(until(end))):
                return until(ends[fits - 1])
        return until(1)


class PromptReader:
    """Renders and tokenises prompts for one model.

    Special tokens come from its chat template alone: where a title, or another part of a message or a choice, holds the
    text of one, it is split. That is looked at in the ids, too: where those of a prompt hold other special tokens than
    the ids of the template around other words, what is read as one is split, however it is written.

    Args:
        tokenizer: The model's own.
        chat: Whether to use its chat template; None: if it has one.
        encoder_decoder: Prompts go to an encoder: they keep the special tokens at their end, and choices, which
            begin a text of their own, are tokenised alone and without the space they begin with.
        thinking: Ask a reasoning model to think before it writes a text; choices are scored without thoughts.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        chat: bool | None,
        encoder_decoder: bool,
        thinking: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.chat = chat
        self.thinking = thinking
        self.encoder_decoder = encoder_decoder
        self.lead, self.tail = special_affixes(tokenizer)
        self._special = special_texts(tokenizer)
        # A text that the vocabulary lacks becomes the unknown token, whatever it is.
        self._marks = frozenset(special_tokens(tokenizer)) - {tokenizer.unk_token_id}
        self._frames: dict[
            tuple[tuple[str, ...], bool], Ids
        ] = {}  # special tokens of the template by roles, and thinking
        self._jobs: OrderedDict[Prompt, Job] = OrderedDict()  # the latest ones, bounded by what they hold
        self._held = 0  # tokens

    def read(self, prompt: Prompt) -> Job:
        """Return the prompt as a job.

        Raises:
            EngineError: If a choice is blank.
        """
        job = self._jobs.pop(prompt, None)
        if job is None:
            job = self._read(prompt)
            self._held += job.size
        self._jobs[prompt] = job
        while self._held > _REMEMBERED and len(self._jobs) > 1:
            self._held -= self._jobs.popitem(last=False)[1].size
        return job

    def _read(self, prompt: Prompt) -> Job:
        thinking = self.thinking and prompt.choices is None
        messages = [replace(turn, content=take_apart(turn.content, self._special)) for turn in prompt.messages]
        choices = None if prompt.choices is None else [take_apart(text, self._special) for text in prompt.choices]
        job = self._written(prompt, messages, choices, thinking)
        if self._marked((*job.tokens.prefix, *chain.from_iterable(job.tokens.suffixes))) == self._frame(
            messages, thinking
        ):
            return job
        messages = [replace(turn, content=self._unmarked(turn.content)) for turn in messages]
        return self._written(prompt, messages, choices and [self._unmarked(text) for text in choices], thinking)

    def _marked(self, ids: Iterable[int]) -> Ids:
        return tuple(filter(self._marks.__contains__, ids))

    def _frame(self, messages: Sequence[Message], thinking: bool) -> Ids:
        """Return the special tokens that the chat template writes around messages of these roles."""
        roles = tuple(turn.role for turn in messages)
        if (roles, thinking) not in self._frames:
            empty = Prompt("", "", tuple(Message(turn.role, _PLACEHOLDER) for turn in messages), ())
            tokens = self._written(empty, empty.messages, None, thinking).tokens
            self._frames[roles, thinking] = self._marked(tokens.prefix)
        return self._frames[roles, thinking]

    def _unmarked(self, text: str) -> str:
        """Return a text without what the tokenizer reads as special tokens, as its normalizer may make them of it.

        Raises:
            EngineError: If the tokenizer does not say where in the text they stand, or leaves no way to split them.
        """
        for _ in range(_SPLITS):
            if not self._marked(encode(self.tokenizer, [text])[0]):
                return text
            if not self.tokenizer.is_fast:
                break
            found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            pairs = zip(found["input_ids"], found["offset_mapping"], strict=True)
            for start, end in sorted((span for token, span in pairs if token in self._marks), reverse=True):
                text = " ".join((text[: start + 1], *text[start + 1 : end])) + text[end:]
        raise EngineError(
            f"the tokenizer reads a special token in {text[:80]!r}, however it is split",
            hint="Change that title, or write it without its brackets and bars.",
        )

    def _written(
        self, prompt: Prompt, messages: Sequence[Message], choices: Sequence[str] | None, thinking: bool
    ) -> Job:
        text, complete = render(messages, self.tokenizer, self.chat, thinking=thinking)
        lead: Ids = () if complete else self.lead
        if choices and not self.encoder_decoder:
            return Job(prompt, split_choices(self.tokenizer, text, choices, lead=lead), text)
        prefix = lead + encode(self.tokenizer, [text])[0]
        if not self.encoder_decoder:
            return Job(prompt, Tokenized(prefix), text)
        targets = encode(self.tokenizer, [choice.strip() for choice in choices]) if choices else []
        if not all(targets):
            raise EngineError(f"prompt {prompt.prompt_id!r} has a blank choice", hint="Look for items without a title.")
        return Job(prompt, Tokenized(prefix if complete else prefix + self.tail, tuple(targets)), text)

    def plan(self, prompts: Sequence[Prompt], *, count_tokens: Callable[[Prompt], int], context: int) -> list[Job]:
        """Return the prompts as jobs, longest first, ties by prompt id: the same plan for any order of prompts.

        Raises:
            EngineError: If a prompt needs more tokens than the context has.
        """
        for prompt in prompts:
            if (tokens := count_tokens(prompt)) > context:
                raise EngineError(
                    f"prompt {prompt.prompt_id!r} needs {tokens} tokens, the model takes {context}",
                    hint="Show less history with --history, or lower `-O answer_tokens`.",
                )
        jobs = [self.read(prompt) for prompt in prompts]
        return sorted(jobs, key=lambda job: (-len(job.tokens.prefix), job.prompt.prompt_id))


def stretches(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    """Cut prompts, in their order, into parts of 256 or a few more; those of one request stay together."""
    part: list[Prompt] = []
    for _, group in groupby(prompts, key=lambda prompt: prompt.request_id):
        part += group
        if len(part) >= _STRETCH:
            yield part
            part = []
    if part:
        yield part


def cut(items: Iterable[T], *, fits: Callable[[list[T]], bool]) -> Iterator[list[T]]:
    """Cut items, in their order, into batches for which `fits` holds, or of one item.

    `fits` is asked as the batches are taken, so its bound may change on the way.
    """
    batch: list[T] = []
    for item in items:
        if batch and not fits([*batch, item]):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def choices_response(job: Job, logprobs: Sequence[Sequence[float]], *, cached: int = 0) -> Response:
    """Return the response to a prompt with choices from the log-probabilities of `job.tokens.distinct`.

    A label that is the same tokens as an earlier one has none of its own, so that probabilities of labels add up.
    """
    distinct, suffixes = job.tokens.distinct, job.tokens.suffixes
    values: dict[Ids, tuple[float, ...]] = {suffix: tuple(row) for suffix, row in zip(distinct, logprobs, strict=True)}
    again = [job.prompt.labels and suffix in suffixes[:place] for place, suffix in enumerate(suffixes)]
    return Response(
        prompt_id=job.prompt.prompt_id,
        text=None,
        choice_logprobs=tuple(() if told else values[suffix] for told, suffix in zip(again, suffixes, strict=True)),
        prompt_tokens=len(job.tokens.prefix),
        cached_tokens=cached,
        completion_tokens=sum(map(len, distinct)),
        finish_reason="choices",
    )
