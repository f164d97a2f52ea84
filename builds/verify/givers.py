"""Deciding about a launch measurement when nobody said which release it is of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from attestations.domain.mirror import MalformedMirror
from builds.domain.frozen import first_problem
from builds.domain.requests import ReleaseName
from builds.verify.checks import Trust, check_measurement, check_release
from builds.verify.evidence import Evidence
from builds.verify.findings import ALLOW, COULD_NOT_CHECK, Finding, State, exit_code
from builds.verify.mirror import Mirror
from builds.verify.walking import Givers

_MOST_TRIED = 10
"""Releases, the newest first; each is some requests."""


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
    mirror: Mirror, value: str, trust: Trust, now: datetime, *, release: ReleaseName | None, files: Path | None
) -> Judged:
    """The first release that gives the value and is allowed; without one, what speaks for not knowing comes first.

    One allowed release is enough: whatever gives this value started the same bytes.
    """
    givers = mirror.givers(value) if release is None else Givers((), more=False)
    names = [release] if release is not None else [_named(text) for text in givers.names]
    judged: list[Judged] = []
    for name in names[:_MOST_TRIED]:
        evidence = mirror.collect(name, now)
        found = check_value(name, value, evidence, trust, now, files=files)
        judged.append(Judged(f"{name.project}/{name.tag}", found))
        if exit_code(found) == ALLOW:
            return judged[-1]
    first = next((entry for entry in judged if exit_code(entry.findings) == COULD_NOT_CHECK), judged[0])
    if givers.more or len(givers.names) > _MOST_TRIED:
        reason = f"Only the newest {len(judged)} releases that give it were tried; name another with --release."
        # Among older ones may be one that is allowed: this denies nothing.
        older = Finding("older releases", State.UNCHECKED, reason, "nobody")
        return Judged(first.subject, [*_undecided(first.findings), older])
    return first


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
