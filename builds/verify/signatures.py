"""Signatures of evidence: the portal's over its verdict, each rebuilder's over its statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from attestations.domain.summary import VerdictSummary, parse_summary
from builds.domain.dsse import IN_TOTO_PAYLOAD, Envelope, MalformedEnvelope, parse_envelope, parse_rebuilders_envelope
from builds.domain.errors import PortalError
from builds.domain.provenance import RebuildStatement, parse_rebuild_statement
from builds.pipeline.hashing import open_regular
from builds.pipeline.signing import MAX_KEY_BYTES, SignatureMismatch, UnusableKey, VerifyingKey, read_public_key
from builds.verify.evidence import Evidence, EvidenceFile, Kind
from builds.verify.findings import Finding, State


@dataclass(frozen=True, slots=True)
class PinnedKey:
    """A rebuilder's key that the user vouches for; ``operator`` is the user's own name for whose it is, or ""."""

    key: VerifyingKey
    operator: str


@dataclass(frozen=True, slots=True)
class SignedVerdict:
    """The verdict of the evidence, and what its signature is worth.

    ``summary`` is None when it cannot be read, or when it is by another key than the user's.
    """

    summary: VerdictSummary | None
    signature: Finding

    @property
    def trusted(self) -> VerdictSummary | None:
        """The verdict as the portal's own word; None while that was not checked."""
        return self.summary if self.signature.state is State.OK else None


@dataclass(frozen=True, slots=True)
class Vote:
    """One rebuilder's statement whose signature holds."""

    statement: RebuildStatement
    key: VerifyingKey
    operator: str
    """As the evidence says, "" when it does not: good for taking two keys for one operator's, for nothing else."""
    sha256: str


def key_from(path: Path) -> VerifyingKey:
    """A public key in PEM, also behind a link, as secrets are mounted. Raises ``UnusableKey`` or ``UnreadableFile``."""
    with open_regular(path.resolve()) as file:
        text = file.read(MAX_KEY_BYTES).decode("ascii", "replace")
    try:
        return read_public_key(text, where=str(path))
    except UnusableKey as error:
        todo = "Give the public key as PEM: ECDSA on P-256 or Ed25519."
        raise UnusableKey(error.what, where=error.where, todo=todo) from error


def read_verdict(evidence: Evidence, portal_key: VerifyingKey | None) -> SignedVerdict:
    """The evidence's verdict, held against the key that the user gave; no key of the evidence is tried."""
    axis = "verdict signature"
    file = evidence.only(Kind.VERDICT)
    if file is None:
        return SignedVerdict(None, Finding(axis, State.UNCHECKED, "The evidence holds no signed verdict.", "nobody"))
    said_by = f"portal key sha256:{portal_key.fingerprint}" if portal_key is not None else "nobody"
    try:
        envelope = _in_toto(parse_envelope(file.data, where=file.address), file)
        # Before anything in it is read: a stranger's verdict is neither judged nor quoted.
        if portal_key is not None:
            portal_key.verify(envelope)
        summary = parse_summary(envelope.payload, where=file.address)
    except SignatureMismatch:
        reason = "The verdict was not signed with the key that you gave, and is not read."
        return SignedVerdict(None, Finding(axis, State.FAILED, reason, said_by))
    except PortalError as error:
        return SignedVerdict(None, Finding(axis, State.UNCHECKED, f"It cannot be read: {error}", "nobody"))
    if portal_key is None:
        reason = "Give the portal's key, had by another way than this evidence: --portal-key FILE"
        return SignedVerdict(summary, Finding(axis, State.UNCHECKED, reason, said_by))
    reason = f"Signed for {summary.release.project}/{summary.release.tag} by {summary.verifier_id}."
    return SignedVerdict(summary, Finding(axis, State.OK, reason, said_by))


def read_votes(evidence: Evidence, pinned: Iterable[PinnedKey]) -> tuple[list[Vote], list[Finding]]:
    """Every statement whose signature holds under the key that it names, and a finding for each other one."""
    keys, problems = _keys(evidence, pinned)
    votes: list[Vote] = []
    # Each once: evidence may hold the same statement as often as it likes.
    for file in {file.sha256: file for file in evidence.of_kind(Kind.STATEMENT)}.values():
        axis = f"statement of {file.operator or 'an unnamed operator'}"
        try:
            envelope = _in_toto(parse_rebuilders_envelope(file.data, where=file.address), file)
            statement = parse_rebuild_statement(envelope.payload, where=file.address)
            key = keys.get(statement.builder_id)
            if key is None:
                reason = f"The evidence lacks its key {statement.builder_id}."
                problems.append(Finding(axis, State.UNCHECKED, reason, "nobody"))
                continue
            key.verify(envelope)
        except SignatureMismatch as error:
            problems.append(Finding(axis, State.FAILED, f"It was changed or is not theirs: {error.what}.", "nobody"))
        except PortalError as error:
            problems.append(Finding(axis, State.UNCHECKED, f"It cannot be read: {error}", "nobody"))
        else:
            votes.append(Vote(statement, key, file.operator or "", file.sha256))
    return votes, problems


def _keys(evidence: Evidence, pinned: Iterable[PinnedKey]) -> tuple[Mapping[str, VerifyingKey], list[Finding]]:
    """Keys by their own names: whoever brings a key, a statement names by digest which one is its."""
    found = {entry.key.name: entry.key for entry in pinned}
    problems = []
    for file in evidence.of_kind(Kind.REBUILDER_KEY):
        try:
            key = read_public_key(file.data.decode("ascii", "replace"), where=file.address)
        except UnusableKey as error:
            problems.append(Finding("rebuilder key", State.UNCHECKED, str(error), "nobody"))
        else:
            found[key.name] = key
    return found, problems


def _in_toto(envelope: Envelope, file: EvidenceFile) -> Envelope:
    if envelope.payload_type != IN_TOTO_PAYLOAD:
        raise MalformedEnvelope("the payload is no in-toto statement", where=file.address)
    return envelope
