"""The portal as an agent sees it: the only module of the agent that speaks HTTP.

What a portal answers is read strictly and bounded: an agent need not trust it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import quote, urlsplit

import httpx

from builds.domain.answers import Enrolled, ListedRelease, ListedReleases, Submitted, Told
from builds.domain.dsse import Envelope
from builds.domain.errors import PortalError
from builds.domain.job import MAX_JOB_BYTES, ClaimedJob, MalformedJob, RebuildJob, check_asked, parse_as
from builds.domain.printable import one_line
from builds.domain.progress import FailureReport, Progress
from builds.domain.strict_json import AmbiguousJson, read_json

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OK, _NOTHING, _SERVER_ERROR, _TOO_MANY = 200, 204, 500, 429
_PAGES = 100
# Gunicorn closes a connection that was idle for two seconds, just when a waiting agent asks again: one such answer
# in 500 is lost. Less than any server's patience.
_IDLE_SECONDS = 1.0
# A portal that sends a byte now and then keeps every single read within its time.
_ANSWER_SECONDS = 60.0
_HURRIED_SECONDS = 5.0


class PortalAway(PortalError):
    """The portal does not answer, or answers that it cannot right now."""

    code: ClassVar[str] = "portal-away"
    default_todo: ClassVar[str] = (
        "Check the portal's address and the network. An agent that works asks again by itself."
    )


class PortalRefused(PortalError):
    """The portal's own named error; ``refusal`` is its code."""

    code: ClassVar[str] = "portal-refused"

    def __init__(self, refusal: str, what: str, *, where: str, todo: str) -> None:
        super().__init__(what, where=where, todo=todo)
        self.refusal = refusal

    def __str__(self) -> str:
        return f"{self.refusal}: {super().__str__()}"


class EncodedAnswer(MalformedJob):
    """The answer is compressed, though it was asked for as it is: a few bytes could fill this machine's memory."""

    code: ClassVar[str] = "encoded-answer"
    default_todo: ClassVar[str] = "Have what stands before the portal honour Accept-Encoding: identity."


class NotTheAddress(PortalError):
    """The address given is no portal's."""

    code: ClassVar[str] = "not-the-address"
    default_todo: ClassVar[str] = "Give the portal's address with https://; http:// only of this machine."


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """A claim as its agent holds it."""

    rebuild_id: uuid.UUID
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True, slots=True)
class Nothing:
    """No work for now; ask again after so many seconds."""

    retry_seconds: float


