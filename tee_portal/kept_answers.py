"""Answers of the API that are asked for again and again: kept as bytes in each process, given again while they hold.

An operation that states what its answer follows from (``OperationRules.state``) is not run again while one cheap
statement, asked ten times a second, finds the same, and for ``A_MOMENT`` at most: what that text does not hold (the
clock, a trust root) is seen then. The text is read before the evidence is, so that what changes between the two makes
another one.

One request at a time makes the answer to a question, however many ask it and however long that takes: work that all
who wait did at once would go on long after they had gone. Under load it is made anew shortly before it ends, by one
request, while the others are given the one that still holds.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar
from urllib.parse import urlencode
from weakref import WeakValueDictionary

from cachetools import LRUCache
from django.core.exceptions import DisallowedHost, TooManyFieldsSent
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from builds.domain.errors import PortalError
from builds.operation_rules import A_MOMENT
from builds.public_address import public_base
from tee_portal.throttle import charge

type Make = Callable[[HttpRequest], HttpResponseBase]

_OK = 200
_MOST_BYTES = 64 * 1024 * 1024
_LARGEST = 4 * 1024 * 1024
"""Bytes; a larger answer would push out too many others."""
_WAIT_SECONDS = 20.0
UNASKED_SECONDS = 0.1
"""For so long an answer is given again without reading what it follows from: caches may keep it for longer."""
_TIMES_AHEAD = 2
"""The making of an answer begins so many times what the one before took, before that one ends."""
_ARRIVED = "tee_portal.arrived"
"""Seconds of this process's monotonic clock, as all moments here are."""
_KEY = "tee_portal.question"
_NOTE = "tee_portal.state"
_MAKING = "tee_portal.making"
_OWN_FIELDS = frozenset({"RateLimit", "RateLimit-Policy"})
"""Header fields that are about who asks."""
_AGE = "Age"
"""Caches take it from how long they may keep an answer (RFC 9111): they are told how old it is already."""


class AnswerTakesLong(PortalError):
    """Another request is making this answer, and has not ended for as long as somebody waits."""

    code: ClassVar[str] = "answer-takes-long"
    default_todo: ClassVar[str] = "Ask again after the seconds that Retry-After names; the question is fine."
    retry_after: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class State:
    """What an answer follows from, as it was at the moment ``read_at``, before the answer was made.

    ``read`` says what that is now.
    """

    text: str
    read: Callable[[HttpRequest], str]
    read_at: float

    def tell_age(self, response: HttpResponse) -> None:
        """Rounded up: nobody keeps an answer for longer than a moment after what it follows from was read."""
        response[_AGE] = str(math.ceil(time.monotonic() - self.read_at))

    def is_same(self, request: HttpRequest) -> bool:
        """False too when it cannot be read: then the operation says by name why."""
        try:
            return self.read(request) == self.text
        except (PortalError, Http404, DatabaseError):
            return False


@dataclass(slots=True)
class _Kept:
    body: bytes
    fields: Mapping[str, str]
    state: State
    took: float
    """Seconds that it took to make."""
    size: int
    """Bytes, with the question and the header fields."""
    asked: float
    """When what it follows from was read last."""

    def holds(self, request: HttpRequest) -> bool:
        """For a request that came when it was no older than it may be, however long that request waited since."""
        if request.META[_ARRIVED] >= self.state.read_at + A_MOMENT:
            return False
        now = time.monotonic()
        if now - self.asked < UNASKED_SECONDS:
            return True
        if not self.state.is_same(request):
            return False
        self.asked = now
        return True

    def serves_who_waited(self, request: HttpRequest) -> bool:
        """Also one that began to be made after the request came: it is what that request would have been told."""
        return self.state.read_at >= request.META[_ARRIVED] or self.holds(request)

    def is_nearly_over(self) -> bool:
        """Whether making the next one, which takes longer while others ask, may last until this one ends."""
        ahead = min(_TIMES_AHEAD * self.took, A_MOMENT / 2)
        return time.monotonic() >= self.state.read_at + A_MOMENT - ahead

    def again(self) -> HttpResponse:
        response = HttpResponse(self.body, headers=dict(self.fields))
        self.state.tell_age(response)
        return response

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """Counted as a made one is; None for who asked too often, whom the operation refuses."""
        budget = charge(request, by_agents=False)
        if budget.is_spent:
            return None
        response = self.again()
        budget.tell(response)
        return response


