"""Collecting evidence from a portal.

Nothing is believed here: bytes are kept as they came, bounded in size, number and time, and judged elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, FailFast, ValidationError

from attestations.domain.mirror import Checkpoint, parse
from builds.domain.digest import Digest
from builds.domain.frozen import Sha256Text, first_problem
from builds.domain.printable import Slug, one_line
from builds.domain.requests import ReleaseName
from builds.domain.strict_json import load_object
from builds.verify.chain import Chain
from builds.verify.evidence import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, Evidence, EvidenceFile, Kind, evidence_of
from builds.verify.walking import checkpoint_envelope, find_release, read_release, read_root
from builds.verify.web import NotAPortal, NotThere, TooLarge, Web

_MIRROR = "/mirror"
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_ANSWER_VALUES = 300_000
_PLACE = re.compile(r"/(?!/)[A-Za-z0-9._~/-]{1,300}", re.ASCII)


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
    statement: Sha256Text | None
    key: Sha256Text | None


class _Bundle(_Answer):
    digest: Sha256Text


class _Component(_Answer):
    bundles: Annotated[tuple[_Bundle, ...], FailFast()]


class _Attestations(_Answer):
    components: Annotated[tuple[_Component, ...], FailFast()]
    stray: Annotated[tuple[_Bundle, ...], FailFast()]


class _Release(_Answer):
    document_digest: Sha256Text
    results: Annotated[tuple[_Result, ...], FailFast()]
    attestations: _Attestations


class Portal:
    """One portal. Raises ``NotAPortal``, ``PortalUnreachable`` and ``TooLarge``."""

    def __init__(self, address: str) -> None:
        self._web = Web(address, option="--portal")
        self.address = self._web.address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._web.close()

    def collect(self, name: ReleaseName, now: datetime) -> Evidence:
        """Everything that the portal has about a release, byte for byte."""
        where = f"{name.project}/{quote(name.tag)}"
        # The verdict first: what it names is then there already.
        verdict = self._ask(_Verdicts, f"/api/v1/verdicts/{where}").verdict
        release = self._ask(_Release, f"/api/v1/releases/{where}")
        files: list[EvidenceFile] = []
        total = 0
        for kind, place, operator in _places(verdict, release):
            data = self._web.get(place, MAX_FILE_BYTES)
            total += len(data)
            if total > MAX_TOTAL_BYTES or len(files) >= MAX_FILES:
                raise TooLarge(
                    f"there is more than {MAX_TOTAL_BYTES} bytes or {MAX_FILES} files of evidence", where=where
                )
            files.append(EvidenceFile.of(kind, place, data, operator or None))
        return evidence_of(self.address, name, now, [*files, *self._vouching(name, files)])

    def _vouching(self, name: ReleaseName, files: Sequence[EvidenceFile]) -> list[EvidenceFile]:
        """The portal's newest checkpoint with the way from it to the verdict; none where it publishes no mirror, or its
        checkpoint is older than this verdict. Who signed it is looked at where it is used.
        """
        chain = Chain(self._web, _MIRROR)
        try:
            checkpoint = chain.checkpoint()
        except NotThere:
            return []
        envelope = checkpoint_envelope(checkpoint.data, where=checkpoint.address)
        root = read_root(parse(Checkpoint, envelope.payload, where=checkpoint.address), chain.document)
        entry = find_release(root, name, chain.document)
        named = read_release(entry, chain.document).only("verdict") if entry is not None else None
        verdict = next((file for file in files if file.kind is Kind.VERDICT), None)
        if named is None or verdict is None or named.ref.sha256 != verdict.sha256:
            return []
        return [checkpoint, *chain.documents]

    def _ask[Shape: _Answer](self, shape: type[Shape], path: str) -> Shape:
        document = load_object(
            self._web.get(path, MAX_ANSWER_BYTES),
            max_bytes=MAX_ANSWER_BYTES,
            where=path,
            error_type=NotAPortal,
            max_values=MAX_ANSWER_VALUES,
        )
        try:
            return shape.model_validate(document)
        except ValidationError as error:
            raise NotAPortal(first_problem(error)[:400], where=path) from error


def _places(verdict: _Verdict | None, release: _Release) -> Iterator[tuple[Kind, str, str]]:
    """Each file once: its kind, its path at the portal, and whose it is said to be."""
    yield Kind.DOCUMENT, f"/documents/{_hex(release.document_digest)}", ""
    if verdict is not None:
        yield Kind.POLICY, _place(verdict.policy), ""
        if verdict.bundle is not None and verdict.key is not None:
            yield Kind.VERDICT, _place(verdict.bundle), ""
            yield Kind.PORTAL_KEY, _place(verdict.key), ""
    signed = [
        (result.operator_slug, result.statement, result.key)
        for result in release.results
        if result.statement is not None and result.key is not None
    ]
    for operator, statement, _ in signed:
        yield Kind.STATEMENT, f"/statements/{_hex(statement)}.received.json", operator
    for key, operator in {key: operator for operator, _, key in signed}.items():
        yield Kind.REBUILDER_KEY, f"/rebuilder-keys/{_hex(key)}.pub", operator
    for digest in _bundles(release.attestations):
        yield Kind.ATTESTATION, f"/attestations/{_hex(digest)}/bundle.json", ""


def _bundles(attestations: _Attestations) -> Iterable[str]:
    found = [bundle.digest for component in attestations.components for bundle in component.bundles]
    return dict.fromkeys([*found, *(bundle.digest for bundle in attestations.stray)])


def _hex(digest: str) -> str:
    """As the addresses of what has a digest hold it."""
    return Digest.parse(digest).hex


def _place(path: str) -> str:
    """A path of the portal itself: an answer sends nobody elsewhere."""
    if not _PLACE.fullmatch(path) or ".." in path:
        raise NotAPortal(f"{one_line(path, 100)!r} is no path of it", where="verdict")
    return path
