"""The commands that repeat a check without this portal: GitHub's `gh`, Sigstore's `cosign`, and `openssl`."""

from __future__ import annotations

from dataclasses import dataclass

from attestations.domain.policy import GITHUB_ISSUER
from attestations.domain.summary import VERIFICATION_SUMMARY
from attestations.models import ExpectedPublisher, FindingRecord, VerdictRecord
from attestations.services.standing import ReleaseStanding, deciding
from builds.domain.evidence import AttestationState
from builds.domain.quoting import quoted
from builds.domain.roles import Role
from builds.models import Component, Release
from builds.pipeline.signing import read_public_key
from builds.services.shell_lines import Target, published_path, target_of

_GITHUB = "https://github.com/"


@dataclass(frozen=True, slots=True)
class RepeatCommands:
    """Shell lines that fetch a bundle and its trust root and verify one file; paste them where the file lies."""

    role: Role
    lines: tuple[str, ...]
    must_fail: bool
    """Somebody else signed it: the verifying lines ask for the expected publisher, and refuse as this portal does."""


@dataclass(frozen=True, slots=True)
class _Expected:
    """Whom the commands ask for; ``signer`` is a workflow's address with its ref, or another subject name."""

    repository: str
    signer: str
    commit: str
    issuer: str


def commands_for(release: Release, standing: ReleaseStanding, portal: str) -> list[RepeatCommands]:
    """Commands for each component that a valid signature is about; ``portal`` is this address, without a slash.

    Where somebody else signed it, only those that ask for what is wrong: none asks for a repository's number.
    """
    files = {component.role: component for component in release.components.all()}
    publisher = _publisher_of(release, standing)
    found = []
    for entry in standing.components:
        bundle = deciding(entry.state, entry.bundles)
        if bundle is None or bundle.finding is None or entry.state not in _SIGNED:
            continue
        finding = bundle.finding
        signed = _target(files[entry.role], finding)
        target = signed.path
        checks = _checks(finding, _as_found(finding), target)
        wrong = entry.state is AttestationState.WRONG_IDENTITY
        if wrong:
            passing = {check.lower() for check in checks}  # GitHub does not tell upper from lower case
            asked = _checks(finding, _expected(publisher, release, finding), target)
            checks = [check for check in asked if check.lower() not in passing]
        if checks:
            downloads = _downloads(bundle.sighting.bundle.sha256, finding, target, portal)
            found.append(RepeatCommands(entry.role, (*downloads, *signed.unpack, *checks), must_fail=wrong))
    return found


_SIGNED = frozenset({AttestationState.VERIFIED, AttestationState.WRONG_IDENTITY})


def _as_found(finding: FindingRecord) -> _Expected:
    return _Expected(finding.repository, finding.signer, finding.commit, finding.issuer)


def _publisher_of(release: Release, standing: ReleaseStanding) -> ExpectedPublisher:
    """The project's; one that expects nobody where there is none, or where no component asks for it."""
    wrong = any(entry.state is AttestationState.WRONG_IDENTITY for entry in standing.components)
    stored = getattr(release.project, "expected_publisher", None) if wrong else None
    return stored or ExpectedPublisher()


def _expected(publisher: ExpectedPublisher, release: Release, finding: FindingRecord) -> _Expected:
    """The project's publisher, at the ref that the stranger's workflow ran from."""
    ref = finding.signer.partition("@")[2]
    workflow = publisher.build_signer or f"{publisher.repository}/{publisher.workflow}"
    signer = publisher.san or f"{workflow.partition('@')[0]}@{ref}"
    return _Expected(publisher.repository, signer, release.commit, publisher.issuer)


def _target(component: Component, finding: FindingRecord) -> Target:
    """The file that was signed, and what takes it out of its container where that was not signed itself."""
    return Target(published_path(component)) if finding.through else target_of(component)


def _bundle_name(target: str) -> str:
    return f"{target}.sigstore.json"


