"""``manage.py verify_bundle``: verify one Sigstore bundle for one file. Uses no network and no database.

Exit 0: verified. 1: rejected, or signed by somebody else. 2: unreadable. 3: usage.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import traceback
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError

from attestations.domain.findings import Artifact, CheckState, Finding, judge_bundle
from attestations.domain.identity import WORKFLOW_FOLDER, is_commit
from attestations.domain.policy import GITHUB_ISSUER, ClauseState, PublisherPolicy
from attestations.domain.report import finding_document, signer_name
from attestations.domain.repository import Repository
from attestations.sigstore_verifier import (
    MAX_BUNDLE_BYTES,
    MAX_TRUST_ROOT_BYTES,
    BundleVerifier,
    TrustedKey,
    TrustRoot,
    read_public_key,
    read_trust_roots,
)
from attestations.vendored_roots import public_good
from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import PortalError
from builds.domain.evidence import AttestationState
from builds.domain.printable import one_line
from builds.pipeline.hashing import hash_file

USAGE = 3
_EXITS = {
    AttestationState.VERIFIED: 0,
    AttestationState.REJECTED: 1,
    AttestationState.WRONG_IDENTITY: 1,
    AttestationState.UNREADABLE: 2,
}
_MARKS = {
    CheckState.PASSED: "ok",
    CheckState.FAILED: "FAILED",
    CheckState.NOT_USED: "not used",
    CheckState.NOT_REACHED: "not reached",
    ClauseState.MET: "ok",
    ClauseState.UNMET: "FAILED",
    ClauseState.ABSENT: "FAILED",
    ClauseState.NOT_ASKED: "not asked",
}
_MAX_KEY_BYTES = 64 * 1024
_MAX_ARTIFACT_BYTES = 64 * 1024**3


class Command(BaseCommand):
    help = "Verify a Sigstore bundle for a file: signature, log, time and, when given, the expected publisher."
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("bundle", type=Path)
        about = parser.add_mutually_exclusive_group(required=True)
        about.add_argument("--artifact", type=Path, metavar="FILE", help="the file that should have been signed")
        about.add_argument("--digest", metavar="ALG:HEX", help="its digest: sha256, sha384 or sha512")
        parser.add_argument(
            "--trusted-root",
            type=Path,
            metavar="FILE",
            help="trusted_root.json, or one a line; by default the public-good one",
        )
        parser.add_argument("--key", type=Path, metavar="PEM", help="a public key that may sign without certificate")
        parser.add_argument("--identity", metavar="SAN", help="the certificate's subject name, exactly")
        parser.add_argument("--issuer", metavar="URL", help="the OIDC issuer, exactly")
        parser.add_argument("--repository", metavar="OWNER/NAME", help="the GitHub repository that was built")
        parser.add_argument("--workflow", metavar="PATH", help="the workflow that was started, .github/workflows/...")
        parser.add_argument("--signer", metavar="URI", help="a reusable workflow that may sign for it")
        parser.add_argument("--commit", metavar="SHA", help="the source commit")
        parser.add_argument("--json", action="store_true", help="print the finding as JSON")

    def run_from_argv(self, argv: list[str]) -> None:
        """As Django does, but usage errors exit 3: 1 and 2 say something about the bundle."""
        try:
            super().run_from_argv(argv)
        except CommandError:
            # With --traceback Django hands them on, and Python itself would exit 1.
            traceback.print_exc()
            sys.exit(USAGE)
        except SystemExit as stop:
            # argparse exits 2; this command itself leaves through sys.exit in ``handle``, with ``_Verdict``.
            if isinstance(stop, _Verdict) or not stop.code:
                raise
            sys.exit(USAGE)

    def handle(self, *_: object, **options: Any) -> None:
        _refuse_empty(options)
        try:
            keys = _keys(options)
            policy = _with_keys(_policy(options), keys)
            artifact = _artifact(options)
            verifier = BundleVerifier(_roots(options), keys)
            data = _read(options["bundle"], MAX_BUNDLE_BYTES)
        except PortalError as error:
            raise CommandError(f"{error.code}: {error}", returncode=USAGE) from error
        verification = verifier.verify(data, artifact.content)
        finding = judge_bundle(verification, artifact, policy, partial=True)
        if options["json"]:
            self.stdout.write(finding_document(finding).model_dump_json(indent=2))
        else:
            self._tell(finding, is_judged=policy is not None)
        raise _Verdict(_EXITS[finding.state])

    def _tell(self, finding: Finding, *, is_judged: bool) -> None:
        self.stdout.write(f"{finding.state.value}: {finding.reason}")
        root = finding.verification.trust_root
        if root is not None:
            self.stdout.write(f"trust root: {root.name} sha256:{root.sha256}")
        for step, state, detail in finding.checks:
            self.stdout.write(f"  {_MARKS[state]:<12} {step.value}{f': {detail}' if detail else ''}")
        for name, expected, found, clause_state in finding.clauses:
            self.stdout.write(f"  {_MARKS[clause_state]:<12} {name}: expected {expected}, found {found or 'nothing'}")
        if finding.state is AttestationState.VERIFIED and not is_judged:
            signer = signer_name(finding.verification.signer)
            self.stdout.write(
                f"NOT ASKED who signed it: {signer}. Anyone can make a valid signature;"
                " name --repository or --identity."
            )


class UnreadableFile(PortalError):
    """A path on the command line that leads to no readable regular file."""

    code: ClassVar[str] = "unreadable-file"
    default_todo: ClassVar[str] = "Name another file."


class _Verdict(SystemExit):
    """The exit status that says something about the bundle."""


def _policy(options: dict[str, Any]) -> PublisherPolicy | None:
    """The expected publisher as far as it was given; None when nothing was. ``CommandError`` for contradictions."""
    identity, issuer, repository = options["identity"], options["issuer"], options["repository"]
    if identity and repository:
        raise CommandError("give --identity or --repository, not both", returncode=USAGE)
    if identity and not issuer:
        raise CommandError("--identity needs --issuer: a name means nothing without who vouched", returncode=USAGE)
    _refuse_partial_names(options)
    narrowing = {name: options[name] for name in ("workflow", "signer", "commit") if options[name]}
    if narrowing and not repository and not identity:
        raise CommandError(f"--{' and --'.join(narrowing)}: give --repository or --identity too", returncode=USAGE)
    if issuer and not identity and not repository:
        raise CommandError("--issuer needs --identity or --repository", returncode=USAGE)
    if not identity and not repository:
        return None
    try:
        address = f"https://github.com/{Repository.parse(repository)}" if repository else ""
    except PortalError as error:
        raise CommandError(str(error), returncode=USAGE) from error
    return PublisherPolicy(
        issuer=issuer or GITHUB_ISSUER,
        repository=address,
        workflow=options["workflow"] or "",
        build_signer=options["signer"] or "",
        runner_environment="",
        predicate_types=(),
        san=identity or "",
        commit=options["commit"] or "",
    )


def _refuse_partial_names(options: dict[str, Any]) -> None:
    """A short commit or a workflow without its folder would fit nothing, and look like a wrong signer."""
    if options["commit"] and not is_commit(options["commit"]):
        raise CommandError("--commit: give the whole commit id, in lower case", returncode=USAGE)
    if options["workflow"] and not options["workflow"].startswith(WORKFLOW_FOLDER):
        raise CommandError(f"--workflow: give its path in the repository, {WORKFLOW_FOLDER}...", returncode=USAGE)


def _artifact(options: dict[str, Any]) -> Artifact:
    if options["digest"]:
        return Artifact(frozenset({Digest.parse(options["digest"])}))
    path = options["artifact"]
    digests = hash_file(path, check=_unstoppable, max_bytes=_MAX_ARTIFACT_BYTES)
    # npm names its packages by sha512 alone.
    with path.open("rb") as file:
        sha512 = Digest(Algorithm.SHA512, hashlib.file_digest(file, "sha512").hexdigest())
    return Artifact(frozenset({digests.sha256, digests.sha384, sha512}))


def _refuse_empty(options: dict[str, Any]) -> None:
    """An empty value is an unset variable of somebody's script: taken as not given, it would ask for less."""
    empty = sorted(name for name, value in options.items() if value == "")
    if empty:
        raise CommandError(f"--{' and --'.join(empty)}: the value is empty", returncode=USAGE)


def _with_keys(policy: PublisherPolicy | None, keys: list[TrustedKey]) -> PublisherPolicy | None:
    """Whoever names a key expects it, alone or instead of the named publisher, and no stranger's certificate."""
    if not keys:
        return policy
    alone = PublisherPolicy(runner_environment="", predicate_types=())
    return replace(policy or alone, keys=tuple(key.fingerprint for key in keys))


def _roots(options: dict[str, Any]) -> list[TrustRoot]:
    path = options["trusted_root"]
    return (
        read_trust_roots(one_line(path.name), _read(path, MAX_TRUST_ROOT_BYTES))
        if path is not None
        else [public_good()]
    )


def _keys(options: dict[str, Any]) -> list[TrustedKey]:
    path = options["key"]
    return [read_public_key(_read(path, _MAX_KEY_BYTES))] if path is not None else []


def _read(path: Path, limit: int) -> bytes:
    """The regular file, or one byte more than the limit, which its reader refuses; no pipe is waited on."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UnreadableFile("it is not a regular file", where=str(path))
            return file.read(limit + 1)
    except OSError as error:
        raise UnreadableFile(f"it cannot be read: {error.strerror}", where=str(path)) from error


def _unstoppable() -> None:
    """Hashing one file runs to its end."""
