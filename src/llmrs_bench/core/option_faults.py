"""What is wrong with options, and what they take, in words."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

MOST = 2**31 - 1  # of anything that is counted
_TAKES = "takes"  # key of the schema of an option whose type does not say what it takes


def flag(name: str) -> str:
    """Return an option as it is typed."""
    return f"--{name.replace('_', '-')}"


def flag_words(faults: "Sequence[ErrorDetails]", schemas: Mapping[str, Any]) -> str:
    """Say what is wrong with options that are typed as `--key VALUE`; `schemas` are the JSON schemas of all."""
    return "; ".join(_flag_words(name, found, schemas) for name, found in _by_option(faults, schemas).items())


def _flag_words(name: str, faults: "Sequence[ErrorDetails]", schemas: Mapping[str, Any]) -> str:
    if len(faults) > 1:  # no form of several fits
        return f"{flag(name)} {shown(faults[0]['input'])} is not {allowed(schemas.get(name, {}))}"
    words = fault_words(faults[0], list(schemas))
    if not name:
        return words
    return re.sub(rf"^{name}(?:\.\w+)*([=:])", lambda sign: flag(name) + (" " if sign[1] == "=" else ":"), words)


def key_words(faults: "Sequence[ErrorDetails]", schemas: Mapping[str, Any]) -> str:
    """Say what is wrong with options that are written as `key=value`; `schemas` are the JSON schemas of all."""
    return "; ".join(
        f"{name}={shown(found[0]['input'])} is not {allowed(schemas[name])}"
        if len(found) > 1 and "anyOf" in schemas.get(name, {})  # no form of several fits
        else "; ".join(fault_words(fault, list(schemas)) for fault in found)
        for name, found in _by_option(faults, schemas).items()
    )


def _by_option(faults: "Sequence[ErrorDetails]", known: Collection[str]) -> "dict[str, list[ErrorDetails]]":
    """Return faults by the option that each of them is about; those of several options together have no name."""
    found: dict[str, list[ErrorDetails]] = {}
    for fault in faults:
        named = re.match(r"Value error, (\w+)=", fault["msg"])
        name = str(next(iter(fault["loc"]), named[1] if named and named[1] in known else ""))
        found.setdefault(name, []).append(fault)
    return found


def is_number(kind: Any) -> bool:
    """Return whether a type has a number among its forms, and neither true nor false."""
    forms = _forms(kind)
    return bool(forms & {str(int), str(float)}) and not forms & {str(form) for form in (bool, True, False, Any, object)}


def _forms(kind: Any) -> set[str]:
    return {str(kind)}.union(*map(_forms, get_args(kind)))


def takes(faults: "Sequence[ErrorDetails]", schemas: Mapping[str, Any], written: Callable[[str], str]) -> str:
    """Say what the options that are wrong take, and their defaults; `written` says how each of them is written."""
    return " ".join(
        f"{written(name)} takes {listed(schemas[name]) if written is str else ''}{allowed(schemas[name])}"
        f"{default_words(schemas[name])}."
        for name in _by_option(faults, schemas)
        if name in schemas
    )


_ALONE = re.compile(r"Value error, (.+?) (?:has|have|would have) no effect (without|with) ([^,]+)(?:, .*)?")


def missing(faults: "Sequence[ErrorDetails]") -> str:
    """Say what to add or to leave out where all that is wrong is that options have no effect; else nothing."""
    found = [_ALONE.fullmatch(fault["msg"]) for fault in faults]
    if not all(found):
        return ""
    return " ".join(
        f"Add {each[3]}, or leave out {each[1]}." if each[2] == "without" else f"Leave out {each[1]}."
        for each in found
        if each
    )


def listed(schema: Mapping[str, Any]) -> str:
    """Say that an option is a list in a file; as a flag it is repeated."""
    kinds = set() if _TAKES in schema else {part.get("type") for part in schema.get("anyOf", [schema])}
    return "a list of which each is " if "array" in kinds else ""


def default_words(schema: Mapping[str, Any]) -> str:
    """Say what an option is where it is not typed, if there is something to say."""
    known = schema.get("default")
    if known in (None, [], {}) or (isinstance(known, int) and known < schema.get("minimum", known)):
        return ""  # so is one that says the option is not used, and cannot be typed
    return f"; its default is {str(known).lower() if isinstance(known, bool) else known}"


_BOUNDS = {
    "minimum": "of at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "of at most {}",
    "exclusiveMaximum": "below {}",
}


def allowed(schema: Mapping[str, Any]) -> str:
    """Say in words which values a JSON schema allows."""
    if _TAKES in schema or schema.get("format") == "path":
        return str(schema.get(_TAKES, "a path, as text"))
    if "anyOf" in schema:
        return " or ".join(allowed(part) for part in schema["anyOf"] if part.get("type") != "null")
    if schema.get("type") == "array" and "items" in schema:
        return allowed(schema["items"])  # it may be repeated
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}
    bounds = [words.format(f"{schema[key]:,}") for key, words in _BOUNDS.items() if schema.get(key, MOST) < MOST]
    return " ".join(
        [kinds.get(schema.get("type", ""), "KEY=VALUE"), *bounds[:1], *(f"and {more}" for more in bounds[1:])]
    )


def default(name: str, field: "FieldInfo") -> str:
    """Return an option with its default, as it is typed; that of None is described, where it depends on others."""
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return name
    if value is None or value in ((), {}):
        return f"{name} ({field.description or 'none'})"
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def shown(value: object) -> str:
    """Return a wrong value for a message, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()  # as TOML has it
    text = str(value) if not isinstance(value, int) or value.bit_length() < 1000 else hex(value)
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text):,} characters)"


# What pydantic finds wrong, in words of this tool.
_FAULTS = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "literal_error": "is none of {expected}",
    "greater_than_equal": "is below {ge}",
    "greater_than": "is not above {gt}",
    "less_than_equal": "is above {le}",
    "less_than": "is not below {lt}",
    "int_parsing_size": "is too large",
    "finite_number": "is not a finite number",
    "string_too_short": "is empty",
    "string_type": "is not text",
    "tuple_type": "is not a list",
    "dict_type": "is not a table",
    "path_type": "is not a path",
}


def fault_words(fault: "ErrorDetails", known: Sequence[str]) -> str:
    """Say what is wrong with one option."""
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        return f"unknown option {name!r}" + (f", did you mean {near[0]!r}?" if near else "")
    if fault["type"] in _FAULTS:
        return f"{name}={shown(fault['input'])} {_FAULTS[fault['type']].format(**fault.get('ctx', {}))}"
    words = fault["msg"].removeprefix("Value error, ")
    return f"{name}: {words}" if name else words
