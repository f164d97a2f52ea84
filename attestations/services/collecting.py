"""Where bundles come from: beside the assets of a directory, or from GitHub, asked digest by digest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

from attestations.domain.bundle_subjects import claimed_subjects
from attestations.domain.repository import Repository
from attestations.github import FoundAttestations
from attestations.models import Inquiry
from attestations.services.verification import artifact_of, record_sighting
from attestations.sigstore_verifier import MAX_BUNDLE_BYTES
from builds.domain.digest import Digest
from builds.domain.errors import LimitExceeded, PortalError
from builds.models import Component, Release

# How publishers and tools name the bundle of a file: the file's name with one of these after it.
BUNDLE_SUFFIXES = (".sigstore.json", ".sigstore", ".sigstore.jsonl", ".intoto.jsonl", ".bundle.json", ".bundle")
MAX_LINES = 100
MAX_BYTES = 16 * MAX_BUNDLE_BYTES


class TooManyBundles(LimitExceeded):
    """A file with more, or larger, bundles than any release has."""

    code: ClassVar[str] = "too-many-bundles"


class AttestationSource(Protocol):
    """What is asked for the attestations of a digest."""

    def attestations(self, repository: Repository, digest: Digest) -> FoundAttestations: ...


def collect_from_directory(release: Release, directory: Path) -> int:
    """Keep every bundle that lies in the directory, for the component it names; how many were found.

    A file that is too large to be a bundle is recorded as a question without an answer.
    """
    components = list(release.components.all())
    found = 0
    for path in sorted(directory.iterdir()):
        suffix = next((suffix for suffix in BUNDLE_SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is None or not path.is_file():
            continue
        beside = [component for component in components if component.file_name == path.name.removesuffix(suffix)]
        try:
            bundles = _bundles_in(path)
        except LimitExceeded as error:
            for component in beside:
                _record(component, f"file {path.name}", f"file {path.name}", error)
            continue
        for data in bundles:
            found += 1
            for role in _roles(data, beside, components):
                record_sighting(data, release, role, f"file {path.name}")
    return found


def _bundles_in(path: Path) -> list[bytes]:
    """One bundle, or one on each line (JSON Lines), none larger than bundles are."""
    bundles: list[bytes] = []
    is_lines = path.name.endswith(".jsonl")
    with path.open("rb") as file:
        pieces = iter(partial(file.readline if is_lines else file.read, MAX_BUNDLE_BYTES + 1), b"")
        # Piece by piece: a file of nothing but line ends would need eight times its size as a list.
        for number, piece in enumerate(pieces, start=1):
            if number > (MAX_LINES if is_lines else 1) or len(piece) > MAX_BUNDLE_BYTES:
                raise TooManyBundles(
                    f"the file holds more than {MAX_LINES} lines, or a bundle of more than {MAX_BUNDLE_BYTES} bytes",
                    where=path.name,
                )
            if piece.strip() or not is_lines:
                bundles.append(piece.rstrip(b"\r\n") if is_lines else piece)
            if sum(map(len, bundles)) > MAX_BYTES:
                raise TooManyBundles(f"the file's bundles have more than {MAX_BYTES} bytes", where=path.name)
    return bundles


def _roles(data: bytes, beside: list[Component], components: list[Component]) -> list[str]:
    """The components a bundle lies beside, or else claims to be about; "" keeps one that is about none.

    What it claims is not believed here: verification looks at the subjects again, once they are proven signed.
    """
    if beside:
        return [component.role for component in beside]
    claimed = claimed_subjects(data)
    about = [component.role for component in components if claimed & _all_digests(component)]
    return about or [""]


def _all_digests(component: Component) -> frozenset[Digest]:
    artifact = artifact_of(component)
    return artifact.content | artifact.container


def collect_from_github(release: Release, repository: Repository, github: AttestationSource) -> int:
    """Ask for every component by the digests it was published under; answers and failures are recorded.

    Raises the first failure after all that could be asked was, so that a caller knows when to ask again.
    """
    found = 0
    failure: PortalError | None = None
    for component in release.components.all():
        for digest in _published_digests(component):
            try:
                answer = github.attestations(repository, digest)
            except PortalError as error:
                failure = failure or error
                _record(component, str(digest), f"GitHub, {repository}", error)
                continue
            for data in answer.bundles:
                record_sighting(data, release, component.role, f"GitHub, {repository}")
            found += len(answer.bundles)
            _record(component, str(digest), f"GitHub, {repository}", len(answer.bundles))
    if failure is not None:
        raise failure
    return found


def _published_digests(component: Component) -> list[Digest]:
    """The file as published, and what is inside it when that is a container."""
    published = (component.container_sha256, component.sha256)
    return [Digest.sha256(value) for value in published if value]


def _record(component: Component, digest: str, source: str, answer: int | PortalError) -> None:
    """A question and its answer: how many bundles there were, or the named error that kept the answer away."""
    inquiry = Inquiry(release_id=component.release_id, role=component.role, digest=digest[:140], source=source[:300])
    if isinstance(answer, PortalError):
        inquiry.problem = answer.as_dict()
    else:
        inquiry.found = answer
    inquiry.save()
