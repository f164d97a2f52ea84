"""The user's own files: read and hashed once, then held against what was signed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, NoReturn

from attestations.domain.summary import SummarySubject, VerdictSummary
from builds.domain.digest import FileDigests
from builds.domain.errors import LimitExceeded, PortalError
from builds.domain.likeness import listed
from builds.domain.printable import one_line
from builds.domain.requests import ReleaseName
from builds.domain.roles import Role
from builds.pipeline.measurement import MAX_BOOT_FILE_BYTES, MAX_FIRMWARE_BYTES
from builds.pipeline.published_release import Asset, Outside, PublishedRelease
from builds.pipeline.release_directory import (
    is_companion,
    is_named_like_part,
    is_part_beside,
    read_release_directory,
)
from builds.verify.evidence import Evidence, Kind
from builds.verify.findings import YOU, Finding, State
from builds.verify.signatures import Vote

_ADDED = (
    "The verdict does not speak of {name}, which may hold more than what was published in it."
    " Put the published file in its place."
)
MAX_ASSET_BYTES = 8 * 1024**3
"""What a portal takes without being told otherwise."""
_LARGEST: Mapping[Role, int] = {
    Role.OVMF: MAX_FIRMWARE_BYTES,
    Role.KERNEL: MAX_BOOT_FILE_BYTES,
    Role.INITRD: MAX_BOOT_FILE_BYTES,
}
"""What is larger can be measured by nobody."""
_RAISE = "If the release is that large, give --max-file-size."


class CommitUnknown(PortalError):
    """The files do not say which commit they were built from, and no verdict names one."""

    code: ClassVar[str] = "commit-unknown"
    default_todo: ClassVar[str] = "Save evidence that holds a signed verdict."


@contextmanager
def local_release(
    directory: Path, name: ReleaseName, commit: str | None, sizes: Mapping[Role, int], most_bytes: int
) -> Iterator[PublishedRelease]:
    """The release in a directory as it was downloaded; its paths hold while the context is open.

    No component is read further than its signed size, and no file further than ``most_bytes``.

    Raises ``MissingFile``, ``UnreadableFile`` and what the documents' readers raise.
    """

    def unknown(_: str) -> NoReturn:
        raise CommitUnknown("nothing says which commit this release is of", where=str(directory))

    outside = Outside(name.tag, commit, unknown)
    with TemporaryDirectory(prefix="tee-portal-verify-") as work:
        yield read_release_directory(
            directory,
            most_bytes,
            outside=outside,
            work=Path(work),
            check=lambda: None,
            max_role_bytes={**_LARGEST, **sizes},
        )


def signed_sizes(
    votes: Iterable[Vote], verdict: VerdictSummary | None, own: Collection[str], most_bytes: int
) -> Mapping[Role, int]:
    """How many bytes the components have that a checked verdict names: by statements of the same digests that it
    names, or that a key among the fingerprints ``own`` signed. Where they differ the largest stands; one
    of more than ``most_bytes`` is no bound.
    """
    if verdict is None:
        return {}
    named = {subject.name: (subject.sha256, subject.sha384) for subject in verdict.subjects}
    inputs = {entry.sha256 for entry in verdict.inputs}
    sizes: dict[Role, int] = {}
    for vote in votes:
        if vote.sha256 not in inputs and vote.key.fingerprint not in own:
            continue
        for role, content in vote.statement.components.items():
            if named.get(role.value) == (content.sha256.hex, content.sha384.hex):
                sizes[role] = max(content.size, sizes.get(role, 0))
    return {role: size for role, size in sizes.items() if size <= most_bytes}


def contents(release: PublishedRelease) -> Mapping[Role, FileDigests]:
    """Each component whose bytes are here."""
    return {
        role: asset.published.content for role, asset in release.assets.items() if asset.published.content is not None
    }


def held_against(
    release: PublishedRelease, subjects: Iterable[SummarySubject], said_by: str, sizes: Mapping[Role, int]
) -> list[Finding]:
    """A finding for each subject of the verdict, and one for each file here that it does not speak of."""
    found: list[Finding] = []
    named: set[Role] = set()
    contained: set[Role] = set()
    for subject in subjects:
        role_name, _, container = subject.name.partition("/")
        role = Role(role_name)
        (contained if container else named).add(role)
        found.append(_held(release, role, subject, said_by, sizes, of_container=bool(container)))
    found += [
        Finding(_around(role), State.UNCHECKED, _ADDED.format(name=one_line(asset.file_name, 60)), said_by)
        for role, asset in release.assets.items()
        if asset.published.container is not None and role not in contained
    ]
    unnamed = "The verdict does not speak of this file."
    found += [
        Finding(f"file {role}", State.UNCHECKED, unnamed, said_by) for role in release.assets if role not in named
    ]
    return found


def _around(role: Role) -> str:
    """The axis of the file around a component: the name that a verdict gives it is whoever wrote the verdict's."""
    return f"file around {role}"


