"""The description of the API (OpenAPI 3.1): what the framework knows of each operation, and what is common to all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from attestations.domain.caller_policy import MAX_POLICY_CHARACTERS, WRITTEN_POLICY
from attestations.domain.change_cursor import WRITTEN_CURSOR
from tee_portal.problems import PROBLEM_TYPE

_METHODS = ("get", "post", "put", "patch", "delete")
_OK = "200"
_REF = "#/components/schemas/"
_TEXT = {"type": "string"}
_PROBLEM: Mapping[str, Any] = {
    "title": "Problem",
    "description": "A refusal (RFC 9457). Where the code is the same, so are type, title and status.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "what", "where", "todo"],
    "properties": {
        "type": {**_TEXT, "format": "uri-reference", "description": "The page about the code."},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": {**_TEXT, "description": "What happened."},
        "instance": {**_TEXT, "description": "The address that was asked."},
        "code": {**_TEXT, "description": "Stable; for programs."},
        "what": {**_TEXT, "description": "As detail."},
        "where": {**_TEXT, "description": "Of what it speaks: a parameter, a file, an address."},
        "todo": {**_TEXT, "description": "What to do about it."},
        "decision": {"const": "deny", "description": "In answers of operations that decide: no refusal is a yes."},
    },
}
_REFUSALS: Mapping[str, str] = {
    "400": "What was sent is not what it should be; the code says what is wrong with it.",
    "401": "No token was sent, or one that is good for nothing.",
    "403": "The token is good, and not for this.",
    "404": "What the question names is not here.",
    "408": "The body comes too slowly.",
    "409": "It does not fit what is the case now.",
    "410": "The claim is gone, or was never this token's.",
    "413": "The body is too large.",
    "422": "The question cannot be read, or holds what nobody asked for.",
    "429": "Too many questions within a minute, or more than the account may; Retry-After says when to come again.",
    "503": "The portal cannot answer now, and says nothing about any release.",
    "default": "A problem document: nothing is said about any release.",
}
_SECONDS = {"schema": {"type": "integer", "minimum": 0}, "required": True, "description": "Seconds (RFC 9110)."}
_COUNTED = {
    "RateLimit": {"schema": _TEXT, "required": True, "description": "What is left within this minute."},
    "RateLimit-Policy": {"schema": _TEXT, "required": True, "description": "How much there is within a minute."},
}
_KEPT = {
    "ETag": {"schema": _TEXT, "required": True, "description": "Of these bytes; 304 to If-None-Match."},
    "Cache-Control": {"schema": _TEXT, "required": True, "description": "How long the answer may be kept."},
    "Age": {**_SECONDS, "required": False, "description": "For how long the portal has had the answer, in seconds."},
}
_NEXT = {"Link": {"schema": _TEXT, "description": 'The next page, as rel="next" (RFC 8288).'}}
_PLACES: Mapping[str, Mapping[str, Any]] = {
    "project": {"description": "A project's name.", "example": "enclave"},
    "tag": {"description": "A release's tag as git has it; slashes stay as they are.", "example": "v1.0.0"},
    "sha256": {
        "description": "A SHA-256, with or without `sha256:`.",
        "pattern": "^(sha256:)?[0-9a-f]{64}$",
    },
    "slug": {"description": "An operator's short name.", "example": "alder"},
    "digest": {
        "description": "An algorithm and its value in hexadecimal.",
        "pattern": "^(sha256:[0-9a-fA-F]{64}|sha384:[0-9a-fA-F]{96}|sha512:[0-9a-fA-F]{128})$",
    },
    "value": {
        "description": "A launch measurement: 96 hexadecimal characters; spaces between them do no harm.",
        "pattern": "^(0x)?[0-9a-fA-F]{96}$",
    },
    "since": {"description": "A cursor as `next` of an answer gives it.", "pattern": WRITTEN_CURSOR},
    "policy": {
        "description": "The caller's own policy in one line; docs/api.md has its grammar.",
        "minLength": 1,
        "maxLength": MAX_POLICY_CHARACTERS,
        "pattern": WRITTEN_POLICY,
    },
}
"""What stands in an address, by the name of place or parameter: for who writes it. The operations themselves refuse by
a name of their own what does not fit."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What the code says of an operation that its signature does not: scopes one of which its token must have, the
    body that it reads by itself, and what it may refuse with beside what any operation may."""

    scopes: tuple[str, ...] = ()
    body: type[BaseModel] | None = None
    refuses: tuple[int, ...] = ()


def described(schema: Mapping[str, Any], stated: Mapping[str, Stated]) -> dict[str, Any]:
    """``schema`` as the framework makes it, with what holds for every operation; ``stated`` by operation id."""
    components = schema["components"]
    schemas = {**components["schemas"], "Problem": dict(_PROBLEM)}
    paths = {
        path: {
            method: _operation(method, path, told, stated.get(told["operationId"], Stated()), schemas)
            if method in _METHODS
            else told
            for method, told in item.items()
        }
        for path, item in schema["paths"].items()
    }
    return {**schema, "paths": paths, "components": {**components, "schemas": schemas}}


def _operation(
    method: str, path: str, told: Mapping[str, Any], stated: Stated, schemas: dict[str, Any]
) -> dict[str, Any]:
    whole = {**told, "parameters": [_parameter(parameter) for parameter in told["parameters"]]}
    if stated.body is not None:
        whole["requestBody"] = _body(stated.body, schemas)
    if stated.scopes:
        # Roles, as OpenAPI 3.1 has them for schemes that know no scopes of their own.
        whole["security"] = [{name: list(stated.scopes)} for entry in told["security"] for name in entry]
    answers = {str(status): answer for status, answer in told["responses"].items()}
    whole["responses"] = {
        **{status: _with_headers(method, status, answer, schemas) for status, answer in answers.items()},
        **{status: _refusal(status) for status in _refused_with(path, whole, stated) if status not in answers},
    }
    return whole


def _refused_with(path: str, whole: Mapping[str, Any], stated: Stated) -> list[str]:
    scoped = ["401", "403"] if whole.get("security") else []
    reads = ["413"] if "requestBody" in whole else []
    named = ["404"] if "{" in path else []
    own = [str(status) for status in stated.refuses]
    return [*dict.fromkeys(["400", *scoped, *named, *own, *reads, "422", "429", "503", "default"])]


def _refusal(status: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": _REFUSALS[status],
        "content": {PROBLEM_TYPE: {"schema": {"$ref": f"{_REF}Problem"}}},
    }
    if status == "429":
        answer["headers"] = {"Retry-After": _SECONDS}
    return answer


def _with_headers(method: str, status: str, answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that every answer of an operation has, those of answers that may be kept, and of pages of a list."""
    headers = {**_COUNTED, **answer.get("headers", {})}
    if method == "get" and status == _OK:
        headers |= _KEPT
        shape = answer.get("content", {}).get("application/json", {}).get("schema", {})
        members = schemas.get(shape.get("$ref", "").removeprefix(_REF), {}).get("properties", {})
        if "next" in members or shape.get("type") == "array":
            headers |= _NEXT
    return {**answer, "headers": headers}


def _parameter(told: Mapping[str, Any]) -> dict[str, Any]:
    """Absent is absent: an address and a header field have no null."""
    schema = dict(told["schema"])
    for several in ("anyOf", "allOf"):
        choices = [choice for choice in schema.get(several, []) if choice != {"type": "null"}]
        if len(choices) == 1:
            del schema[several]
            schema = {**choices[0], **schema}
    place = dict(_PLACES.get(told["name"], {}))
    beside: dict[str, Any] = {name: place.pop(name) for name in ("description", "example") if name in place}
    return {**told, **beside, "schema": {**schema, **place}}


def _body(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    """A body that the operation reads from its bytes; its parts join the document's schemas."""
    schema = model.model_json_schema(by_alias=True, ref_template=_REF + "{model}")
    schemas |= schema.pop("$defs", {})
    schemas[model.__name__] = schema
    return {"required": True, "content": {"application/json": {"schema": {"$ref": f"{_REF}{model.__name__}"}}}}
