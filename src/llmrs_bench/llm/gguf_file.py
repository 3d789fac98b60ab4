"""The tokenizer in the header of a GGUF file, for who counts tokens and loads no library of models."""

from collections.abc import Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct, error
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MAGIC = b"GGUF"
_HEAD = Struct("<4sIQQ")  # magic, version, tensors, entries
_STRING, _ARRAY = 8, 9
_NUMBERS = {kind: Struct(f"<{code}") for kind, code in enumerate("BbHhIif?")} | {
    kind: Struct(f"<{code}") for kind, code in zip((10, 11, 12), "Qqd", strict=True)
}
_LENGTH, _KIND, _TYPE_AND_COUNT = Struct("<Q"), Struct("<I"), Struct("<IQ")
_CONTROL, _USER_DEFINED = 3, 4  # types of tokens that are found in a text before it is tokenised


def read_header(path: Path) -> dict[str, Any]:
    """Return the entries of a GGUF file by name: numbers, texts and lists of these; no weight is read.

    The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.

    Raises:
        ValueError: If the file is no such file, or its header is cut off.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        try:
            magic, version, _, entries = _HEAD.unpack_from(content)
            if magic != _MAGIC or version not in (2, 3):
                raise ValueError(f"{path} is no GGUF file of version 2 or 3")
            found, place = {}, _HEAD.size
            for _ in range(entries):
                name, place = _text(content, place)
                (kind,) = _KIND.unpack_from(content, place)
                found[name], place = _value(content, place + _KIND.size, kind)
        except (error, KeyError) as cause:
            raise ValueError(f"the header of {path} cannot be read: {cause}") from cause
    return found


def _text(content: mmap, place: int) -> tuple[str, int]:
    """Return a text, and the place behind it."""
    (length,) = _LENGTH.unpack_from(content, place)
    start = place + _LENGTH.size
    return content[start : start + length].decode("utf-8", "replace"), start + length


def _value(content: mmap, place: int, kind: int) -> tuple[Any, int]:
    """Return a value of a kind, and the place behind it."""
    if kind == _STRING:
        return _text(content, place)
    if kind != _ARRAY:
        return _NUMBERS[kind].unpack_from(content, place)[0], place + _NUMBERS[kind].size
    inner, count = _TYPE_AND_COUNT.unpack_from(content, place)
    place += _TYPE_AND_COUNT.size
    if inner in _NUMBERS:
        numbers = Struct(f"<{count}{_NUMBERS[inner].format[1:]}")
        return list(numbers.unpack_from(content, place)), place + numbers.size
    values = []
    for _ in range(count):
        value, place = _value(content, place, inner)
        values.append(value)
    return values, place


def tokenizer_of(header: Mapping[str, Any]) -> "Tokenizer | None":
    """Return the tokenizer that the header of a GGUF file describes; None: it is of a kind that is not built here.

    Byte-level pairs (`gpt2`) are cut into words by the rule of GPT-2, whichever rule the file names: counts are for an
    estimate. The pairs of SentencePiece (`llama`) follow from the scores of its pieces.
    """
    from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import BPE

    kind, pieces = header.get("tokenizer.ggml.model"), list(header.get("tokenizer.ggml.tokens", ()))
    types = header.get("tokenizer.ggml.token_type") or [1] * len(pieces)
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    if kind == "gpt2":
        written = (merge.partition(" ") for merge in header["tokenizer.ggml.merges"])
        merges = [(left, right) for left, _, right in written if left in vocabulary and right in vocabulary]
        tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "llama" and "tokenizer.ggml.scores" in header:
        merges = _merges(vocabulary, header["tokenizer.ggml.scores"])
        tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True))
        blanks: list[normalizers.Normalizer] = [normalizers.Replace(" ", "▁")]
        if header.get("tokenizer.ggml.add_space_prefix", True):
            blanks.insert(0, normalizers.Prepend(" "))
        tokenizer.normalizer = normalizers.Sequence(blanks)
    else:
        return None
    special = [piece for piece, type_ in zip(pieces, types, strict=False) if type_ in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in special])
    begin = header.get("tokenizer.ggml.bos_token_id")
    if header.get("tokenizer.ggml.add_bos_token", kind == "llama") and begin is not None:
        token = pieces[begin]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{token} $A", pair=f"{token} $A $B", special_tokens=[(token, begin)]
        )
    return tokenizer


def _merges(vocabulary: Mapping[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Return the pairs of pieces that make another piece, those of the best pieces first."""
    found = []
    for piece, number in vocabulary.items():
        halves = ((piece[:end], piece[end:]) for end in range(1, len(piece)))
        found += [
            (-scores[number], left, right) for left, right in halves if left in vocabulary and right in vocabulary
        ]
    found.sort(key=lambda each: each[0])
    return [(left, right) for _, left, right in found]