def _held(
    release: PublishedRelease,
    role: Role,
    subject: SummarySubject,
    said_by: str,
    sizes: Mapping[Role, int],
    *,
    of_container: bool,
) -> Finding:
    axis = _around(role) if of_container else f"file {role}"
    asset = release.assets.get(role)
    if asset is None:
        return Finding(axis, State.UNCHECKED, f"There is no file for {role} in the directory.", YOU)
    if asset.problem is not None:
        return _unread(axis, asset, asset.problem, said_by, sizes)
    mine = asset.published.container if of_container else asset.published.content
    if mine is None and of_container:
        return Finding(axis, State.NOTED, "You hold what was published inside it, not the file itself.", YOU)
    if mine is None:
        return Finding(axis, State.UNCHECKED, f"There is no file for {role} in the directory.", YOU)
    if (mine.sha256.hex, mine.sha384.hex) != (subject.sha256, subject.sha384):
        reason = f"{asset.file_name} hashes to {mine.sha256}, the verdict is about sha256:{subject.sha256}."
        return Finding(axis, State.FAILED, reason, said_by)
    return Finding(axis, State.OK, f"{asset.file_name} is {mine.sha256}", said_by)


def _unread(axis: str, asset: Asset, problem: PortalError, said_by: str, sizes: Mapping[Role, int]) -> Finding:
    """What has more bytes than were signed is another file; what only passes a limit may be the right one."""
    if not isinstance(problem, LimitExceeded):
        return Finding(axis, State.UNCHECKED, str(problem), YOU)
    name, size = one_line(asset.file_name, 60), sizes.get(asset.published.role)
    if size is not None and not asset.container_kind:
        reason = f"{name} is larger than the {size} bytes that were signed for it."
        return Finding(axis, State.FAILED, reason, said_by)
    return Finding(axis, State.UNCHECKED, f"{name} was not read: {problem.what}. {_RAISE}", YOU)


def not_looked_at(directory: Path, release: PublishedRelease) -> list[Finding]:
    """What lies there and was not read: whoever boots that boots what nobody checked.

    What is named like a part of a release is what a script boots or measures by, so that nothing is allowed beside it.
    """
    document = release.document_name
    others = sorted(entry.name for entry in directory.iterdir() if not is_part_beside(document, entry.name))
    parts = [name for name in others if is_named_like_part(name)]
    rest = [name for name in others if name not in parts]
    found = []
    if parts:
        reason = f"Named like parts of a release and not checked: {_quoted(parts)}. {document} speaks of other files."
        found.append(Finding("other files", State.UNCHECKED, f"{reason} Move them away.", YOU))
    if rest:
        found.append(Finding("other files", State.NOTED, f"Not looked at: {_quoted(rest)}.", YOU))
    return found


def _quoted(names: Iterable[str]) -> str:
    return listed(one_line(name, 60) for name in names)


def documents(directory: Path, release: PublishedRelease, evidence: Evidence) -> list[Finding]:
    """Whether the release's documents agree with its files and each other, and are those that the portal read."""
    found = [Finding("documents", State.FAILED, sentence, YOU) for sentence in release.contradictions]
    published = evidence.only(Kind.DOCUMENT)
    mine = hashlib.sha256(release.document_bytes).hexdigest()
    if published is None:
        found.append(Finding("documents", State.UNCHECKED, "The evidence lacks the release's document.", "nobody"))
    elif published.sha256 != mine:
        reason = f"Your {release.document_name} is sha256:{mine}, the portal's is sha256:{published.sha256}."
        found.append(Finding("documents", State.FAILED, reason, "the evidence, unsigned"))
    if not found:
        name = release.document_name
        beside = sorted(entry.name for entry in directory.iterdir() if is_companion(name, entry.name))
        compared = f", and with {' and '.join(beside)} on the measurement" if beside else ""
        found.append(Finding("documents", State.OK, f"{name} agrees with the files{compared}.", YOU))
    return found
