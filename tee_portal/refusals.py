"""Questions that the API cannot read, named as every other error is: nothing of the library's own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from builds.domain.errors import MalformedInput
from builds.domain.printable import one_line

_MOST_NAMED = 5
_LONGEST = 200
_WHOLE_BODY = 2
_PLACES = {"query": "the query", "path": "the address", "body": "the body", "header": "the header", "form": "the form"}

_WRONG: Mapping[str, str] = {
    "missing": "is missing",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is a number of too many digits",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "uuid_type": "is not a UUID",
    "uuid_parsing": "is not a UUID",
    "string_type": "is not text",
    "string_unicode": "is not text",
    "string_pattern_mismatch": "does not have the form that is asked for",
    "datetime_type": "is not a moment",
    "datetime_parsing": "is not a moment",
    "datetime_from_date_parsing": "is not a moment",
    "datetime_object_invalid": "is not a moment",
    "timezone_aware": "is a moment without its time zone",
    "date_parsing": "is not a date",
    "date_from_datetime_parsing": "is not a date",
    "extra_forbidden": "is not known here",
    "json_invalid": "is not JSON",
    "list_type": "is not a list",
    "dict_type": "is not an object",
    "model_attributes_type": "is not an object",
}
_LIMITS: Mapping[str, tuple[str, str]] = {
    "greater_than_equal": ("is less than {}", "ge"),
    "greater_than": ("is not more than {}", "gt"),
    "less_than_equal": ("is more than {}", "le"),
    "less_than": ("is not less than {}", "lt"),
    "string_too_short": ("is shorter than {} characters", "min_length"),
    "string_too_long": ("is longer than {} characters", "max_length"),
    "too_long": ("has more than {} entries", "max_length"),
    "literal_error": ("is none of {}", "expected"),
    "enum": ("is none of {}", "expected"),
}
_TODO = {
    "missing": "Give it.",
    "extra_forbidden": "Leave it out.",
    "timezone_aware": "Give a moment with its zone, as 2026-11-23T12:00:00Z.",
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "datetime_object_invalid"),
        "Give a moment with its zone, as 2026-11-23T12:00:00Z.",
    ),
}


class MalformedQuestion(MalformedInput):
    """A parameter of an address, or a member of a body, that the API cannot read."""

    code: ClassVar[str] = "malformed-question"
    default_todo: ClassVar[str] = "Correct it; /api/v1/openapi.json says what each address takes."


def refusal_of(problems: Iterable[Mapping[str, Any]]) -> MalformedQuestion:
    """One named error for everything that pydantic found; at most a few are named, the rest is counted.

    Each problem has ``type``, ``loc`` and ``ctx`` as ``pydantic.ValidationError.errors`` gives them.
    """
    found = list(problems)
    told = [f"{_name(problem)} {_wrong(problem)}" for problem in found[:_MOST_NAMED]]
    more = len(found) - len(told)
    what = "; ".join(told) or "the question cannot be read"
    first = found[0] if found else {}
    todo = _TODO.get(str(first.get("type", "")))
    extra = f" {MalformedQuestion.default_todo}" if todo is not None else ""
    return MalformedQuestion(
        f"{what}; and {more} more" if more else what,
        where=_place(first),
        todo=f"{todo}{extra}" if todo is not None else None,
    )


def _wrong(problem: Mapping[str, Any]) -> str:
    kind, context = str(problem.get("type", "")), problem.get("ctx") or {}
    if kind in _LIMITS:
        words, key = _LIMITS[kind]
        return words.format(one_line(str(context.get(key, "what is allowed")), _LONGEST))
    return _WRONG.get(kind, "cannot be read")


def _name(problem: Mapping[str, Any]) -> str:
    """The innermost name: places in lists are numbers, and nobody's parameter."""
    if (
        problem.get("type") == "missing"
        and len(problem.get("loc", ())) == _WHOLE_BODY
        and _place(problem) == "the body"
    ):
        return "the body"
    location = [part for part in problem.get("loc", ()) if isinstance(part, str)]
    return one_line(location[-1], _LONGEST) if len(location) > 1 else "it"


def _place(problem: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem.get("loc", ())]
    return _PLACES.get(location[0], "the question") if location else "the question"