class PortalClient:
    """One portal. Raises ``PortalAway`` when it should be tried again, ``PortalRefused`` for its named errors."""

    def __init__(self, address: str, *, seconds: float = 30.0) -> None:
        parts = urlsplit(address)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host or (parts.scheme == "http" and host not in _LOOPBACK):
            raise NotTheAddress(f"{address[:200]!r} cannot be asked", where="--portal")
        self.address = address.rstrip("/")
        self.audience = parts.netloc.rpartition("@")[2].lower()
        self.is_local = host in _LOOPBACK
        self._http = httpx.Client(
            base_url=f"{self.address}/api/v1",
            timeout=seconds,
            follow_redirects=False,
            trust_env=not self.is_local,
            headers={"Accept-Encoding": "identity"},
            limits=httpx.Limits(keepalive_expiry=_IDLE_SECONDS),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def hurry(self) -> None:
        """Wait no longer than a few seconds for anything that is asked from now on; safe in a signal handler."""
        self._http.timeout = httpx.Timeout(_HURRIED_SECONDS)

    def releases(self, *, project: str | None = None, tag: str | None = None) -> Iterator[ListedRelease]:
        """Releases that can be rebuilt, in the order of their import."""
        after = 0
        for _ in range(_PAGES):
            asked = {"project": project, "tag": tag, "after": after}
            parameters = {name: str(value) for name, value in asked.items() if value is not None}
            page = parse_as(ListedReleases, self._ask("GET", "/jobs", params=parameters).content, where=self.address)
            for release in page.releases:
                self._check(release, project, tag)
                yield release
            if page.next is None or page.next <= after:
                return
            after = page.next

    def job(self, release: ListedRelease) -> RebuildJob:
        path = f"/jobs/{quote(release.project, safe='')}/{quote(release.tag)}"
        job = parse_as(RebuildJob, self._ask("GET", path).content, where=self.address)
        self._check(job, release.project, release.tag)
        return job

    def claim(self, request: Envelope, *, project: str | None = None, tag: str | None = None) -> ClaimedJob | Nothing:
        """``project`` and ``tag`` are what the request asks for; ``OtherJob`` for a claim of anything else."""
        answer = self._ask("POST", "/claims", content=request.as_bytes())
        if answer.status_code == _NOTHING:
            return Nothing(_seconds(answer.headers.get("Retry-After")))
        claimed = parse_as(ClaimedJob, answer.content, where=self.address)
        self._check(claimed.job, project, tag)
        return claimed

    def tell(self, claim: HeldClaim, progress: Progress) -> str:
        body = progress.model_dump_json(by_alias=True).encode()
        answer = self._ask("POST", f"/rebuilds/{claim.rebuild_id}/progress", content=body, headers=claim.headers)
        return parse_as(Told, answer.content, where=self.address).answer

    def fail(self, claim: HeldClaim, report: FailureReport) -> None:
        body = report.model_dump_json(by_alias=True).encode()
        self._ask("POST", f"/rebuilds/{claim.rebuild_id}/failure", content=body, headers=claim.headers)

    def give_back(self, claim: HeldClaim) -> None:
        self._ask("POST", f"/rebuilds/{claim.rebuild_id}/give-back", headers=claim.headers)

    def submit(self, statement: bytes, claim: HeldClaim | None = None) -> Submitted:
        parameters = {"rebuild": str(claim.rebuild_id)} if claim is not None else {}
        headers = claim.headers if claim is not None else {}
        answer = self._ask("POST", "/statements", content=statement, params=parameters, headers=headers)
        return parse_as(Submitted, answer.content, where=self.address)

    def enrol(self, request: Envelope, endorsement: tuple[str, Envelope] | None) -> Enrolled:
        """``endorsement`` is the older key's name and its envelope over the same payload."""
        document: dict[str, object] = {"enrolment": request.as_json()}
        if endorsement is not None:
            document |= {"endorsedBy": endorsement[0], "endorsement": endorsement[1].as_json()}
        answer = self._ask("POST", "/enrolments", content=json.dumps(document).encode())
        return parse_as(Enrolled, answer.content, where=self.address)

    def _check(self, named: ListedRelease | RebuildJob, project: str | None, tag: str | None) -> None:
        check_asked(named.project, named.tag, asked_project=project, asked_tag=tag, where=self.address)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        where = f"{self.address}{path}"
        kind = {"Content-Type": "application/json"} if content is not None else {}
        try:
            with self._http.stream(
                method, path, content=content, params=params or {}, headers={**kind, **(headers or {})}
            ) as answer:
                if answer.status_code >= _SERVER_ERROR or answer.status_code == _TOO_MANY:
                    raise PortalAway(f"the answer is {answer.status_code}", where=where)
                _read(answer, where)
        except httpx.HTTPError as error:
            raise PortalAway(f"no answer: {one_line(f'{type(error).__name__}: {error}')}", where=where) from error
        if not _OK <= answer.status_code < 300:  # noqa: PLR2004 - RFC 9110, section 15
            raise _refusal(answer, where)
        return answer


def _read(answer: httpx.Response, where: str) -> None:
    """Read the body as it was sent, bounded in size and time; afterwards ``answer.content`` has it."""
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in {"", "identity"}:
        raise EncodedAnswer(f"the answer is encoded as {_shown(encoding)[:80]}", where=where)
    deadline = time.monotonic() + _ANSWER_SECONDS
    held = bytearray()
    # Raw: httpx decodes a piece to its end before anybody can count what came out.
    for chunk in answer.iter_raw():
        held += chunk
        if len(held) > MAX_JOB_BYTES:
            raise MalformedJob(f"the answer is larger than {MAX_JOB_BYTES} bytes", where=where)
        if time.monotonic() > deadline:
            raise PortalAway(f"the answer took longer than {_ANSWER_SECONDS:.0f} seconds", where=where)
    answer._content = bytes(held)  # noqa: SLF001 - what httpx's own read() does, with a bound


def _refusal(answer: httpx.Response, where: str) -> PortalError:
    try:
        body = read_json(answer.content)
    except AmbiguousJson:
        body = None
    if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in ("code", "what", "todo")):
        return NotTheAddress(f"the answer is {answer.status_code} and no error of a portal", where=where)
    return PortalRefused(
        _shown(body["code"]),
        _shown(body["what"]),
        where=_shown(str(body.get("where", where))),
        todo=_shown(body["todo"]),
    )


def _shown(text: str) -> str:
    """What a portal says, fit for a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:1000])


def _seconds(text: str | None) -> float:
    return min(max(float(text), 1.0), 3600.0) if text is not None and text.isascii() and text.isdigit() else 10.0