def _downloads(bundle_sha256: str, finding: FindingRecord, target: str, portal: str) -> list[str]:
    lines = [
        f"curl -fsS -o {quoted(_bundle_name(target))} {quoted(f'{portal}/attestations/{bundle_sha256}/bundle.json')}"
    ]
    if finding.trust_root:
        root = f"{portal}/trust-roots/{finding.trust_root_sha256}.json"
        lines.append(f"curl -fsS -o trusted_root.json {quoted(root)}")
    return lines


def _checks(finding: FindingRecord, expected: _Expected, target: str) -> list[str]:
    lines = []
    if finding.repository.startswith(_GITHUB):
        lines.append(_gh(finding, expected, target, _bundle_name(target)))
    if finding.issuer:
        lines.append(_cosign(finding, expected, target, _bundle_name(target)))
    return lines


def _gh(finding: FindingRecord, expected: _Expected, target: str, bundle: str) -> str:
    repository = expected.repository.removeprefix(_GITHUB)
    signer = expected.signer.removeprefix(_GITHUB).partition("@")[0]
    # Without this option gh expects GitHub's own; enterprises have others.
    issuer = f" --cert-oidc-issuer {quoted(expected.issuer)}" if expected.issuer != GITHUB_ISSUER else ""
    return (
        f"gh attestation verify {quoted(target)} --bundle {quoted(bundle)} --custom-trusted-root trusted_root.json"
        f" --repo {quoted(repository)} --signer-workflow {quoted(signer)} --source-digest {quoted(expected.commit)}"
        f" --predicate-type {quoted(finding.predicate_type)}{issuer}"
    )


def _cosign(finding: FindingRecord, expected: _Expected, target: str, bundle: str) -> str:
    command = "verify-blob-attestation" if finding.predicate_type else "verify-blob"
    kind = f" --type {quoted(finding.predicate_type)}" if finding.predicate_type else ""
    # Other issuers do not fill the claim that this option asks for.
    commit = f" --certificate-github-workflow-sha {quoted(expected.commit)}" if finding.issuer == GITHUB_ISSUER else ""
    return (
        f"cosign {command} --bundle {quoted(bundle)} --trusted-root trusted_root.json"
        f" --certificate-identity {quoted(expected.signer)} --certificate-oidc-issuer {quoted(expected.issuer)}"
        f"{commit}{kind} {quoted(target)}"
    )


@dataclass(frozen=True, slots=True)
class VerdictCheck:
    """How to verify a signed verdict: shell lines that fetch it and its key, cosign's, and what openssl needs."""

    fetch: tuple[str, ...]
    cosign: str
    bundle: str
    key: str
    algorithm: str


_KEY_FILE = "portal.pub"


def verdict_check(record: VerdictRecord, release: Release, portal: str) -> VerdictCheck | None:
    """For the record as fetched from ``portal``, held against a published file; None for one that nobody signed."""
    if record.key is None or not record.payload_sha256:
        return None
    known = [component for component in release.components.all() if component.size is not None]
    # Any of its subjects does; the smallest file is the quickest to hash.
    smallest = min(known, key=lambda component: component.container_size or component.size or 0, default=None)
    subject = quoted(published_path(smallest)) if smallest is not None else "FILE"
    bundle = f"{record.payload_sha256}.vsa.sigstore.json"
    return VerdictCheck(
        fetch=(
            f"curl -fsSO {quoted(f'{portal}/verdicts/{bundle}')}",
            f"curl -fsS -o {_KEY_FILE} {quoted(f'{portal}/portal-keys/{record.key.fingerprint}.pub')}",
        ),
        cosign=(
            f"cosign verify-blob-attestation --bundle {bundle} --key {_KEY_FILE} --insecure-ignore-tlog=true"
            f" --type {VERIFICATION_SUMMARY} {subject}"
        ),
        bundle=bundle,
        key=_KEY_FILE,
        algorithm=read_public_key(record.key.pem).algorithm.value,
    )