def note_state(request: HttpRequest, read: Callable[[HttpRequest], str]) -> HttpResponse | None:
    """Have the answer to this request kept when it is a success; nothing where ``read`` finds no text.

    While one request makes an answer, the others who ask the same wait here for it: what comes back is the answer that
    another one made meanwhile, None for who is to make it. ``AnswerTakesLong`` for who waited in vain.
    """
    key = request.META[_KEY]
    if _MAKING not in request.META:
        making = _making_of(key)
        if not making.acquire(timeout=_WAIT_SECONDS):
            raise AnswerTakesLong(
                "somebody else's question has this answer made, and it takes long", where=request.path[:200]
            )
        request.META[_MAKING] = making
        found = _find(key)
        if found is not None and found.serves_who_waited(request):
            return found.again()
    began = time.monotonic()
    text = read(request)
    if text:
        request.META[_NOTE] = State(text, read, began)
    else:
        _let_others_make(request)
    return None


def kept_or_made(request: HttpRequest, make: Make) -> HttpResponseBase:
    """The answer kept of the same question, else what ``make`` gives, which is kept if its operation stated a state."""
    request.META[_ARRIVED] = time.monotonic()
    request.META[_KEY] = key = _key(request)
    kept = _find(key)
    if kept is not None and kept.holds(request) and not (kept.is_nearly_over() and _may_make(key, request)):
        again = kept.answer(request)
        if again is not None:
            return again
    try:
        return _made(key, request, make)
    finally:
        _let_others_make(request)


def _may_make(key: str, request: HttpRequest) -> bool:
    """Whether nobody makes this answer; then this request is to do it, and nobody else until it has."""
    making = _making_of(key)
    if not making.acquire(blocking=False):
        return False
    request.META[_MAKING] = making
    return True


def _let_others_make(request: HttpRequest) -> None:
    making = request.META.pop(_MAKING, None)
    if making is not None:
        making.release()


def forget() -> None:
    """Keep nothing of what was kept."""
    with _lock:
        _store.clear()


def _made(key: str, request: HttpRequest, make: Make) -> HttpResponseBase:
    response = make(request)
    state = request.META.pop(_NOTE, None)
    if not isinstance(state, State) or not isinstance(response, HttpResponse) or response.status_code != _OK:
        return response
    if len(response.content) <= _LARGEST:
        fields = {name: value for name, value in response.items() if name not in _OWN_FIELDS}
        took = time.monotonic() - state.read_at
        with _lock:
            _store[key] = _Kept(response.content, fields, state, took, _size(key, response), asked=state.read_at)
    state.tell_age(response)
    return response


def _find(key: str) -> _Kept | None:
    with _lock:
        return _store.get(key)


def _key(request: HttpRequest) -> str:
    """The question as it is understood, however it is spelt; not who asks it, of whom no kept answer says anything."""
    try:
        request.get_host()
        base = public_base(request)
    except DisallowedHost:
        # Refused further in, and so never kept.
        base = ""
    return f"{base} {_understood(request.path_info, str(request.META.get('QUERY_STRING', '')))}"


# To find it out takes as long as to give a kept answer.
@lru_cache(maxsize=1024)
def _understood(path: str, query: str) -> str:
    """The operation with its arguments as it takes them, and the parameters in one order."""
    try:
        found = resolve(path)
        given = sorted(QueryDict(query).lists())
    except (Resolver404, TooManyFieldsSent):
        # Refused further in, and so never kept.
        return f"{path}?{query}"
    return f"/{found.route}{sorted(found.kwargs.items()) if found.kwargs else ''}?{urlencode(given, doseq=True)}"


def _size(key: str, response: HttpResponse) -> int:
    """As far as one request can make it large; 1024 for the rest."""
    fields = sum(len(name) + len(value) for name, value in response.items())
    return len(response.content) + len(key) + fields + 1024


def _making_of(key: str) -> threading.Lock:
    """Held by the request that makes the answer to a question; forgotten when no request has it."""
    with _lock:
        making = _makings.get(key)
        if making is None:
            _makings[key] = making = threading.Lock()
        return making


_lock = threading.Lock()
_makings: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_store: LRUCache[str, _Kept] = LRUCache(_MOST_BYTES, getsizeof=lambda kept: kept.size)
