"""A release held against its evidence: every axis by itself, and nothing rounded up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from attestations.domain.policy_statement import parse_policy
from attestations.domain.summary import VerdictSummary
from builds.domain.errors import PortalError
from builds.domain.requests import ReleaseName
from builds.domain.roles import Role
from builds.pipeline.published_release import PublishedRelease
from builds.pipeline.signing import VerifyingKey
from builds.verify import votes as counting
from builds.verify.evidence import Evidence, Kind, MalformedEvidence
from builds.verify.findings import Finding, State
from builds.verify.launches import agreed_launches, stated_launch
from builds.verify.local_files import (
    MAX_ASSET_BYTES,
    contents,
    documents,
    held_against,
    local_release,
    not_looked_at,
    signed_sizes,
)
from builds.verify.measuring import WantedLaunch, check_measurements, computed_for, contradicted, gives, signed_for
from builds.verify.signatures import PinnedKey, SignedVerdict, read_verdict, read_votes
from builds.verify.vouching import Vouched, by_an_earlier_key, read_vouching
from builds.verify.walking import CLOCKS_APART

_PUBLISHER = "attested-by-expected-publisher"


@dataclass(frozen=True, slots=True)
class Trust:
    """What the user believes and asks for.

    Without ``max_age`` a checkpoint's own limit holds, and ``takes_any_age`` says that an old verdict will do too.
    ``min_operators`` None asks for the number that the signed verdict's policy needs.
    """

    portal_key: VerifyingKey | None = None
    pinned: tuple[PinnedKey, ...] = ()
    min_operators: int | None = None
    max_age: timedelta | None = None
    takes_any_age: bool = False
    max_file_bytes: int = MAX_ASSET_BYTES
    launch: WantedLaunch = field(default_factory=WantedLaunch)


def check_release(
    name: ReleaseName, directory: Path, evidence: Evidence, trust: Trust, now: datetime, *, value: str | None = None
) -> list[Finding]:
    """Every finding about the files in a directory; with ``value`` also whether they give this measurement.

    Raises named errors for what cannot be read at all.
    """
    signed, _, findings = _check_verdict(name, evidence, trust, now)
    if signed.signature.state is State.FAILED:
        # Whoever forged a verdict may have made the files too; to unpack and hash them would decide nothing.
        return [*findings, Finding("files", State.UNCHECKED, "Not read: the verdict is by another key.", "nobody")]
    votes, problems = read_votes(evidence, trust.pinned)
    commit = signed.summary.release.commit if signed.summary is not None else None
    own = {entry.key.fingerprint for entry in trust.pinned}
    sizes = signed_sizes(votes, signed.trusted, own, trust.max_file_bytes)
    with local_release(directory, name, commit, sizes, trust.max_file_bytes) as release:
        findings += _files(release, signed, sizes)
        findings += [*documents(directory, release, evidence), *not_looked_at(directory, release)]
        files = {role: counting.both(digests) for role, digests in contents(release).items()}
        unreadable = (frozenset(release.assets) | _named_roles(signed)) - frozenset(files)
        expected = counting.Expected(name, commit or release.commit, files, unreadable)
        counted = counting.count(votes, trust.pinned, signed.trusted, expected, needed=trust.min_operators, now=now)
        findings += [*counted.findings, *problems]
        agreed = agreed_launches(counted, stated_launch(release))
        findings += agreed.unusable
        if value is None:
            findings += check_measurements(release, agreed, trust.launch)
            findings += contradicted(release, counted.against)
        else:
            findings.append(gives(release, agreed, trust.launch, value))
    return findings


def check_measurement(name: ReleaseName, value: str, evidence: Evidence, trust: Trust, now: datetime) -> list[Finding]:
    """Every finding about a measurement when the files are not here: who signed it for which launch.

    The statements are then held against the files that the signed verdict names. What a checkpoint's tree says that the
    portal computed counts where the user counts rebuilders by the portal's word too, for launches of this release.
    """
    signed, vouched, findings = _check_verdict(name, evidence, trust, now)
    votes, problems = read_votes(evidence, trust.pinned)
    summary = signed.summary
    if summary is None:
        return [*findings, Finding("measurement", State.UNCHECKED, "No verdict names the files it is of.", "nobody")]
    files = {
        role: (subject.sha256, subject.sha384)
        for subject in summary.subjects
        for role in Role
        if subject.name == role.value
    }
    expected = counting.Expected(name, summary.release.commit, files)
    counted = counting.count(votes, trust.pinned, signed.trusted, expected, needed=trust.min_operators, now=now)
    agreed = agreed_launches(counted)
    found = signed_for(agreed, value)
    if found.state is not State.OK and vouched is not None and vouched.measurements is not None and not trust.pinned:
        found = computed_for(vouched.measurements, agreed, value) or found
    return [*findings, *counted.findings, *problems, *agreed.unusable, found]


def _named_roles(signed: SignedVerdict) -> frozenset[Role]:
    subjects = signed.summary.subjects if signed.summary is not None else ()
    return frozenset(Role(subject.name.partition("/")[0]) for subject in subjects)


def _check_verdict(
    name: ReleaseName, evidence: Evidence, trust: Trust, now: datetime
) -> tuple[SignedVerdict, Vouched | None, list[Finding]]:
    check_meant(name, evidence)
    signed = read_verdict(evidence, trust.portal_key)
    vouching = read_vouching(evidence, trust.portal_key, now)
    if vouching.vouched is not None and signed.signature.state is State.FAILED:
        signed = by_an_earlier_key(signed, evidence)
    judged = judge_verdict(signed, name, trust, now, vouching.vouched)
    findings = [signed.signature, *vouching.findings, *judged, *_policy(evidence, signed)]
    return signed, vouching.vouched, findings


def check_meant(name: ReleaseName, evidence: Evidence) -> None:
    """Return for evidence of this release; ``MalformedEvidence`` for that of another."""
    if evidence.release != name:
        said = f"{evidence.project}/{evidence.tag}"
        raise MalformedEvidence(f"it is of {said}, not of {name.project}/{name.tag}", where="evidence")


def judge_verdict(
    signed: SignedVerdict, name: ReleaseName, trust: Trust, now: datetime, vouched: Vouched | None = None
) -> list[Finding]:
    """What the signed verdict decides, for which release, and how old it is: since it was signed, or since a checkpoint
    named it as the newest.
    """
    summary = signed.summary
    if summary is None:
        return [Finding("verdict", State.UNCHECKED, "There is none that could be read and believed.", "nobody")]
    said_by = "the portal" if signed.trusted is not None else "the portal, unchecked"
    about = summary.release
    if (about.project, about.tag) != (name.project, name.tag):
        what = f"{about.project}/{about.tag}" if signed.trusted is not None else "another release"
        return [Finding("verdict", State.FAILED, f"It is about {what}.", said_by)]
    return [
        _decision(summary, said_by, trusted=signed.trusted is not None),
        _freshness(summary, said_by, trust, now, vouched, trusted=signed.trusted is not None),
        _publisher(summary, said_by, trusted=signed.trusted is not None),
    ]


def _decision(summary: VerdictSummary, said_by: str, *, trusted: bool) -> Finding:
    tally = summary.tally
    counts = f"{tally.reproduced} reproduced of {tally.needed} needed, {tally.contradicting} contradict"
    if not summary.passed:
        return Finding("verdict", State.FAILED, f"Deny: {', '.join(summary.unmet)}. {counts}.", said_by)
    if not trusted:
        return Finding("verdict", State.UNCHECKED, "It says allow; who says it was not checked.", said_by)
    return Finding("verdict", State.OK, f"Allow: commit {summary.release.commit}, {counts}.", said_by)


def _freshness(
    summary: VerdictSummary,
    said_by: str,
    trust: Trust,
    now: datetime,
    vouched: Vouched | None,
    *,
    trusted: bool,
) -> Finding:
    axis, max_age = "freshness", trust.max_age
    when, what = f"The verdict is of {summary.time:%Y-%m-%d %H:%M} UTC", "an older one"
    if summary.time > now + CLOCKS_APART:
        return Finding(axis, State.FAILED, f"{when}, which is in the future: set the clock.", said_by)
    age = now - summary.time
    if vouched is not None:
        checkpoint = vouched.checkpoint
        when, what = f"{when}, and stood at {checkpoint.issued_at:%Y-%m-%d %H:%M} UTC", "an older checkpoint"
        age = now - checkpoint.issued_at
        if max_age is None and not checkpoint.has_expired(now):
            state = State.OK if trusted else State.UNCHECKED
            until = f"{checkpoint.expires_at:%Y-%m-%d %H:%M} UTC"
            return Finding(axis, state, f"{when}; the checkpoint may be relied on until {until}.", said_by)
    if max_age is None and trust.takes_any_age:
        return Finding(axis, State.NOTED, f"{when}. With --max-age {what} would be denied.", said_by)
    if max_age is None:
        reason = f"{when}. Say how old it may be: --max-age DURATION, or --any-age."
        return Finding(axis, State.UNCHECKED, reason, "nobody")
    if age > max_age:
        return Finding(axis, State.FAILED, f"{when}, older than {_words(max_age)}.", said_by)
    state = State.OK if trusted else State.UNCHECKED
    return Finding(axis, state, f"{when}, not older than {_words(max_age)}.", said_by)


def _words(age: timedelta) -> str:
    hours, rest = divmod(int(age.total_seconds()), 3600)
    return f"{hours} hours" if not rest else f"{int(age.total_seconds())} seconds"


def _publisher(summary: VerdictSummary, said_by: str, *, trusted: bool) -> Finding:
    if _PUBLISHER in summary.unmet:
        return Finding("publisher", State.FAILED, "The expected publisher did not attest every file.", said_by)
    if not trusted:
        return Finding("publisher", State.UNCHECKED, "Nothing that was checked says who published the files.", said_by)
    return Finding("publisher", State.OK, "The expected publisher attested every file.", said_by)


def _policy(evidence: Evidence, signed: SignedVerdict) -> list[Finding]:
    """Whether the policy that is here is the one that the verdict was held against."""
    if signed.summary is None:
        return []
    file, named = evidence.only(Kind.POLICY), signed.summary.policy.sha256
    if file is None:
        return [Finding("policy", State.UNCHECKED, f"The evidence lacks the policy sha256:{named}.", "nobody")]
    if file.sha256 != named:
        reason = f"The evidence's policy is sha256:{file.sha256}, the verdict's is sha256:{named}."
        return [Finding("policy", State.FAILED, reason, "the portal")]
    try:
        policy = parse_policy(file.data, where=file.address)
    except PortalError as error:
        return [Finding("policy", State.UNCHECKED, str(error), "nobody")]
    publishers = ", ".join(entry.repository for entry in policy.expected_publishers) or "nobody"
    reason = f"{policy.needed_operators} operators; {len(policy.accepted_opaque_inputs)} opaque inputs accepted"
    said_by = "the portal" if signed.trusted is not None else "the portal, unchecked"
    state = State.OK if signed.trusted is not None else State.UNCHECKED
    return [Finding("policy", state, f"{reason}; publisher {publishers}.", said_by)]


def _files(release: PublishedRelease, signed: SignedVerdict, sizes: Mapping[Role, int]) -> Sequence[Finding]:
    """Against what the portal signed; without its signature an equal digest shows nothing, an unequal one does."""
    if signed.summary is None:
        return [Finding("files", State.UNCHECKED, "There is no verdict to hold them against.", "nobody")]
    said_by = "the portal" if signed.trusted is not None else "the portal, unchecked"
    found = held_against(release, signed.summary.subjects, said_by, sizes)
    if signed.trusted is not None:
        return found
    return [
        Finding(entry.axis, State.UNCHECKED if entry.state is State.OK else entry.state, entry.reason, entry.said_by)
        for entry in found
    ]
