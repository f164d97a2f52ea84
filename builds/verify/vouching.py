"""What a checkpoint in the evidence says of its verdict: that it was the newest at the checkpoint's moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from attestations.domain.mirror import Checkpoint, MeasurementsDocument, Ref, ReleaseDocument, ReleaseEntry, parse
from attestations.domain.summary import parse_summary
from builds.domain.dsse import parse_envelope
from builds.domain.errors import PortalError
from builds.pipeline.signing import SignatureMismatch, VerifyingKey, read_public_key
from builds.verify.evidence import Evidence, EvidenceFile, Kind, MalformedEvidence
from builds.verify.findings import Finding, State
from builds.verify.signatures import SignedVerdict
from builds.verify.walking import CLOCKS_APART, find_release, read_release, read_root, signed_checkpoint

_AXIS: Final = "checkpoint"


@dataclass(frozen=True, slots=True)
class Vouched:
    """A checkpoint whose signature holds and that names the evidence's verdict as the newest.

    ``measurements`` is what the portal computed from the release's files; None where the evidence does not have it.
    """

    checkpoint: Checkpoint
    measurements: MeasurementsDocument | None


@dataclass(frozen=True, slots=True)
class Vouching:
    """What came of the checkpoint. ``vouched`` is None unless all of it was checked and holds."""

    vouched: Vouched | None = None
    findings: tuple[Finding, ...] = ()


def read_vouching(evidence: Evidence, key: VerifyingKey | None, now: datetime) -> Vouching:
    """Hold the evidence's checkpoint against the user's key; evidence without one has no finding about it."""
    file = evidence.only(Kind.CHECKPOINT)
    if file is None:
        return Vouching()
    if key is None:
        return _not(State.UNCHECKED, "Give the portal's key, had by another way: --portal-key FILE", "nobody")
    said_by = f"portal key sha256:{key.fingerprint}"
    try:
        checkpoint, _ = signed_checkpoint(file.data, key, where=file.address)
        entry, document, measured = _way(evidence, checkpoint)
    except SignatureMismatch:
        return _not(State.FAILED, "The checkpoint was not signed with the key that you gave.", said_by)
    except PortalError as error:
        return _not(State.UNCHECKED, f"It does not lead to this release: {error}", "nobody")
    state, reason = _says(checkpoint, entry, document, evidence.only(Kind.VERDICT), now)
    if state is not State.OK:
        return _not(state, reason, said_by)
    return Vouching(Vouched(checkpoint, measured), (Finding(_AXIS, State.OK, reason, said_by),))


def by_an_earlier_key(signed: SignedVerdict, evidence: Evidence) -> SignedVerdict:
    """A verdict that a vouched checkpoint names, where another key signed it than the checkpoint.

    The portal signs a verdict when it changes, so that one of before its key was replaced is by the key of then. The
    checkpoint leads to these very bytes: they are the word of the key that the user gave, whoever signed them first.
    """
    file, verdict = evidence.only(Kind.PORTAL_KEY), evidence.only(Kind.VERDICT)
    if file is None or verdict is None:
        return signed
    try:
        earlier = read_public_key(file.data.decode("ascii", "replace"), where=file.address)
        envelope = parse_envelope(verdict.data, where=verdict.address)
        earlier.verify(envelope)
        summary = parse_summary(envelope.payload, where=verdict.address)
    except PortalError:
        return signed
    reason = f"Signed with sha256:{earlier.fingerprint}, an earlier key, by the word of the checkpoint."
    return SignedVerdict(summary, replace(signed.signature, state=State.OK, reason=reason))


def _says(
    checkpoint: Checkpoint, entry: ReleaseEntry, document: ReleaseDocument, verdict: EvidenceFile | None, now: datetime
) -> tuple[State, str]:
    """What a checkpoint that leads to the release says of the evidence's verdict."""
    named = document.only("verdict")
    number = f"Number {checkpoint.sequence} of {checkpoint.issued_at:%Y-%m-%d %H:%M} UTC"
    if checkpoint.issued_at > now + CLOCKS_APART:
        return State.FAILED, f"{number}, which is in the future: set the clock."
    if verdict is None or named is None:
        return State.UNCHECKED, f"{number} names no signed verdict of this release."
    if verdict.sha256 != named.ref.sha256:
        return State.FAILED, f"{number} names another verdict: this one was replaced."
    if not entry.judged:
        return State.UNCHECKED, f"{number}: the portal had still to judge evidence that came since."
    return State.OK, f"{number} names this verdict as the newest."


def _not(state: State, reason: str, said_by: str) -> Vouching:
    return Vouching(None, (Finding(_AXIS, state, reason, said_by),))


def _way(
    evidence: Evidence, checkpoint: Checkpoint
) -> tuple[ReleaseEntry, ReleaseDocument, MeasurementsDocument | None]:
    held: dict[str, EvidenceFile] = {file.sha256: file for file in evidence.of_kind(Kind.INDEX)}

    def fetch(ref: Ref) -> bytes:
        file = held.get(ref.sha256)
        if file is None:
            raise MalformedEvidence(f"it lacks sha256:{ref.sha256} of the mirror's index", where="evidence")
        return file.data

    root = read_root(checkpoint, fetch)
    entry = find_release(root, evidence.release, fetch)
    if entry is None:
        raise MalformedEvidence("the checkpoint's tree has no such release", where="evidence")
    document = read_release(entry, fetch)
    wanted = document.measurements
    if wanted is None or wanted.sha256 not in held:
        return entry, document, None
    measured = parse(MeasurementsDocument, fetch(wanted), where="measurements")
    if (measured.project, measured.tag) != (document.project, document.tag):
        raise MalformedEvidence("the measurements are of another release", where="evidence")
    return entry, document, measured
