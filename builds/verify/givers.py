"""Deciding about a launch measurement: of the release or the project that the user expects, and looked up without."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from attestations.domain.mirror import MalformedMirror
from builds.domain.frozen import first_problem
from builds.domain.requests import ReleaseName
from builds.verify.checks import Trust, check_measurement, check_release
from builds.verify.evidence import Evidence, MalformedEvidence
from builds.verify.findings import ALLOW, COULD_NOT_CHECK, Finding, State, exit_code
from builds.verify.mirror import Mirror, NotPublishedHere
from builds.verify.walking import Givers

_MOST_TRIED = 10
"""Releases, the newest first; each is some requests."""


@dataclass(frozen=True, slots=True)
class Meant:
    """Whose image the user expects: one release's, any of a project's, or nothing was said."""

    release: ReleaseName | None = None
    project: str | None = None

    def check(self, evidence: Evidence) -> ReleaseName:
        """The release that evidence is of; ``MalformedEvidence`` for that of another project than was expected."""
        if self.project not in {None, evidence.project}:
            raise MalformedEvidence(f"it is of project {evidence.project}, not of {self.project}", where="evidence")
        return self.release or evidence.release

    def unsaid(self) -> list[Finding]:
        """A look-up allows nothing: any project may give a value and be allowed, and only the user knows whose."""
        if self.release is not None or self.project is not None:
            return []
        reason = "You did not say whose image you expect: add --release PROJECT/TAG, or --project NAME for any of its."
        return [Finding("expected image", State.UNCHECKED, reason, "nobody")]


@dataclass(frozen=True, slots=True)
class Judged:
    """The findings that decide, and of which release they are."""

    subject: str
    findings: list[Finding]


def check_value(
    name: ReleaseName, value: str, evidence: Evidence, trust: Trust, now: datetime, *, files: Path | None
) -> list[Finding]:
    """Every finding about a measurement of a release, recomputed from files where they are given."""
    if files is not None:
        return check_release(name, files, evidence, trust, now, value=value)
    return check_measurement(name, value, evidence, trust, now)


def judge_givers(
    mirror: Mirror, value: str, trust: Trust, now: datetime, *, meant: Meant, files: Path | None
) -> Judged:
    """The first release that gives the value and is allowed; without one, what speaks for not knowing comes first.

    One allowed release of those that are meant is enough: whatever gives this value started the same bytes.
    """
    givers = _givers(mirror, value, meant)
    judged: list[Judged] = []
    for name in givers.names[:_MOST_TRIED]:
        evidence = mirror.collect(_named(name), now)
        found = check_value(meant.check(evidence), value, evidence, trust, now, files=files)
        judged.append(Judged(name, found))
        if exit_code(found) == ALLOW:
            return Judged(name, [*found, *meant.unsaid()])
    first = next((entry for entry in judged if exit_code(entry.findings) == COULD_NOT_CHECK), judged[0])
    if givers.more or len(givers.names) > _MOST_TRIED:
        reason = f"Only the newest {len(judged)} releases that give it were tried; name another with --release."
        # Among older ones may be one that is allowed: this denies nothing.
        older = Finding("older releases", State.UNCHECKED, reason, "nobody")
        return Judged(first.subject, [*_undecided(first.findings), older, *meant.unsaid()])
    return Judged(first.subject, [*first.findings, *meant.unsaid()])


def _givers(mirror: Mirror, value: str, meant: Meant) -> Givers:
    """Those that are meant; ``NotPublishedHere`` when no release of the project gives the value."""
    if meant.release is not None:
        return Givers((f"{meant.release.project}/{meant.release.tag}",), more=False)
    found = mirror.givers(value)
    if meant.project is None:
        return found
    own = tuple(name for name in found.names if name.partition("/")[0] == meant.project)
    if not own:
        what = f"no release of {meant.project} is known to give it; this is not a mismatch"
        todo = "Name the release: --release PROJECT/TAG" if found.more else None
        raise NotPublishedHere(what, where=value, todo=todo)
    return Givers(own, found.more)


def _undecided(findings: list[Finding]) -> list[Finding]:
    """What speaks against one release does not speak against a value that others give too."""
    return [
        Finding(entry.axis, State.NOTED, entry.reason, entry.said_by) if entry.state is State.FAILED else entry
        for entry in findings
    ]


def _named(text: str) -> ReleaseName:
    project, _, tag = text.partition("/")
    try:
        return ReleaseName(project=project, tag=tag)
    except ValidationError as error:
        raise MalformedMirror(first_problem(error)[:300], where=text[:200]) from error
