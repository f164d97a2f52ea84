"""The commands that repeat a check without this portal: GitHub's `gh` and Sigstore's `cosign`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from attestations.domain.policy import GITHUB_ISSUER
from attestations.models import ExpectedPublisher, FindingRecord
from attestations.services.standing import ReleaseStanding, deciding
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Component, Release
from builds.services.shell_lines import component_file, published_name

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
        target, unpack = _target(files[entry.role], finding)
        checks = _checks(finding, _as_found(finding), target)
        wrong = entry.state is AttestationState.WRONG_IDENTITY
        if wrong:
            passing = {check.lower() for check in checks}  # GitHub does not tell upper from lower case
            asked = _checks(finding, _expected(publisher, release, finding), target)
            checks = [check for check in asked if check.lower() not in passing]
        if checks:
            downloads = _downloads(bundle.sighting.bundle.sha256, finding, target, portal)
            found.append(RepeatCommands(entry.role, (*downloads, *unpack, *checks), must_fail=wrong))
    return found


_SIGNED = frozenset({AttestationState.VERIFIED, AttestationState.WRONG_IDENTITY})


def _as_found(finding: FindingRecord) -> _Expected:
    return _Expected(finding.repository, finding.signer, finding.commit, finding.issuer)


def _publisher_of(release: Release, standing: ReleaseStanding) -> ExpectedPublisher:
    """The project's; one that expects nobody where there is none, or where no component asks for it."""
    wrong = any(entry.state is AttestationState.WRONG_IDENTITY for entry in standing.components)
    stored = ExpectedPublisher.objects.filter(project=release.project_id).first() if wrong else None
    return stored or ExpectedPublisher()


def _expected(publisher: ExpectedPublisher, release: Release, finding: FindingRecord) -> _Expected:
    """The project's publisher, at the ref that the stranger's workflow ran from."""
    ref = finding.signer.partition("@")[2]
    workflow = publisher.build_signer or f"{publisher.repository}/{publisher.workflow}"
    signer = publisher.san or f"{workflow.partition('@')[0]}@{ref}"
    return _Expected(publisher.repository, signer, release.commit, publisher.issuer)


def _target(component: Component, finding: FindingRecord) -> tuple[str, list[str]]:
    """The file that was signed, and what takes it out of its container where that was not signed itself."""
    return (published_name(component), []) if finding.through else component_file(component)


def _bundle_name(target: str) -> str:
    return f"{target}.sigstore.json"


def _downloads(bundle_sha256: str, finding: FindingRecord, target: str, portal: str) -> list[str]:
    lines = [f"curl -fsS -o {_q(_bundle_name(target))} {_q(f'{portal}/attestations/{bundle_sha256}/bundle.json')}"]
    if finding.trust_root:
        root = f"{portal}/trust-roots/{finding.trust_root_sha256}.json"
        lines.append(f"curl -fsS -o trusted_root.json {_q(root)}")
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
    issuer = f" --cert-oidc-issuer {_q(expected.issuer)}" if expected.issuer != GITHUB_ISSUER else ""
    return (
        f"gh attestation verify {_q(target)} --bundle {_q(bundle)} --custom-trusted-root trusted_root.json"
        f" --repo {_q(repository)} --signer-workflow {_q(signer)} --source-digest {_q(expected.commit)}"
        f" --predicate-type {_q(finding.predicate_type)}{issuer}"
    )


def _cosign(finding: FindingRecord, expected: _Expected, target: str, bundle: str) -> str:
    command = "verify-blob-attestation" if finding.predicate_type else "verify-blob"
    kind = f" --type {_q(finding.predicate_type)}" if finding.predicate_type else ""
    # Other issuers do not fill the claim that this option asks for.
    commit = f" --certificate-github-workflow-sha {_q(expected.commit)}" if finding.issuer == GITHUB_ISSUER else ""
    return (
        f"cosign {command} --bundle {_q(bundle)} --trusted-root trusted_root.json"
        f" --certificate-identity {_q(expected.signer)} --certificate-oidc-issuer {_q(expected.issuer)}"
        f"{commit}{kind} {_q(target)}"
    )


def _q(text: str) -> str:
    """Quoted: file names, claims and types come from strangers."""
    return shlex.quote(text)
