"""GitHub as the portal asks it: releases, tags, files and attestations of one repository.

Source: docs.github.com/rest, api-version 2022-11-28. Every method raises the errors of
``attestations.domain.github_errors``, and ``LimitExceeded`` for answers larger than the settings allow.
``attestations.github_http`` sends, repeats and bounds the requests.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from attestations.domain.github_errors import (
    AssetChanged,
    AssetNotUploaded,
    GitHubError,
    NotFoundOnGitHub,
    NotProcessable,
    TagWithoutCommit,
    UnexpectedAnswer,
)
from attestations.domain.github_payloads import (
    AttestationPage,
    GitHubAsset,
    GitHubRelease,
    GitObject,
    GitRef,
    GitTag,
    HeldAttestation,
    RepositoryIdentity,
    parse_answer,
    parse_json,
    parse_releases,
)
from attestations.domain.repository import Repository, checked_tag
from attestations.etag_store import ETagStore, MemoryETags
from attestations.github_http import Answer, Clock, GitHubHttp, Sleep, Transport
from attestations.github_settings import GitHubSettings
from attestations.snappy import MalformedSnappy, decompress_block, max_compressed_length
from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded
from builds.domain.paths import file_name
from builds.domain.strict_json import AmbiguousJson, compact_json
from builds.pipeline.material_store import atomic_file, named_disk_errors

__all__ = [
    "ETagStore",
    "FoundAttestations",
    "GitHub",
    "GitHubAsset",
    "GitHubRelease",
    "GitHubSettings",
    "MemoryETags",
    "RepositoryIdentity",
]

MAX_BUNDLE_BYTES = 1024 * 1024
MAX_BUNDLES = 100
MAX_TAG_DEPTH = 5
_RELEASES_PER_PAGE = 100
_ATTESTATIONS_PER_PAGE = 30
_UPLOADED = "uploaded"


@dataclass(frozen=True, slots=True)
class FoundAttestations:
    """The Sigstore bundles that GitHub holds for one digest, unverified; an empty tuple means that it holds none.

    A bundle that came from its own address is as it was stored; an inline one is the same JSON without spaces.
    ``asked_at`` is in UTC, from before the first question.
    """

    bundles: tuple[bytes, ...]
    asked_at: datetime


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class GitHub:
    """Asks one GitHub. Use as a context manager, or ``close`` it. Safe between threads.

    ``etags`` keeps answers for conditional requests, by default in memory.
    """

    def __init__(
        self,
        settings: GitHubSettings,
        etags: ETagStore | None = None,
        *,
        transport: Transport | None = None,
        clock: Clock = utc_now,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._http = GitHubHttp(settings, etags if etags is not None else MemoryETags(), transport, clock, sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def releases(self, repository: Repository) -> Iterator[GitHubRelease]:
        """Every published release as GitHub orders them, newest first; drafts are left out."""
        query = urlencode({"per_page": _RELEASES_PER_PAGE})
        for answer in self._pages(f"{_path(repository)}/releases?{query}"):
            releases = parse_releases(answer.body, self._http.shown(answer.url))
            self._http.keep(answer)
            yield from releases

    def release_by_tag(self, repository: Repository, tag: str) -> GitHubRelease:
        """The published release of a tag; ``NotFoundOnGitHub`` when there is none."""
        release = self._read(GitHubRelease, f"{_path(repository)}/releases/tags/{_segment(checked_tag(tag))}")
        if release.tag_name != tag:
            raise UnexpectedAnswer("the answer is about another tag's release", where=f"{repository} {tag}")
        return release

    def tag_commit(self, repository: Repository, tag: str) -> str:
        """The commit (40 hex) that a tag names today; annotated tags are followed."""
        ref = self._read(GitRef, f"{_path(repository)}/git/ref/tags/{_segment(checked_tag(tag))}")
        if ref.ref != f"refs/tags/{tag}":
            raise UnexpectedAnswer("the answer is about another ref", where=f"{repository} {tag}")
        target = ref.object
        for _ in range(MAX_TAG_DEPTH):
            if target.type != "tag":
                break
            target = self._tagged(repository, target.sha)
        if target.type != "commit":
            raise TagWithoutCommit(
                f"the tag leads to no commit within {MAX_TAG_DEPTH} steps", where=f"{repository} {tag}"
            )
        return target.sha

    def repository(self, repository: Repository) -> RepositoryIdentity:
        """Who the repository is: its and its owner's number, and its name today, which differs after a rename."""
        return self._read(RepositoryIdentity, _path(repository))

    def download(self, asset: GitHubAsset, target: Path) -> Digest:
        """Write an asset to ``target``, whole or not at all, and return its sha256.

        Raises ``AssetChanged`` when size or digest differ from what ``asset`` says, ``AssetNotUploaded``,
        ``UnsafePath`` for a name with directories, ``LimitExceeded`` and ``DiskFull``.
        """
        where = file_name(asset.name, where="release asset")
        if asset.state != _UPLOADED:
            raise AssetNotUploaded("the asset is not uploaded yet", where=where)
        if asset.size > self._http.settings.max_asset_bytes:
            limit = self._http.settings.max_asset_bytes
            raise LimitExceeded(f"the asset has {asset.size} bytes, more than {limit}", where=where)
        try:
            return self._http.download(asset.url, asset.size, lambda pieces: _write(pieces, asset, target))
        except LimitExceeded as error:
            raise AssetChanged(f"more bytes came than the {asset.size} that the release names", where=where) from error

    def attestations(
        self, repository: Repository, digest: Digest, predicate_type: str | None = None
    ) -> FoundAttestations:
        """The bundles GitHub holds for a file of ``digest``, of one predicate type or of any.

        A bundle beyond ``MAX_BUNDLE_BYTES``, or more than ``MAX_BUNDLES``, is ``LimitExceeded``: nothing is left out.
        """
        asked_at = self._http.clock()
        query = {"per_page": str(_ATTESTATIONS_PER_PAGE)}
        if predicate_type is not None:
            query["predicate_type"] = predicate_type
        path = f"{_path(repository)}/attestations/{_segment(str(digest))}?{urlencode(query)}"
        bundles: list[bytes] = []
        for answer in self._pages(path, empty_at=(NotFoundOnGitHub, NotProcessable)):
            where = self._http.shown(answer.url)
            page = parse_answer(AttestationPage, parse_json(answer.body, where, exact=True), where)
            if len(bundles) + len(page.attestations) > MAX_BUNDLES:
                raise LimitExceeded(f"GitHub holds more than {MAX_BUNDLES} attestations of one digest", where=where)
            bundles += [self._bundle(held, where) for held in page.attestations]
            if all(held.bundle is not None for held in page.attestations):
                # Addresses of bundles are signed for a short time; a kept answer would name expired ones.
                self._http.keep(answer)
        return FoundAttestations(tuple(bundles), asked_at)

    def _bundle(self, held: HeldAttestation, where: str) -> bytes:
        if held.bundle is None:
            return self._stored_bundle(held.bundle_url or "")
        try:
            bundle = compact_json(held.bundle)
        except AmbiguousJson as error:
            raise UnexpectedAnswer(f"a bundle cannot be read: {error}", where=where) from error
        if len(bundle) > MAX_BUNDLE_BYTES:
            raise LimitExceeded(f"a bundle is larger than {MAX_BUNDLE_BYTES} bytes", where=where)
        return bundle

    def _stored_bundle(self, url: str) -> bytes:
        block = self._http.fetch(url, max_compressed_length(MAX_BUNDLE_BYTES))
        try:
            return decompress_block(block, MAX_BUNDLE_BYTES)
        except MalformedSnappy as error:
            raise UnexpectedAnswer(f"a bundle cannot be read: {error.what}", where=self._http.shown(url)) from error

    def _tagged(self, repository: Repository, sha: str) -> GitObject:
        tag = self._read(GitTag, f"{_path(repository)}/git/tags/{sha}")
        if tag.sha != sha:
            raise UnexpectedAnswer("the answer is about another tag object", where=f"{repository} {sha}")
        return tag.object

    def _read[Shape: BaseModel](self, shape: type[Shape], path: str) -> Shape:
        answer = self._http.ask(path)
        where = self._http.shown(answer.url)
        value = parse_answer(shape, parse_json(answer.body, where), where)
        self._http.keep(answer)
        return value

    def _pages(self, path: str, *, empty_at: tuple[type[GitHubError], ...] = ()) -> Iterator[Answer]:
        """The answers of a listing; none when the first question meets an error of ``empty_at``.

        A later page that is gone stays an error: the listing would be incomplete.
        """
        url = path
        for _ in range(self._http.settings.max_pages):
            try:
                answer = self._http.ask(url)
            except empty_at:
                return
            yield answer
            if answer.next_url is None:
                return
            url, empty_at = answer.next_url, ()
        raise LimitExceeded(f"the listing has more than {self._http.settings.max_pages} pages", where=path)


def _path(repository: Repository) -> str:
    return f"/repos/{repository.owner}/{repository.name}"


def _segment(text: str) -> str:
    """``text`` as one path segment: also ``+`` and ``/`` are encoded."""
    return quote(text, safe="")


def _write(pieces: Iterable[bytes], asset: GitHubAsset, target: Path) -> Digest:
    sha256, size = hashlib.sha256(), 0
    with named_disk_errors(target.parent, "for a release's asset"), atomic_file(target) as (file, commit):
        for piece in pieces:
            sha256.update(piece)
            size += len(piece)
            file.write(piece)
        digest = Digest.sha256(sha256.hexdigest())
        if size != asset.size:
            raise AssetChanged(f"{size} bytes came where the release names {asset.size}", where=asset.name)
        if asset.digest is not None and digest != asset.digest:
            raise AssetChanged(f"the bytes hash to {digest}, GitHub names {asset.digest}", where=asset.name)
        commit()
    return digest
