"""What an API operation says of itself beside its shape: how long its answer is kept, how much it takes, and
who asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

MIB = 1024 * 1024
NOT_KEPT = "no-store"
A_MOMENT = 5
"""Seconds."""
FILES = "multipart/form-data"
"""The content type of a request that brings files."""
FOR_A_MOMENT = f"public, max-age={A_MOMENT}"
"""Of what may change at any time: a deployer's script is never told more than this many seconds late by a cache."""
_NAME = "operation_rules"


@dataclass(frozen=True, slots=True)
class OperationRules:
    """``kept`` is the ``Cache-Control`` of an answer 200 to GET; ``max_body`` is in bytes.

    ``state`` is what an answer 200 to GET follows from, as a text that one cheap statement reads from the request and
    the path's arguments: while it is the same, the answer may be given again for a moment. Nothing is for "".
    ``takes_files``: a body that is ``multipart/form-data`` may be as large as a release, and is read by the operation
    itself; any other is JSON like everywhere.
    ``is_read``: it changes nothing, though it is asked by POST. ``by_agents``: rebuilders at work ask for it, every
    second or two as long as a build takes. ``body`` is the shape of what the operation reads from the request's bytes
    by itself, where they are signed or may be large. ``refuses`` are statuses that it may answer with beside those
    that any operation may.
    """

    kept: str = FOR_A_MOMENT
    max_body: int = MIB
    by_agents: bool = False
    is_read: bool = False
    state: Callable[..., str] | None = None
    takes_files: bool = False
    body: type[BaseModel] | None = None
    refuses: tuple[int, ...] = ()


def rules[**P, R](stated: OperationRules) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have an operation go by other rules than the usual ones; stands below the route."""

    def state(view: Callable[P, R]) -> Callable[P, R]:
        setattr(view, _NAME, stated)
        return view

    return state


def rules_of(view: Callable[..., Any]) -> OperationRules:
    stated: OperationRules = getattr(view, _NAME, OperationRules())
    return stated
