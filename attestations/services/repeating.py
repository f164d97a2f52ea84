"""The commands that repeat a check without this portal: GitHub's `gh` and Sigstore's `cosign`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from attestations.models import FindingRecord
from attestations.services.standing import ComponentStanding, ReleaseStanding, deciding
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Component, Release

_GITHUB = "https://github.com/"


@dataclass(frozen=True, slots=True)
class RepeatCommands:
    """Shell lines that fetch a bundle and its trust root and verify one file; paste them where the file lies."""

    role: Role
    lines: tuple[str, ...]


def commands_for(release: Release, standing: ReleaseStanding, portal: str) -> list[RepeatCommands]:
    """Commands for each component with a verified bundle; ``portal`` is this portal's address, without a slash."""
    files = {component.role: component for component in release.components.all()}
    return [
        RepeatCommands(entry.role, _lines(entry, files[entry.role], portal))
        for entry in standing.components
        if entry.state is AttestationState.VERIFIED
    ]


def _lines(entry: ComponentStanding, component: Component, portal: str) -> tuple[str, ...]:
    bundle = deciding(AttestationState.VERIFIED, entry.bundles)
    finding = bundle.finding if bundle is not None else None
    if bundle is None or finding is None:
        return ()
    target = component.file_name or component.role
    # A file may be named like an option, such as --check-claims=false; a path cannot be.
    target = f"./{target}" if target.startswith("-") else target
    name = f"{target}.sigstore.json"
    lines = [f"curl -fsS -o {_q(name)} {_q(f'{portal}/attestations/{bundle.sighting.bundle.sha256}/bundle.json')}"]
    if finding.trust_root:
        root = f"{portal}/trust-roots/{finding.trust_root_sha256}.json"
        lines.append(f"curl -fsS -o trusted_root.json {_q(root)}")
    if finding.repository.startswith(_GITHUB):
        lines.append(_gh(finding, target, name))
    if finding.issuer:
        lines.append(_cosign(finding, target, name))
    return tuple(lines)


def _gh(finding: FindingRecord, target: str, bundle: str) -> str:
    repository = finding.repository.removeprefix(_GITHUB)
    signer = finding.signer.removeprefix(_GITHUB).partition("@")[0]
    return (
        f"gh attestation verify {_q(target)} --bundle {_q(bundle)} --custom-trusted-root trusted_root.json"
        f" --repo {_q(repository)} --signer-workflow {_q(signer)} --source-digest {_q(finding.commit)}"
        f" --predicate-type {_q(finding.predicate_type)}"
    )


def _cosign(finding: FindingRecord, target: str, bundle: str) -> str:
    command = "verify-blob-attestation" if finding.predicate_type else "verify-blob"
    kind = f" --type {_q(finding.predicate_type)}" if finding.predicate_type else ""
    return (
        f"cosign {command} --bundle {_q(bundle)} --trusted-root trusted_root.json"
        f" --certificate-identity {_q(finding.signer)} --certificate-oidc-issuer {_q(finding.issuer)}"
        f"{kind} {_q(target)}"
    )


def _q(text: str) -> str:
    """Quoted: file names, claims and types come from strangers."""
    return shlex.quote(text)
