"""in-toto statements: the payloads of DSSE envelopes that attestations sign.

Statement v1 (in-toto attestation framework, spec/v1/statement.md) and v0.1; nothing else is a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput
from builds.domain.printable import one_line
from builds.domain.provenance import REBUILD_BUILD_TYPE
from builds.domain.strict_json import load_object

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPES = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
MAX_STATEMENT_BYTES = 1024 * 1024
MAX_SUBJECTS = 4096

_ALGORITHM_NAMES = frozenset(Algorithm)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)


class MalformedStatement(MalformedInput):
    """A signed payload that is no in-toto statement of a version this portal knows."""

    code = "malformed-statement"
    default_todo = "Ask the publisher which tool signed this; the signature covers a payload nobody can judge."


@dataclass(frozen=True, slots=True)
class StatementSubject:
    """One subject: its name ("" when it has none) and those digests whose algorithm this portal knows."""

    name: str
    digests: frozenset[Digest]

    def covers(self, artifact: frozenset[Digest]) -> bool:
        """Whether one digest is the artifact's and none contradicts it.

        in-toto lets any matching algorithm decide; a subject whose sha256 fits and whose sha512 does not
        names two files, so it covers neither.
        """
        known = {digest.algorithm: digest for digest in artifact}
        shared = [digest for digest in self.digests if digest.algorithm in known]
        return bool(shared) and all(known[digest.algorithm] == digest for digest in shared)


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed: statement type, subjects, predicate type, and the predicate as it came."""

    type: str
    subjects: tuple[StatementSubject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    @property
    def source_commits(self) -> frozenset[str]:
        """Git commits that a SLSA provenance predicate names as its inputs (v1 and v0.2); empty for others."""
        definition = self.predicate.get("buildDefinition")
        inputs = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
        if not isinstance(inputs, list):
            inputs = self.predicate.get("materials")
        digests = [
            entry.get("digest") for entry in (inputs if isinstance(inputs, list) else ()) if isinstance(entry, dict)
        ]
        named = [digest.get("gitCommit") or digest.get("sha1") for digest in digests if isinstance(digest, dict)]
        return frozenset(commit for commit in named if isinstance(commit, str) and _COMMIT.fullmatch(commit))

    @property
    def is_rebuild(self) -> bool:
        """Whether it says of itself that it is a rebuilder's statement (docs/predicates/rebuild-v1.md)."""
        definition = self.predicate.get("buildDefinition")
        return isinstance(definition, dict) and definition.get("buildType") == REBUILD_BUILD_TYPE

    def subject_for(self, artifact: frozenset[Digest]) -> StatementSubject | None:
        """The first subject that covers the artifact."""
        return next((subject for subject in self.subjects if subject.covers(artifact)), None)


def parse_statement(payload: bytes, *, where: str = "payload") -> Statement:
    """Read a statement; ``MalformedStatement`` names what is wrong."""
    document = load_object(payload, max_bytes=MAX_STATEMENT_BYTES, where=where, error_type=MalformedStatement)
    statement_type = document.get("_type")
    if not isinstance(statement_type, str) or statement_type not in STATEMENT_TYPES:
        raise MalformedStatement(f"the statement type is {one_line(str(statement_type))!r}", where=where)
    predicate_type = document.get("predicateType")
    if not isinstance(predicate_type, str) or not predicate_type:
        raise MalformedStatement("the statement names no predicate type", where=where)
    subjects = document.get("subject")
    if not isinstance(subjects, list) or not subjects:
        raise MalformedStatement("the statement names no subject", where=where)
    if len(subjects) > MAX_SUBJECTS:
        raise MalformedStatement(f"the statement names more than {MAX_SUBJECTS} subjects", where=where)
    predicate = document.get("predicate")
    return Statement(
        type=statement_type,
        subjects=tuple(_subject(entry, where) for entry in subjects),
        predicate_type=one_line(predicate_type),
        predicate=predicate if isinstance(predicate, dict) else {},
    )


def _subject(entry: object, where: str) -> StatementSubject:
    if not isinstance(entry, dict) or not isinstance(entry.get("digest"), dict):
        raise MalformedStatement("a subject has no digest", where=where)
    name = entry.get("name") or entry.get("uri") or ""
    return StatementSubject(one_line(str(name)), frozenset(_known_digests(entry["digest"].items(), where)))


def _known_digests(entries: Iterable[tuple[str, object]], where: str) -> Iterable[Digest]:
    for algorithm, value in entries:
        if algorithm not in _ALGORITHM_NAMES:
            continue
        if not isinstance(value, str):
            raise MalformedStatement(f"the subject's {algorithm} is not text", where=where)
        try:
            yield Digest(Algorithm(algorithm), value)
        except MalformedInput as error:
            raise MalformedStatement(error.what, where=where) from error
