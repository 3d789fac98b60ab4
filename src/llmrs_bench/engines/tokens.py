"""Text to token ids: where the prompt ends and each choice begins, without ever tokenising a choice alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrs_bench.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]


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
        return [tuple(found.ids) for found in backend.encode_batch_fast(list(texts), add_special_tokens=False)]
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [tuple(ids) for ids in encoded["input_ids"]]


def special_texts(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str] | None:
    """Return what finds the texts that a tokenizer reads as special tokens, or None if it has none."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    texts = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
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
