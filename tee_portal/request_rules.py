"""What every request to the API is held to before its operation looks at it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from django.http import HttpRequest
from ninja.operation import Operation

from builds.domain.errors import LimitExceeded, MalformedInput, PortalError
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


class LengthRequired(PortalError):
    """A body in pieces: its size is not known before it was read, and it would be taken for an empty one."""

    code: ClassVar[str] = "length-required"
    default_todo: ClassVar[str] = "Send the body in one piece, with Content-Length."


class UnsupportedBody(PortalError):
    """A body of another type, encoding or compression than the operation reads."""

    code: ClassVar[str] = "unsupported-body"
    default_todo: ClassVar[str] = "Send JSON in UTF-8 as application/json, without compression."


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


def refuse_other_body(request: HttpRequest, types: Collection[str]) -> None:
    """Raise ``UnsupportedBody`` unless the body, where there is one, is of one of these types, as it is, in UTF-8."""
    if request.META.get("CONTENT_LENGTH") in {None, "", "0"}:
        return
    given, charset = request.content_type or "", (request.content_params or {}).get("charset", "utf-8")
    coding = request.headers.get("Content-Encoding", "identity")
    if given not in types or charset.lower() not in {"utf-8", "us-ascii"} or coding.lower() != "identity":
        found = one_line(" ".join(filter(None, (given, charset, coding))), 100)
        raise UnsupportedBody(f"the body is {found}; {' or '.join(types)} is read here", where=request.path[:200])


def refuse_large_body(request: HttpRequest, most: int) -> None:
    """Before a byte of it is read: no server hands over more than a request says that it holds."""
    if request.headers.get("Transfer-Encoding"):
        raise LengthRequired("the body does not say how long it is", where=request.path[:200])
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isascii() or not length.isdecimal() or int(length) > most:
        raise LimitExceeded(f"the request is larger than {most} bytes", where=request.path[:200], todo="Send less.")
