"""Requests that may be sent twice: an ``Idempotency-Key`` makes the second one the answer to the first.

As draft-ietf-httpapi-idempotency-key-header-07 has it. The key, what was done and the answer are stored together or not
at all: a request that failed left no trace and may be sent again with its key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from builds.domain.errors import PortalError
from builds.models import AnsweredRequest

KEPT = timedelta(hours=24)


class KeyReused(PortalError):
    """An idempotency key came with another request than the one it was first sent with."""

    code: ClassVar[str] = "idempotency-key-reused"
    default_todo: ClassVar[str] = "Make a new key for each request; send one again only with the very same request."


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent. ``key`` is None without ``Idempotency-Key``: then it is done whatever came before."""

    account: User
    key: str | None
    method: str
    path: str
    body: bytes

    @property
    def sha256(self) -> str:
        head = f"{self.method} {self.path}\n".encode()
        return hashlib.sha256(head + self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON members. ``replayed`` when it was given before, and nothing was done now."""

    status: int
    members: Mapping[str, Any]
    replayed: bool = False


def answered(request: Request, act: Callable[[], Answer], *, secrets: tuple[str, ...] = ()) -> Answer:
    """The answer of ``act``, or the one that the same request got within ``KEPT``.

    ``secrets`` are members that are shown once: they are not stored, and null when the answer is given again. Two that
    come at once are done one after the other. Raises ``KeyReused`` and what ``act`` raises.
    """
    if request.key is None:
        return act()
    with transaction.atomic():
        row = _claimed(request, request.key)
        if row.status is not None:
            if row.request_sha256 != request.sha256:
                raise KeyReused("this key came with another request before", where="Idempotency-Key")
            return Answer(row.status, json.loads(row.answer), replayed=True)
        made = act()
        row.status = made.status
        row.answer = json.dumps({name: None if name in secrets else value for name, value in made.members.items()})
        row.save(update_fields=["status", "answer"])
    return made


def is_answered(account: User, key: str | None) -> bool:
    """Whether a request with this key was answered, so that another with it does nothing more."""
    fresh = AnsweredRequest.objects.filter(account=account, key=key, at__gt=timezone.now() - KEPT)
    return key is not None and fresh.exists()


def forget_old() -> int:
    """Drop answers that are not given again any more; how many."""
    return AnsweredRequest.objects.filter(at__lte=timezone.now() - KEPT).delete()[0]


def _claimed(request: Request, key: str) -> AnsweredRequest:
    """The row of this key: a new one without answer, or the one that another request left."""
    own = AnsweredRequest.objects.filter(account=request.account, key=key)
    own.filter(at__lte=timezone.now() - KEPT).delete()
    try:
        with transaction.atomic():
            return AnsweredRequest.objects.create(account=request.account, key=key, request_sha256=request.sha256)
    except IntegrityError:
        return own.get()
