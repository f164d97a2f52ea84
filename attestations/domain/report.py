"""A finding as a document: what the command prints as JSON and the API answers, in one shape."""

from __future__ import annotations

from datetime import datetime

from attestations.domain.findings import Finding
from attestations.domain.identity import KeyIdentity, SignerIdentity
from builds.domain.digest import sha256_text
from builds.domain.frozen import Frozen, Sha256Text


class CheckOut(Frozen):
    step: str
    state: str
    detail: str


class ClauseOut(Frozen):
    name: str
    expected: str
    found: str
    state: str


class LogOut(Frozen):
    """``index`` is null where it is larger than the database holds; ``integrated_at`` where no promise signs it."""

    kind: str
    index: int | None
    log_id: str
    inclusion: str
    integrated_at: datetime | None


class FindingDocument(Frozen):
    """One judgement of one bundle for one file. Claims are empty unless the signature held; times are UTC."""

    state: str
    reason: str
    verifier: str
    trust_root: str
    trust_root_digest: Sha256Text | None
    checks: list[CheckOut]
    clauses: list[ClauseOut]
    signer: str
    issuer: str
    repository: str
    commit: str
    ref: str
    workflow: str
    run_url: str
    runner_environment: str
    predicate_type: str
    subject_name: str
    through: str
    log: LogOut | None
    signed_at: datetime | None
    time_source: str


def finding_document(finding: Finding) -> FindingDocument:
    """The document of a finding that was just made."""
    verification = finding.verification
    root, log, statement = verification.trust_root, verification.log, verification.statement
    signer = verification.signer
    claims = signer if isinstance(signer, SignerIdentity) else SignerIdentity("", {})
    return FindingDocument(
        state=finding.state.value,
        reason=finding.reason,
        verifier=verification.verifier,
        trust_root=root.name if root is not None else "",
        trust_root_digest=sha256_text(root.sha256) if root is not None else None,
        checks=[CheckOut(step=step.value, state=state.value, detail=detail) for step, state, detail in finding.checks],
        clauses=[
            ClauseOut(name=name, expected=expected, found=found, state=state.value)
            for name, expected, found, state in finding.clauses
        ],
        signer=signer_name(signer),
        issuer=claims.issuer,
        repository=claims.source_repository,
        commit=claims.source_commit,
        ref=claims.source_ref,
        workflow=claims.caller.path if claims.caller is not None else "",
        run_url=claims.get("run_url"),
        runner_environment=claims.get("runner_environment"),
        predicate_type=statement.predicate_type if statement is not None else "",
        subject_name=finding.subject_name,
        through=str(finding.through) if finding.through is not None else "",
        log=LogOut(
            kind=log.kind,
            index=log.index,
            log_id=log.log_id,
            inclusion=log.inclusion,
            integrated_at=log.integrated_at,
        )
        if log is not None
        else None,
        signed_at=verification.signed_at,
        time_source=verification.time_source,
    )


def signer_name(signer: SignerIdentity | KeyIdentity | None) -> str:
    """A signer in one line: the workflow (or other name) of a certificate, or a key's fingerprint."""
    if isinstance(signer, KeyIdentity):
        return f"public key sha256:{signer.fingerprint}"
    return signer.signer_uri if signer is not None else ""
