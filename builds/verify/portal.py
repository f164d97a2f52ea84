"""Collecting evidence from a portal: the only module of this program that speaks HTTP.

Nothing is believed here: bytes are kept as they came, bounded in size, number and time, and judged elsewhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import ClassVar, Final, Literal, Self
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from builds.domain.errors import LimitExceeded, MalformedInput, PortalError
from builds.domain.frozen import Sha256Hex, first_problem
from builds.domain.printable import Slug, one_line
from builds.domain.requests import ReleaseName
from builds.domain.strict_json import load_object
from builds.verify.evidence import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, Evidence, EvidenceFile, Kind, evidence_of

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OK, _NOT_FOUND = 200, 404
_STEP_SECONDS = 30.0
# A portal that sends a byte now and then keeps every single read within its time.
_ALL_SECONDS = 600.0
_PLACE = re.compile(r"/(?!/)[A-Za-z0-9._~/-]{1,300}", re.ASCII)


class PortalUnreachable(PortalError):
    """The portal does not answer, or not with what was asked for."""

    code: ClassVar[str] = "portal-unreachable"
    default_todo: ClassVar[str] = "Check the portal's address, the network, and that it knows this release."


class NotAPortal(MalformedInput):
    """An address that cannot be asked safely, or answers that are no portal's."""

    code: ClassVar[str] = "not-a-portal"
    default_todo: ClassVar[str] = "Give the portal's address with https://; http:// only of this machine."


class _Answer(BaseModel):
    """What is needed of an answer; a newer portal may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Verdict(_Answer):
    bundle: str | None
    policy: str
    key: str | None


class _Verdicts(_Answer):
    verdict: _Verdict | None


class _Result(_Answer):
    operator_slug: Slug | Literal[""]
    statement: Sha256Hex | None
    key: Sha256Hex | None


class _Bundle(_Answer):
    sha256: Sha256Hex


class _Component(_Answer):
    bundles: tuple[_Bundle, ...]


class _Attestations(_Answer):
    components: tuple[_Component, ...]
    stray: tuple[_Bundle, ...]


class _Release(_Answer):
    manifest_sha256: Sha256Hex
    results: tuple[_Result, ...]
    attestations: _Attestations


class Portal:
    """One portal. Raises ``NotAPortal``, ``PortalUnreachable`` and ``LimitExceeded``."""

    def __init__(self, address: str) -> None:
        try:
            parts = urlsplit(address)
            host = parts.hostname or ""
            if parts.port == 0:
                raise ValueError("nothing listens on port 0")
            httpx.URL(address)
        except (ValueError, httpx.InvalidURL) as error:
            raise NotAPortal(f"{address[:200]!r} is no address", where="--portal") from error
        if parts.scheme not in {"http", "https"} or not host or (parts.scheme == "http" and host not in _LOOPBACK):
            raise NotAPortal(f"{address[:200]!r} cannot be asked", where="--portal")
        self.address = address.rstrip("/")
        self._deadline = time.monotonic() + _ALL_SECONDS
        self._http = httpx.Client(
            timeout=_STEP_SECONDS,
            follow_redirects=False,
            trust_env=host not in _LOOPBACK,
            headers={"Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def collect(self, name: ReleaseName, now: datetime) -> Evidence:
        """Everything that the portal has about a release, byte for byte."""
        where = f"{name.project}/{quote(name.tag)}"
        # The verdict first: what it names is then there already.
        verdict = self._ask(_Verdicts, f"/api/v1/verdicts/{where}").verdict
        release = self._ask(_Release, f"/api/v1/releases/{where}")
        files: list[EvidenceFile] = []
        total = 0
        for kind, place, operator in _places(verdict, release):
            data = self._get(place, MAX_FILE_BYTES)
            total += len(data)
            if total > MAX_TOTAL_BYTES or len(files) >= MAX_FILES:
                raise LimitExceeded(
                    f"there is more than {MAX_TOTAL_BYTES} bytes or {MAX_FILES} files of evidence", where=where
                )
            files.append(EvidenceFile.of(kind, place, data, operator or None))
        return evidence_of(self.address, name, now, files)

    def _ask[Shape: _Answer](self, shape: type[Shape], path: str) -> Shape:
        document = load_object(
            self._get(path, MAX_ANSWER_BYTES), max_bytes=MAX_ANSWER_BYTES, where=path, error_type=NotAPortal
        )
        try:
            return shape.model_validate(document)
        except ValidationError as error:
            raise NotAPortal(first_problem(error)[:400], where=path) from error

    def _get(self, path: str, most_bytes: int) -> bytes:
        where = f"{self.address}{path}"
        try:
            with self._http.stream("GET", where) as answer:
                if answer.status_code != _OK:
                    known = " It has no such release or file." if answer.status_code == _NOT_FOUND else ""
                    raise PortalUnreachable(f"the answer is {answer.status_code}{known}", where=where)
                return self._read(answer, most_bytes, where)
        except httpx.HTTPError as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise PortalUnreachable(f"no answer: {reason}", where=where) from error

    def _read(self, answer: httpx.Response, most_bytes: int, where: str) -> bytes:
        if answer.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            raise NotAPortal("the answer is compressed, though it was asked for as it is", where=where)
        held = bytearray()
        # Raw: a decoded piece could be larger than memory before anybody counts.
        for chunk in answer.iter_raw():
            held += chunk
            if len(held) > most_bytes:
                raise LimitExceeded(f"the answer is larger than {most_bytes} bytes", where=where)
            if time.monotonic() > self._deadline:
                raise PortalUnreachable(f"collecting took longer than {_ALL_SECONDS:.0f} seconds", where=where)
        return bytes(held)


def _places(verdict: _Verdict | None, release: _Release) -> Iterator[tuple[Kind, str, str]]:
    """Each file once: its kind, its path at the portal, and whose it is said to be."""
    yield Kind.DOCUMENT, f"/documents/{release.manifest_sha256}", ""
    if verdict is not None:
        yield Kind.POLICY, _place(verdict.policy), ""
        if verdict.bundle is not None and verdict.key is not None:
            yield Kind.VERDICT, _place(verdict.bundle), ""
            yield Kind.PORTAL_KEY, _place(verdict.key), ""
    signed = [result for result in release.results if result.statement is not None and result.key is not None]
    for result in signed:
        yield Kind.STATEMENT, f"/statements/{result.statement}.received.json", result.operator_slug
    for key, operator in {result.key: result.operator_slug for result in signed}.items():
        yield Kind.REBUILDER_KEY, f"/rebuilder-keys/{key}.pub", operator
    for sha256 in _bundles(release.attestations):
        yield Kind.ATTESTATION, f"/attestations/{sha256}/bundle.json", ""


def _bundles(attestations: _Attestations) -> Iterable[str]:
    found = [bundle.sha256 for component in attestations.components for bundle in component.bundles]
    return dict.fromkeys([*found, *(bundle.sha256 for bundle in attestations.stray)])


def _place(path: str) -> str:
    """A path of the portal itself: an answer sends nobody elsewhere."""
    if not _PLACE.fullmatch(path) or ".." in path:
        raise NotAPortal(f"{one_line(path, 100)!r} is no path of it", where="verdict")
    return path
