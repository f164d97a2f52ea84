"""How often the API answers somebody within a minute, and the header fields that say so.

Counted per token, else per address: in Redis for all processes together where there is one, else in each by itself.
It keeps one reader from taking the others' time, and is no protection of anything: so while Redis is away a process
counts alone and goes on answering. To refuse instead would make Redis, which knows nothing of any release, decide
whether a deployer learns of a denied one.

The header fields are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from builds.domain.access import is_token
from builds.domain.errors import PortalError
from builds.public_address import asked_from
from builds.services.access import TokenUse
from builds.services.rebuilding import token_sha256

logger = logging.getLogger(__name__)

WINDOW = 60
"""Seconds. Windows begin with each minute of the clock, the same for all processes."""
_MOST_KEPT = 50_000
"""Addresses, or tokens, that a process remembers at once; strangers can have any number of them."""
_REDIS_SECONDS = 0.1
_REDIS_AWAY_SECONDS = 5.0
_TELL_SECONDS = 0.1
"""Between two messages of a process to Redis: to ask it about every request would take longer than many answers do."""
_BEARER = "bearer "


class TooManyRequests(PortalError):
    """As many requests were answered as are within a minute; those that are refused count too."""

    code: ClassVar[str] = "too-many-requests"
    default_todo: ClassVar[str] = "Wait for the seconds that Retry-After names; the field RateLimit says what is left."

    def __init__(self, what: str, *, where: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(what, where=where)


class Counter(Protocol):
    def count(self, name: str, window: int) -> int:
        """One more of this name in the window of this number; how many there are now."""


class LocalCounter:
    """Of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window = 0
        self._counted: dict[str, int] = {}

    def count(self, name: str, window: int) -> int:
        with self._lock:
            if window != self._window or len(self._counted) >= _MOST_KEPT:
                self._window, self._counted = window, {}
            self._counted[name] = self._counted.get(name, 0) + 1
            return self._counted[name]


@dataclass(slots=True)
class _Counted:
    """Of one name in a window: how many this process counted, told Redis of, and heard of from the others."""

    own: int = 0
    told: int = 0
    others: int = 0


class RedisCounter:
    """Of all processes, which hear of each other several times a second; of this one alone while Redis is away.

    A reader who asks many processes at once may get a little more than the limit before all of them know.
    """

    def __init__(self, url: str) -> None:
        self._redis: Redis = Redis.from_url(
            _named_by_the_client(url),
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._lock = threading.Lock()
        self._window = 0
        self._counted: dict[str, _Counted] = {}
        self._told_again_at = 0.0

    def count(self, name: str, window: int) -> int:
        with self._lock:
            if window != self._window or len(self._counted) >= _MOST_KEPT:
                self._window, self._counted = window, {}
            counted = self._counted.setdefault(name, _Counted())
            counted.own += 1
            news = self._news()
        if news:
            self._tell(news, window)
        return counted.own + counted.others

    def _news(self) -> list[tuple[str, _Counted, int, int]]:
        """What Redis is to be told now, as if it had been; nothing while it is not time for that.

        For each name how many more there are, and how many this process has counted with them.
        """
        now = time.monotonic()
        if now < self._told_again_at:
            return []
        self._told_again_at = now + _TELL_SECONDS
        news = [(name, it, it.own - it.told, it.own) for name, it in self._counted.items() if it.own > it.told]
        for _, counted, _, own in news:
            counted.told = own
        return news

    def _tell(self, news: Sequence[tuple[str, _Counted, int, int]], window: int) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for name, _, more, _ in news:
            key = f"tee-portal:requests:{name}:{window}"
            pipeline.incrby(key, more)
            pipeline.expire(key, 2 * WINDOW)
        try:
            totals = pipeline.execute()[::2]
        except RedisError as error:
            logger.warning("Redis does not count requests, this process does so alone: %s", error)
            with self._lock:
                self._told_again_at = time.monotonic() + _REDIS_AWAY_SECONDS
                for _, counted, more, _ in news:
                    counted.told -= more
            return
        with self._lock:
            for (_, counted, _, own), total in zip(news, totals, strict=True):
                counted.others = int(total) - own


def _named_by_the_client(url: str) -> str:
    """A socket's address as the Redis client has it: REDIS_URL has it as Celery does, ``redis+socket:///path``."""
    parts = urlsplit(url)
    if parts.scheme != "redis+socket":
        return url
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{parts.path}?{urlencode({'db': database})}"


@cache
def counter() -> Counter:
    return counter_at(settings.ENVIRONMENT.redis_url)


def counter_at(url: str | None) -> Counter:
    """Each process counts alone where there is no Redis, or one that only Celery can name."""
    if url is None:
        return LocalCounter()
    try:
        return RedisCounter(url)
    except ValueError as error:
        logger.warning("requests are counted by each process alone: %s", error)
        return LocalCounter()


@dataclass(frozen=True, slots=True)
class Budget:
    """What somebody has of a policy in this window: ``limit`` requests, of which ``used`` were made."""

    policy: str
    limit: int
    used: int
    seconds_left: int

    @property
    def is_spent(self) -> bool:
        return self.used > self.limit

    def refuse_spent(self, where: str) -> None:
        if self.is_spent:
            what = f"more than {self.limit} {self.policy} were asked for within {WINDOW} seconds"
            raise TooManyRequests(what, where=where, retry_after=self.seconds_left)

    def tell(self, response: HttpResponseBase) -> None:
        response["RateLimit-Policy"] = f'"{self.policy}";q={self.limit};w={WINDOW}'
        response["RateLimit"] = f'"{self.policy}";r={max(self.limit - self.used, 0)};t={self.seconds_left}'


def charge(request: HttpRequest, *, by_agents: bool, is_read: bool = False) -> Budget:
    """Count a request; no query is made for it."""
    environment = settings.ENVIRONMENT
    if by_agents:
        policy, limit = "agents", environment.agent_requests_per_minute
    elif is_read or request.method == "GET":
        policy, limit = "reads", environment.reads_per_minute
    else:
        policy, limit = "writes", environment.writes_per_minute
    window, into = divmod(int(time.time()), WINDOW)
    return Budget(policy, limit, counter().count(f"{policy}:{_who(request)}", window), WINDOW - into)


_known_tokens: dict[str, float] = {}
"""By their hash, until when: those that were good for what they were shown for, within the last minute."""


def know_token(request: HttpRequest) -> None:
    """Let the next requests count for the token that was good for this one. Until it was, they count for the address:
    whoever makes tokens up, a new one each time, is still one reader.
    """
    use = getattr(request, "auth", None)
    if not isinstance(use, TokenUse):
        return
    if len(_known_tokens) >= _MOST_KEPT:
        _known_tokens.clear()
    _known_tokens[use.token.sha256] = time.monotonic() + WINDOW


def _who(request: HttpRequest) -> str:
    header = request.headers.get("Authorization", "")
    if header[: len(_BEARER)].lower() == _BEARER:
        secret = header[len(_BEARER) :].strip()
        if is_token(secret):
            sha256 = token_sha256(secret)
            if _known_tokens.get(sha256, 0.0) > time.monotonic():
                return f"token-{sha256}"
    return asked_from(request)
