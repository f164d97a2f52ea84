"""What every request to the API is held to before its operation looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from django.http import HttpRequest
from ninja.operation import Operation

from builds.domain.errors import LimitExceeded, MalformedInput
from builds.domain.printable import one_line

_LONGEST_NAME = 80
_MOST_NAMED = 20


class MisaskedQuestion(MalformedInput):
    """A parameter of the address that the operation would not have heeded."""

    code: ClassVar[str] = "misasked-question"


class UnknownParameter(MisaskedQuestion):
    """A parameter that the operation does not have: ignoring it would answer another question than the one asked."""

    code: ClassVar[str] = "unknown-parameter"
    default_todo: ClassVar[str] = "Correct its name or leave it out; /api/v1/openapi.json says what each address takes."


class RepeatedParameter(MisaskedQuestion):
    """A parameter that has one value was given several times: each reader would take another of them."""

    code: ClassVar[str] = "repeated-parameter"
    default_todo: ClassVar[str] = "Give it once."


@dataclass(frozen=True, slots=True)
class Parameters:
    """Names of query parameters that an operation takes; those in ``repeatable`` more than once."""

    known: frozenset[str]
    repeatable: frozenset[str]

    @classmethod
    def of(cls, operation: Operation) -> Self:
        known: set[str] = set()
        repeatable: set[str] = set()
        for model in operation.models:
            if model.__ninja_param_source__ == "query":
                known |= set(getattr(model, "__ninja_flatten_map__", {}))
                repeatable |= set(getattr(model, "__ninja_collection_fields__", ()))
        return cls(frozenset(known), frozenset(repeatable))

    def refuse_others(self, request: HttpRequest) -> None:
        """Raise ``UnknownParameter`` or ``RepeatedParameter``, each naming those that are meant."""
        unknown = [name for name in request.GET if name not in self.known]
        if unknown:
            takes = f"it takes {_named(sorted(self.known))}" if self.known else "it takes none"
            raise UnknownParameter(f"there is no parameter {_named(unknown)} here; {takes}", where="the query")
        repeated = [name for name, values in request.GET.lists() if len(values) > 1 and name not in self.repeatable]
        if repeated:
            raise RepeatedParameter(f"{_named(repeated)} is given more than once", where="the query")


def _named(names: Iterable[str]) -> str:
    return ", ".join(one_line(name, _LONGEST_NAME) for name in list(names)[:_MOST_NAMED])


def refuse_large_body(request: HttpRequest, most: int) -> None:
    """Before a byte of it is read: no server hands over more than a request says that it holds."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isascii() or not length.isdecimal() or int(length) > most:
        raise LimitExceeded(f"the request is larger than {most} bytes", where=request.path[:200], todo="Send less.")
