"""The description of the API (OpenAPI 3.1), with what is common to all operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tee_portal.problems import PROBLEM_TYPE

_METHODS = ("get", "post", "put", "patch", "delete")
_TEXT = {"type": "string"}
_PROBLEM: Mapping[str, Any] = {
    "title": "Problem",
    "description": "A refusal (RFC 9457). Where the code is the same, so are type, title and status.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "what", "where", "todo"],
    "properties": {
        "type": {**_TEXT, "format": "uri", "description": "The page about the code."},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": {**_TEXT, "description": "What happened."},
        "instance": {**_TEXT, "format": "uri-reference", "description": "The address that was asked."},
        "code": {**_TEXT, "description": "Stable; for programs."},
        "what": {**_TEXT, "description": "As detail."},
        "where": {**_TEXT, "description": "Of what it speaks: a parameter, a file, an address."},
        "todo": {**_TEXT, "description": "What to do about it."},
    },
}


def described(schema: Mapping[str, Any]) -> dict[str, Any]:
    """``schema`` with the problem document as every operation's answer that is not listed otherwise."""
    refused = {
        "description": "A problem document: nothing is said about any release.",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    paths = {
        path: {
            method: {**told, "responses": {**_texts(told["responses"]), "default": refused}}
            if method in _METHODS
            else told
            for method, told in item.items()
        }
        for path, item in schema["paths"].items()
    }
    components = schema["components"]
    schemas = {**components["schemas"], "Problem": dict(_PROBLEM)}
    return {**schema, "paths": paths, "components": {**components, "schemas": schemas}}


def _texts(responses: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(status): told for status, told in responses.items()}
