"""Comparison of what was published with what a rebuild made, component by component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from builds.domain.digest import Algorithm, Digest, FileDigests
from builds.domain.roles import Role


class RebuildOutcome(StrEnum):
    """What a succeeded rebuild says, per component and overall."""

    REPRODUCED = "reproduced"
    MISMATCHED = "mismatched"
    MISSING = "missing"


SAME_INPUT = "same input"
"""What a component reads that every rebuild has the published bytes of because it was only copied from an input."""


class Subject(StrEnum):
    """Which of the two a digest speaks of, when a component is published inside a container."""

    CONTENT = "content"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class PublishedComponent:
    """One component as its publisher gave it out.

    ``claimed`` is the manifest's digest, about ``claim_subject``; None when the manifest does not
    name the role. ``content`` are the digests of the component itself, ``container`` those of the
    file around it (None when it is published bare); ``content`` is None when the file is absent or
    unreadable, which is not the same as being empty.
    """

    role: Role
    claimed: Digest | None
    claim_subject: Subject
    content: FileDigests | None
    container: FileDigests | None

    @property
    def contradicts_manifest(self) -> bool:
        """The file is there and does not hash to what the manifest says."""
        if self.claimed is None:
            return False
        file = self.container if self.claim_subject is Subject.CONTAINER else self.content
        return file is not None and file.get(self.claimed.algorithm) != self.claimed

    @property
    def source_of_published(self) -> str:
        """What ``published`` is to be called: where the file is another one, only the manifest says it."""
        speaks_of_content = self.claim_subject is Subject.CONTENT
        return "manifest says" if self.contradicts_manifest and speaks_of_content else "published"

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm the manifest speaks in; sha256 where it is silent."""
        return self.claimed.algorithm if self.claimed is not None else Algorithm.SHA256

    @property
    def published(self) -> Digest | None:
        """The digest of the component itself that a rebuild is held against.

        The manifest's word when it speaks of the content, else the digest of the published file.
        """
        if self.claimed is not None and self.claim_subject is Subject.CONTENT:
            return self.claimed
        return self.content.get(self.algorithm) if self.content is not None else None


@dataclass(frozen=True, slots=True)
class ComponentComparison:
    """One row of the table: ``published`` and ``rebuilt`` are about the content, never a container."""

    role: Role
    algorithm: Algorithm
    published: Digest | None
    rebuilt: Digest | None
    outcome: RebuildOutcome
    file: Digest | None = None
    """What the published file hashes to where that is not what its manifest says; else None, also when not known."""


def compare_component(published: PublishedComponent, rebuilt: FileDigests | None) -> ComponentComparison:
    """Hold one rebuilt component against everything its publisher said or gave out about it.

    ``reproduced`` needs the rebuilt bytes to equal the manifest's digest *and* the published file,
    as far as each is known, and at least one of them to be known.
    """
    expected = published.published
    if rebuilt is None:
        outcome = RebuildOutcome.MISSING
    else:
        agrees_with_claim = expected is not None and rebuilt.get(expected.algorithm) == expected
        agrees_with_file = published.content is None or rebuilt == published.content
        agrees = agrees_with_claim and agrees_with_file
        outcome = RebuildOutcome.REPRODUCED if agrees else RebuildOutcome.MISMATCHED
    algorithm = published.algorithm
    return ComponentComparison(
        role=published.role,
        algorithm=algorithm,
        published=expected,
        rebuilt=rebuilt.get(algorithm) if rebuilt is not None else None,
        outcome=outcome,
        file=_contradicting_file(published),
    )


def _contradicting_file(published: PublishedComponent) -> Digest | None:
    found = published.content.get(published.algorithm) if published.content is not None else None
    return found if found != published.published else None


def compare(
    published: Iterable[PublishedComponent], rebuilt: Mapping[Role, FileDigests]
) -> tuple[ComponentComparison, ...]:
    """Compare every published component, in the order of ``Role``."""
    order = list(Role)
    rows = [compare_component(component, rebuilt.get(component.role)) for component in published]
    return tuple(sorted(rows, key=lambda row: order.index(row.role)))


def overall_outcome(rows: Iterable[ComponentComparison]) -> RebuildOutcome | None:
    """The outcome of a whole rebuild: a mismatch outweighs a missing file; None when nothing was compared."""
    outcomes = {row.outcome for row in rows}
    if RebuildOutcome.MISMATCHED in outcomes:
        return RebuildOutcome.MISMATCHED
    if RebuildOutcome.MISSING in outcomes:
        return RebuildOutcome.MISSING
    return RebuildOutcome.REPRODUCED if outcomes else None
