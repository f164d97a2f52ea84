"""HTTP as GitHub speaks it, bounded on every side; the only importer of httpx.

Who may see the token, where an answer may lead, how much is read and how often something is asked is decided here.
``attestations.github`` knows what the answers mean.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from attestations.domain.github_errors import (
    BadToken,
    Forbidden,
    ForeignAddress,
    GitHubError,
    GitHubUnavailable,
    NotFoundOnGitHub,
    NotProcessable,
    RateLimited,
    UnexpectedAnswer,
)
from attestations.etag_store import ETagStore
from attestations.github_settings import GitHubSettings, is_loopback
from builds.domain.errors import LimitExceeded, PortalError

MAX_HOPS = 5
_EXPLANATION_BYTES = 4096
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,200}"')
_UNKNOWN_RESET = timedelta(minutes=1)  # what GitHub's documentation asks for when it names no time
_NAMED: dict[int, type[GitHubError]] = {404: NotFoundOnGitHub, 422: NotProcessable}
_LONGEST_RESET = timedelta(days=1)

# They log addresses, with the signatures that open private files for a short time, and what an answer echoes.
for _library in ("httpx", "httpcore"):
    logging.getLogger(_library).setLevel(logging.WARNING)

type Transport = httpx.BaseTransport
type Clock = Callable[[], datetime]
type Sleep = Callable[[float], None]


class Reach(Enum):
    """Where a request and its redirects may go, and whether the token goes along."""

    API = auto()
    """The configured origin only, with the token."""
    FILE = auto()
    """From the configured origin, with the token, to any https host, without it from there on."""
    ANYWHERE = auto()
    """Any https host, never with the token."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: ``url`` that was asked, ``next_url`` of the next page if there is one."""

    url: str
    body: bytes
    next_url: str | None
    etag: str | None


@dataclass(frozen=True, slots=True)
class _Request:
    url: httpx.URL
    reach: Reach
    accept: str
    encoding: str
    etag: str | None = None


