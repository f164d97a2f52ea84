"""What the loopback GitHub answers, in GitHub's shapes; ``builds.demo.github_server`` puts it on the wire."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from attestations.domain.repository import Repository
from attestations.snappy import compress_block
from builds.domain.digest import Digest

type Delivery = Literal["inline", "snappy-url"]
type Json = dict[str, object]

_SHORT_TYPES = {
    "provenance": ("https://slsa.dev/provenance/",),
    "release": ("https://in-toto.io/attestation/release/",),
    "sbom": ("https://spdx.dev/Document", "https://cyclonedx.org/bom"),
}


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """A release: its tag and the commit it names, and its files by name; ``digests`` False leaves GitHub's out."""

    tag: str
    commit: str
    published_at: datetime
    assets: Mapping[str, Path]
    annotated: bool = False
    prerelease: bool = False
    draft: bool = False
    immutable: bool = False
    digests: bool = True


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A Sigstore bundle and how it is handed out: within the listing, or as a snappy block at its own address."""

    bundle: bytes
    delivery: Delivery = "inline"

    @property
    def predicate_type(self) -> str | None:
        """The predicate type of the statement inside, or None when there is none to read."""
        try:
            envelope = json.loads(self.bundle)["dsseEnvelope"]
            found = json.loads(base64.b64decode(envelope["payload"]))["predicateType"]
        except (ValueError, KeyError, TypeError, binascii.Error):
            return None
        return found if isinstance(found, str) else None

    def is_of(self, wanted: str | None) -> bool:
        """Whether a question for ``wanted``, a predicate type or GitHub's short name of one, finds it."""
        found = self.predicate_type or ""
        return wanted is None or found == wanted or found.startswith(_SHORT_TYPES.get(wanted, (wanted,)))


@dataclass(frozen=True, slots=True)
class RepositoryDescription:
    """A repository as GitHub has it; ``former`` is the name it had before it was renamed."""

    repository: Repository
    repository_id: int
    owner_id: int
    releases: Sequence[PublishedRelease] = ()
    attestations: Mapping[Digest, Sequence[StoredBundle]] = field(default_factory=dict)
    former: Repository | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A whole answer of the API."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def etag(self) -> str | None:
        return self.headers.get("ETag")


