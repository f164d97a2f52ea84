"""Who is expected to publish: a project's policy, compared with a signer clause by clause.

Every clause is evaluated and reported, whatever became of the others; a clause whose claim the certificate
does not make is not met.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Self

from attestations.domain.identity import KeyIdentity, SignerIdentity, WorkflowReference, is_commit
from attestations.domain.statement import Statement

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
GITHUB_HOSTED = "github-hosted"
SLSA_PROVENANCE_V1 = "https://slsa.dev/provenance/v1"
ANY = "any"


class ClauseState(StrEnum):
    """``absent``: the certificate does not say. ``not-asked``: the policy does not ask, so nothing is proven."""

    MET = "met"
    UNMET = "unmet"
    ABSENT = "absent"
    NOT_ASKED = "not-asked"

    @property
    def holds(self) -> bool:
        return self in {ClauseState.MET, ClauseState.NOT_ASKED}


class Clause(NamedTuple):
    """One clause as a table row: what was expected, what was found, and the state."""

    name: str
    expected: str
    found: str
    state: ClauseState

    @property
    def holds(self) -> bool:
        return self.state.holds


PREDICATE_CLAUSE = "predicate type"
COMMIT_CLAUSE = "source commit"


@dataclass(frozen=True, slots=True)
class PublisherPolicy:
    """The expected publisher of a project. Empty fields are not asked for, and are shown so.

    ``repository`` is an address (https://github.com/owner/name). ``ref`` and the ref in ``build_signer`` are
    patterns: ``*`` stands for anything but a slash, ``**`` for anything. Without ``build_signer`` the workflow
    that was started must have signed itself. ``keys`` are fingerprints of plain keys (sha256 of the
    SubjectPublicKeyInfo, hex) that may sign instead of a certificate.
    """

    issuer: str = GITHUB_ISSUER
    repository: str = ""
    workflow: str = ""
    ref: str = ""
    build_signer: str = ""
    runner_environment: str = GITHUB_HOSTED
    repository_id: str = ""
    owner_id: str = ""
    predicate_types: tuple[str, ...] = (SLSA_PROVENANCE_V1,)
    keys: tuple[str, ...] = ()
    san: str = ""
    """An exact subject alternative name, for signers that are no workflow."""
    commit: str = ""
    """The release's commit: the source must be exactly this."""

    def for_commit(self, commit: str) -> Self:
        return replace(self, commit=commit)

    @property
    def names_keys_only(self) -> bool:
        """Whether nobody but the holder of a plain key is expected; then no certificate is."""
        return bool(self.keys) and not self.repository and not self.san

    @property
    def missing(self) -> tuple[str, ...]:
        """What a policy must name before its yes means anything."""
        if self.names_keys_only:
            return ()
        wanted = {"issuer": self.issuer}
        if not self.san:
            wanted |= {"repository": self.repository, "workflow": self.workflow}
        return tuple(name for name, value in wanted.items() if not value)

    @property
    def digest(self) -> str:
        """sha256 of the policy's canonical JSON: changes when any clause does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def clauses(self, signer: SignerIdentity | KeyIdentity, statement: Statement | None) -> tuple[Clause, ...]:
        """Every clause evaluated; ``statement`` is None for a message signature, which has no predicate.

        A plain key says nothing of a source, so the commit is then looked for in what the key signed.
        """
        predicate = _any_of(PREDICATE_CLAUSE, self.predicate_types, statement.predicate_type if statement else "")
        if isinstance(signer, KeyIdentity):
            named = sorted(statement.source_commits) if statement else []
            found = self.commit if self.commit in named else ", ".join(named[:3])
            return (_key_clause(self.keys, signer), _equal(COMMIT_CLAUSE, self.commit, found), predicate)
        instead = (_key_instead_clause(self.keys),) if self.names_keys_only else ()
        return (*instead, *self._certificate_clauses(signer), predicate)

    def _certificate_clauses(self, signer: SignerIdentity) -> tuple[Clause, ...]:
        caller = signer.caller
        agree = not signer.contradicts_itself
        consistent = Clause(
            "claims agree",
            "older and newer claims say the same",
            "they say the same" if agree else "they contradict each other",
            ClauseState.MET if agree else ClauseState.UNMET,
        )
        return (
            _equal("OIDC issuer", self.issuer, signer.issuer),
            _equal("subject name", self.san, signer.san),
            _address("source repository", self.repository, signer.source_repository),
            _caller_repository(self.repository, caller.repository if caller is not None else ""),
            _equal("workflow", self.workflow, caller.path if caller is not None else ""),
            _matching("ref", self.ref, signer.source_ref),
            self._signer_clause(signer),
            _equal("runner environment", self.runner_environment, signer.get("runner_environment")),
            _equal(COMMIT_CLAUSE, self.commit, signer.source_commit),
            _equal("repository id", self.repository_id, signer.get("repository_id")),
            _equal("owner id", self.owner_id, signer.get("owner_id")),
            consistent,
        )

    def _signer_clause(self, signer: SignerIdentity) -> Clause:
        """The workflow that signed: the one that was started, unless the policy names another."""
        name = "build signer"
        if self.build_signer:
            state = _state(signer.signer_uri, _is_signer(self.build_signer, signer.signer_uri))
            return Clause(name, self.build_signer, signer.signer_uri, state)
        if not self.workflow:
            return self._signer_repository_clause(name, signer)
        config = signer.get("build_config_uri")
        # Certificates of before 2022-12 do not name the started workflow; then the signer is compared itself.
        same = signer.signer_uri == config if config else signer.caller is not None
        return Clause(name, "the started workflow itself", signer.signer_uri, _state(signer.signer_uri, same))

    def _signer_repository_clause(self, name: str, signer: SignerIdentity) -> Clause:
        """Without a workflow to compare with, at least nobody else's workflow may have signed."""
        if not self.repository:
            return Clause(name, ANY, signer.signer_uri, ClauseState.NOT_ASKED)
        found = WorkflowReference.parse(signer.signer_uri)
        same = found is not None and found.repository.lower() == self.repository.lower()
        return Clause(name, f"a workflow of {self.repository}", signer.signer_uri, _state(signer.signer_uri, same))


@lru_cache(maxsize=1024)
def matches(pattern: str, text: str) -> bool:
    """Whether ``*`` (anything but a slash) and ``**`` (anything) make the pattern the text.

    In linear time for each star, which a regular expression is not: tags with many dashes come from strangers.
    """
    reached = {0}
    for part in re.split(r"(\*\*|\*)", pattern):
        if part in {"*", "**"}:
            reached = _after_star(reached, text, crosses=part == "**")
        else:
            reached = {at + len(part) for at in reached if text.startswith(part, at)}
        if not reached:
            return False
    return len(text) in reached


def _after_star(reached: set[int], text: str, *, crosses: bool) -> set[int]:
    """Every place in the text that a star can lead to from those reached before it."""
    found, is_open = set(), False
    for at in range(len(text) + 1):
        # What was open before a slash stays open behind it for ``**`` only.
        is_open = at in reached or (is_open and (crosses or text[at - 1] != "/"))
        if is_open:
            found.add(at)
    return found


def _is_signer(pattern: str, uri: str) -> bool:
    """A pattern without ref takes any, but nothing else after the ``@``: ``x.yml@y.yml`` is another file than x.yml."""
    if "@" in pattern:
        return matches(pattern, uri)
    place, _, commit = uri.rpartition("@")
    return matches(f"{pattern}@refs/**", uri) or (is_commit(commit) and matches(pattern, place))


def _state(found: str, holds: bool) -> ClauseState:
    if holds:
        return ClauseState.MET
    return ClauseState.UNMET if found else ClauseState.ABSENT


def _equal(name: str, expected: str, found: str) -> Clause:
    if not expected:
        return Clause(name, ANY, found, ClauseState.NOT_ASKED)
    return Clause(name, expected, found, _state(found, found == expected))


def _address(name: str, expected: str, found: str) -> Clause:
    """Hosts and GitHub's names compare without case; everything else about an address is exact."""
    if not expected:
        return Clause(name, ANY, found, ClauseState.NOT_ASKED)
    return Clause(name, expected, found, _state(found, found.lower() == expected.lower()))


def _caller_repository(expected: str, found: str) -> Clause:
    """The started workflow lies in the audited repository: a fork's or a stranger's may check ours out."""
    return _address("workflow repository", expected, found)


def _matching(name: str, pattern: str, found: str) -> Clause:
    if not pattern:
        return Clause(name, ANY, found, ClauseState.NOT_ASKED)
    return Clause(name, pattern, found, _state(found, matches(pattern, found)))


def _any_of(name: str, accepted: tuple[str, ...], found: str) -> Clause:
    if not accepted:
        return Clause(name, ANY, found, ClauseState.NOT_ASKED)
    return Clause(name, " or ".join(accepted), found, _state(found, found in accepted))


def _key_instead_clause(accepted: tuple[str, ...]) -> Clause:
    """A policy that names only keys says nothing of certificates, which anybody can get: none is expected."""
    expected = " or ".join(f"sha256:{key}" for key in accepted)
    return Clause("public key", expected, "a certificate, no plain key", ClauseState.UNMET)


def _key_clause(accepted: tuple[str, ...], signer: KeyIdentity) -> Clause:
    expected = " or ".join(f"sha256:{key}" for key in accepted) or "a certificate, no plain key"
    return Clause(
        "public key",
        expected,
        f"sha256:{signer.fingerprint}",
        _state(signer.fingerprint, signer.fingerprint in accepted),
    )