class GitHubHttp:
    """A client of one GitHub, safe between threads. ``clock`` gives UTC, ``sleep`` takes seconds."""

    def __init__(
        self,
        settings: GitHubSettings,
        etags: ETagStore,
        transport: Transport | None,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._sleep = sleep
        self._etags = etags
        self._base = httpx.URL(settings.base_url.rstrip("/"))
        self._client = httpx.Client(
            transport=transport,
            verify=_certificates(),
            timeout=settings.timeout,
            follow_redirects=False,
            trust_env=not settings.on_loopback,  # the host's proxies and certificates, but no proxy to itself
            event_hooks={"response": [_set_location_aside]},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # none is kept, none is sent
        )

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def ask(self, url: str) -> Answer:
        """The answer of the API at ``url`` (a path such as ``/repos/o/r``, or a page's ``next_url``).

        A kept answer is reused when GitHub says that it still holds.
        """
        address = self._checked(self._base, str(self._base) + url if url.startswith("/") else url, Reach.API)
        kept = self._etags.get(str(address))
        request = _Request(address, Reach.API, "application/vnd.github+json", "gzip", kept[0] if kept else None)

        def read(response: httpx.Response, deadline: float) -> Answer:
            if response.status_code == httpx.codes.NOT_MODIFIED and kept is not None:
                return _unpacked(str(address), *kept)
            self._expect_ok(response)
            body = _whole(self._pieces(response, self.settings.max_response_bytes, deadline))
            return Answer(str(address), body, self._next_url(response), _etag(response))

        return self._get(request, read, self.settings.answer_timeout)

    def keep(self, answer: Answer) -> None:
        """Keep an answer for the next time it is asked for; one without an entity tag is not kept."""
        if answer.etag is not None:
            self._etags.put(answer.url, answer.etag, f"{answer.next_url or ''}\n".encode() + answer.body)

    def fetch(self, url: str, max_bytes: int) -> bytes:
        """What lies at ``url``, on any https host, asked without the token."""

        def read(response: httpx.Response, deadline: float) -> bytes:
            self._expect_ok(response)
            return _whole(self._pieces(response, max_bytes, deadline))

        address = self._checked(self._base, url, Reach.ANYWHERE)
        return self._get(_Request(address, Reach.ANYWHERE, "*/*", "identity"), read, self.settings.answer_timeout)

    def download[Result](self, url: str, max_bytes: int, take: Callable[[Iterator[bytes]], Result]) -> Result:
        """What ``take`` makes of the pieces of a file; it is called anew when the file is asked for anew."""

        def read(response: httpx.Response, deadline: float) -> Result:
            self._expect_ok(response)
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise UnexpectedAnswer("a file came in another encoding than its own", where=self.shown(response.url))
            return take(self._pieces(response, max_bytes, deadline))

        address = self._checked(self._base, url, Reach.FILE)
        request = _Request(address, Reach.FILE, "application/octet-stream", "identity")
        return self._get(request, read, self.settings.download_timeout)

    def shown(self, url: httpx.URL | str) -> str:
        """An address fit for messages: without its query, which may hold a signature, and without the token."""
        text = str(url).partition("?")[0]
        return (text.replace(self.settings.secret, "***") if self.settings.secret else text)[:300]

    def _get[Result](
        self, request: _Request, read: Callable[[httpx.Response, float], Result], seconds: float
    ) -> Result:
        deadline = time.monotonic() + seconds
        delay, attempt = self.settings.retry_delay, 1
        while True:
            try:
                return self._follow(request, read, deadline)
            except RateLimited as error:
                wait = max((error.reset_at - self.clock()).total_seconds(), delay)
                if wait > self.settings.longest_wait or attempt >= self.settings.attempts:
                    raise
            except GitHubUnavailable:
                wait = delay
                if time.monotonic() + wait > deadline or attempt >= self.settings.attempts:
                    raise
            self._sleep(wait)
            delay, attempt = delay * 2, attempt + 1

    def _follow[Result](
        self, request: _Request, read: Callable[[httpx.Response, float], Result], deadline: float
    ) -> Result:
        url, token = request.url, request.reach is not Reach.ANYWHERE
        for _ in range(MAX_HOPS + 1):
            token = token and _origin(url) == _origin(self._base)
            with self._sent(url, self._headers(request, token=token)) as response:
                location = response.extensions["location"]
                if response.status_code not in _REDIRECTS or location is None:
                    return read(response, deadline)
                url = self._checked(url, location, request.reach)
        raise UnexpectedAnswer(f"more than {MAX_HOPS} redirects", where=self.shown(request.url))

    def _headers(self, request: _Request, *, token: bool) -> dict[str, str]:
        headers = {"Accept": request.accept, "Accept-Encoding": request.encoding, "User-Agent": "tee-portal"}
        if token:
            headers["X-GitHub-Api-Version"] = self.settings.api_version
            if self.settings.secret is not None:
                headers["Authorization"] = f"Bearer {self.settings.secret}"
            if request.etag is not None:
                headers["If-None-Match"] = request.etag
        return headers

    @contextmanager
    def _sent(self, url: httpx.URL, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The open answer to a request; what httpx raises meanwhile gets the portal's names, without its texts."""
        where = self.shown(url)
        try:
            response = self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
            try:
                yield response
            finally:
                response.close()
        except httpx.TimeoutException as error:
            raise GitHubUnavailable(f"no answer within {self.settings.timeout:g} seconds", where=where) from error
        except httpx.TransportError as error:
            raise GitHubUnavailable(f"the connection failed: {type(error).__name__}", where=where) from error
        except httpx.HTTPError as error:
            raise UnexpectedAnswer(f"the answer is not HTTP: {type(error).__name__}", where=where) from error

    def _checked(self, current: httpx.URL, text: str, reach: Reach) -> httpx.URL:
        """``text``, seen from ``current``, as an address that ``reach`` allows, or ``ForeignAddress``."""
        try:
            url = current.join(text)
            host = url.host
        except (httpx.InvalidURL, ValueError) as error:
            raise UnexpectedAnswer("the answer names an address that is none", where=self.shown(current)) from error
        if url.userinfo or not host:
            raise ForeignAddress("the answer names an address with a user or without a host", where=self.shown(current))
        if reach is Reach.API and _origin(url) != _origin(self._base):
            raise ForeignAddress(f"the answer leads away, to {self.shown(url)}", where=self.shown(current))
        if url.scheme != "https" and not (self.settings.on_loopback and url.scheme == "http" and is_loopback(host)):
            raise ForeignAddress(f"the answer leads to {self.shown(url)}, not https", where=self.shown(current))
        return url

    def _pieces(self, response: httpx.Response, max_bytes: int, deadline: float) -> Iterator[bytes]:
        """The decoded body in pieces. Raises ``LimitExceeded`` as soon as it passes ``max_bytes``."""
        where = self.shown(response.url)
        received = 0
        for piece in _decoded(response, max_bytes, where):
            received += len(piece)
            if received > max_bytes:
                raise LimitExceeded(f"the answer is longer than {max_bytes} bytes", where=where)
            if time.monotonic() > deadline:
                raise GitHubUnavailable("the answer came too slowly", where=where)
            yield piece

    def _next_url(self, response: httpx.Response) -> str | None:
        link = response.links.get("next", {}).get("url")
        return str(self._checked(response.url, link, Reach.API)) if link is not None else None

    def _expect_ok(self, response: httpx.Response) -> None:
        """Return for 200; else raise the error that the status stands for."""
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> PortalError:
        status, where = response.status_code, self.shown(response.url)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return GitHubUnavailable(f"GitHub answered {status}", where=where)
        if status == httpx.codes.UNAUTHORIZED and _origin(response.url) == _origin(self._base):
            return BadToken("GitHub does not accept the token, or wants one", where=where)
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS}:
            reset_at = self._reset_at(response, where)
            if reset_at is not None:
                return RateLimited("GitHub's rate limit is used up", where=where, reset_at=reset_at)
            return Forbidden("GitHub refuses to answer this", where=where)
        return _NAMED.get(status, UnexpectedAnswer)(f"GitHub answered {status}", where=where)

    def _reset_at(self, response: httpx.Response, where: str) -> datetime | None:
        """When a limit ends, or None when the refusal is no limit.

        Source: GitHub's "Rate limits for the REST API": retry-after, else x-ratelimit-reset, else one minute.
        """
        now = self.clock()
        after = _seconds(response.headers.get("retry-after"))
        if after is not None:
            return now + min(timedelta(seconds=after), _LONGEST_RESET)
        if response.headers.get("x-ratelimit-remaining") == "0":
            reset = _seconds(response.headers.get("x-ratelimit-reset"))
            ahead = timedelta(seconds=reset - now.timestamp()) if reset is not None else _UNKNOWN_RESET
            return now + min(max(ahead, timedelta()), _LONGEST_RESET)
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or b"rate limit" in _explanation(response, where):
            return now + _UNKNOWN_RESET
        return None


@cache
def _certificates() -> ssl.SSLContext:
    """The authorities that this host or certifi trusts; reading them takes longer than most questions."""
    return httpx.create_ssl_context()


def _set_location_aside(response: httpx.Response) -> None:
    """Keep httpx from reading where a redirect leads, which it does even when told to follow none."""
    response.extensions["location"] = response.headers.pop("location", None)


def _decoded(response: httpx.Response, max_bytes: int, where: str) -> Iterator[bytes]:
    """The body in pieces as they come; a compressed one gives at most one byte more than ``max_bytes``.

    httpx's own decoders know no bound and accept several encodings on top of each other.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        yield from response.iter_raw()
        return
    if encoding != "gzip":
        raise UnexpectedAnswer("the answer came in an encoding that nobody asked for", where=where)
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for chunk in response.iter_raw():
            yield decoder.decompress(chunk, max_bytes + 1)
    except zlib.error as error:
        raise UnexpectedAnswer("the answer's compression is corrupt", where=where) from error
    if not decoder.eof or decoder.unused_data:
        raise UnexpectedAnswer("the answer's compression is truncated, or something follows it", where=where)


def _explanation(response: httpx.Response, where: str) -> bytes:
    """The lower-cased first piece of a refusal's body, to look for a word in; it is not shown to anybody."""
    return next(_decoded(response, _EXPLANATION_BYTES, where), b"")[:_EXPLANATION_BYTES].lower()


def _whole(pieces: Iterator[bytes]) -> bytes:
    body = bytearray()
    for piece in pieces:
        body += piece
    return bytes(body)


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port


def _etag(response: httpx.Response) -> str | None:
    text = response.headers.get("etag", "")
    return text if _ETAG.fullmatch(text) else None


def _unpacked(url: str, etag: str, packed: bytes) -> Answer:
    next_url, _, body = packed.partition(b"\n")
    return Answer(url, body, next_url.decode() or None, etag)


def _seconds(text: str | None) -> int | None:
    """A short decimal number of a header, else None."""
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,12}", text) else None