@dataclass(frozen=True, slots=True)
class Answers:
    """What one request of ``description`` gives; ``api_url`` and ``storage_url`` without a trailing slash."""

    description: RepositoryDescription
    api_url: str
    storage_url: str
    per_page: int

    def api(self, target: str, accept: str) -> Page:
        """The answer to ``GET target`` (path and query) at the API."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
        match segments:
            case ["repos", owner, name, *rest] if f"{owner}/{name}" == str(self.description.former):
                tail = "".join(f"/{quote(segment, safe='')}" for segment in rest)
                moved = f"{self.api_url}/repositories/{self.description.repository_id}{tail}"
                return _moved(HTTPStatus.MOVED_PERMANENTLY, f"{moved}?{parts.query}" if parts.query else moved)
            case ["repos", owner, name, *rest] if f"{owner}/{name}" == str(self.description.repository):
                return self._repository(rest, target, query, accept)
            case ["repositories", number, *rest] if number == str(self.description.repository_id):
                return self._repository(rest, target, query, accept)
        return _NOT_FOUND

    def stored(self, target: str) -> Path | bytes | None:
        """The file or snappy block at ``target`` of the storage, or None."""
        match [unquote(segment) for segment in urlsplit(target).path.strip("/").split("/")]:
            case ["assets", number]:
                found = self._assets().get(number)
                return found[1] if found is not None else None
            case ["bundles", digest, number] if number.isdecimal():
                held = dict(enumerate(self._held(digest))).get(int(number))
                return compress_block(held.bundle) if held is not None else None
        return None

    def _repository(self, rest: Sequence[str], target: str, query: Mapping[str, str], accept: str) -> Page:
        match rest:
            case []:
                return _json(self._identity())
            case ["releases"]:
                return self._listed(self._releases(), target, query)
            case ["releases", "assets" | "tags" as kind, name]:
                return self._asset(name, accept) if kind == "assets" else self._release_by_tag(name)
            case ["git", "ref" | "tags" as kind, *name]:
                return self._ref("/".join(name)) if kind == "ref" else self._tag_object("".join(name))
            case ["attestations", digest]:
                held = self._attestations(digest, query.get("predicate_type"))
                return self._listed(held, target, query, within="attestations") if held else _NOT_FOUND
        return _NOT_FOUND

    def _identity(self) -> Json:
        repository = self.description.repository
        return {
            "id": self.description.repository_id,
            "name": repository.name,
            "full_name": str(repository),
            "owner": {"login": repository.owner, "id": self.description.owner_id},
            "private": False,
        }

    def _releases(self) -> list[Json]:
        newest_first = sorted(
            enumerate(self.description.releases, start=1), key=lambda numbered: numbered[1].published_at, reverse=True
        )
        return [self._release(number, release) for number, release in newest_first]

    def _release(self, number: int, release: PublishedRelease) -> Json:
        page = f"https://github.com/{self.description.repository}/releases"
        moment = release.published_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assets = [
            asset for owner, (asset, _) in zip(self._owners(), self._assets().values(), strict=True) if owner == number
        ]
        return {
            "id": number,
            "tag_name": release.tag,
            "name": release.tag,
            "draft": release.draft,
            "prerelease": release.prerelease,
            "immutable": release.immutable,
            "published_at": None if release.draft else moment,
            "html_url": f"{page}/tag/{quote(release.tag, safe='')}",
            "assets": assets,
        }

    def _release_by_tag(self, tag: str) -> Page:
        found = [release for release in self._releases() if release["tag_name"] == tag and not release["draft"]]
        return _json(found[0]) if found else _NOT_FOUND

    def _owners(self) -> list[int]:
        """The number of each asset's release, in the order of ``_assets``."""
        return [number for number, release in enumerate(self.description.releases, start=1) for _ in release.assets]

    def _assets(self) -> dict[str, tuple[Json, Path]]:
        """Every asset by its id: its description and its file."""
        files = [
            (release, name, path) for release in self.description.releases for name, path in release.assets.items()
        ]
        return {
            str(number): (self._asset_json(number, release, name, path), path)
            for number, (release, name, path) in enumerate(files, start=1)
        }

    def _asset_json(self, number: int, release: PublishedRelease, name: str, path: Path) -> Json:
        repository = self.description.repository
        page = f"https://github.com/{repository}/releases/download/{quote(release.tag, safe='')}"
        return {
            "id": number,
            "name": name,
            "state": "uploaded",
            "size": path.stat().st_size,
            "digest": f"sha256:{_sha256(path)}" if release.digests else None,
            "url": f"{self.api_url}/repos/{repository}/releases/assets/{number}",
            "browser_download_url": f"{page}/{quote(name, safe='')}",
        }

    def _asset(self, number: str, accept: str) -> Page:
        found = self._assets().get(number)
        if found is None:
            return _NOT_FOUND
        if accept != "application/octet-stream":
            return _json(found[0])
        return _moved(HTTPStatus.FOUND, f"{self.storage_url}/assets/{number}?signature=for-a-short-time")

    def _ref(self, name: str) -> Page:
        tag = name.removeprefix("tags/")
        for release in self.description.releases:
            if release.tag == tag:
                target = {"type": "commit", "sha": release.commit}
                if release.annotated:
                    target = {"type": "tag", "sha": tag_object_id(release)}
                return _json({"ref": f"refs/tags/{tag}", "object": target})
        return _NOT_FOUND

    def _tag_object(self, sha: str) -> Page:
        for release in self.description.releases:
            if release.annotated and tag_object_id(release) == sha:
                return _json({"sha": sha, "tag": release.tag, "object": {"type": "commit", "sha": release.commit}})
        return _NOT_FOUND

    def _attestations(self, digest: str, predicate_type: str | None) -> list[Json]:
        return [
            self._attestation(digest, number, stored)
            for number, stored in enumerate(self._held(digest))
            if stored.is_of(predicate_type)
        ]

    def _held(self, digest: str) -> Sequence[StoredBundle]:
        return {str(known): held for known, held in self.description.attestations.items()}.get(digest, ())

    def _attestation(self, digest: str, number: int, stored: StoredBundle) -> Json:
        inline = stored.delivery == "inline"
        return {
            "repository_id": self.description.repository_id,
            "bundle": json.loads(stored.bundle) if inline else None,
            "bundle_url": "" if inline else f"{self.storage_url}/bundles/{quote(digest, safe='')}/{number}?sig=short",
            "initiator": "user",
        }

    def _listed(
        self, entries: Sequence[Json], target: str, query: Mapping[str, str], within: str | None = None
    ) -> Page:
        """One page of ``entries``, with a Link to the next one if there is one."""
        page, length = int(query.get("page", "1")), min(int(query.get("per_page", "30")), self.per_page)
        chosen = list(entries[(page - 1) * length : page * length])
        headers = {}
        if page * length < len(entries):
            following = urlencode({**query, "page": str(page + 1)})
            address = f"{self.api_url}{target.partition('?')[0]}?{following}"
            headers["Link"] = f'<{address}>; rel="next", <{address}>; rel="last"'
        return _json({within: chosen} if within is not None else chosen, headers)


def tag_object_id(release: PublishedRelease) -> str:
    """The id (40 hex) under which an annotated tag's object is served; not git's own."""
    return hashlib.sha256(f"{release.tag} {release.commit}".encode()).hexdigest()[:40]


def _json(value: object, headers: Mapping[str, str] | None = None) -> Page:
    body = json.dumps(value).encode()
    etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
    return Page(HTTPStatus.OK, {"Content-Type": "application/json", "ETag": etag, **(headers or {})}, body)


def _moved(status: HTTPStatus, address: str) -> Page:
    return Page(status, {"Location": address}, b"")


def _sha256(path: Path) -> str:
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256_of(path: Path, size: int, changed_ns: int) -> str:
    """Hashed once as long as size and time of change stay: a disk image has gigabytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_NOT_FOUND = Page(HTTPStatus.NOT_FOUND, {"Content-Type": "application/json"}, b'{"message": "Not Found"}')
