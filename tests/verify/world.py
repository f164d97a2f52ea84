"""A release on disk with a real measurement, and evidence of it that a portal and rebuilders really signed."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attestations.domain.summary import (
    CountedRebuild,
    InputAttestation,
    PolicyReference,
    ReleaseName,
    SummarySubject,
    VerdictSummary,
)
from builds.domain.consensus import Tally
from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.domain.launch import LaunchConfiguration
from builds.domain.requests import ReleaseName as Name
from builds.domain.roles import BootMode, Role
from builds.pipeline.measurement import MeasurementInputs, measure
from builds.pipeline.signing import FileSigner
from builds.verify.cli import main
from builds.verify.evidence import Evidence, EvidenceFile, Kind, evidence_of, write_evidence
from tests.domain.test_manifest import document, measurement
from tests.support.operators import new_signer
from tests.support.statements import digest_hex, encoded, measured, statement_document, subject
from tests.support.summaries import POLICY, allowed

TAG = "v1.0.0"
COMMIT = "c" * 40
COMMAND_LINE = "console=ttyS0"
FOUR = LaunchConfiguration(BootMode.DIRECT_KERNEL, 4, "EPYC-v4", 1, "qemu")
NAMES = {
    Role.KATANA: "katana",
    Role.KERNEL: "vmlinuz",
    Role.INITRD: "initrd.img",
    Role.OVMF: "ovmf.fd",
    Role.DISK: "disk.raw",
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha384(data: bytes) -> str:
    return hashlib.sha384(data).hexdigest()


def publish(directory: Path, firmware: Path) -> str:
    """Write a release that agrees with itself; its launch measurement."""
    directory.mkdir()
    for role, name in NAMES.items():
        (directory / name).write_bytes(firmware.read_bytes() if role is Role.OVMF else f"bytes of {role}".encode())
    inputs = MeasurementInputs(directory / "ovmf.fd", directory / "vmlinuz", directory / "initrd.img", COMMAND_LINE)
    value = measure(inputs, FOUR).hex
    data = {role: (directory / name).read_bytes() for role, name in NAMES.items()}
    components = {f"{role}_sha256": sha256(data[role]) for role in (Role.KERNEL, Role.INITRD, Role.OVMF)}
    components |= {"katana_binary_sha384": sha384(data[Role.KATANA]), "disk_image_sha256": sha256(data[Role.DISK])}
    manifest = document(
        katana_version=TAG,
        git_commit=COMMIT,
        components=components,
        measurement={"sev_snp_hex": value, "vcpus": 4, "vcpu_type": "EPYC-v4"},
    )
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "expected-measurement.json").write_text(json.dumps(measurement(measurement=value)))
    (directory / "expected-measurement.txt").write_text(f"{value}\n")
    return value


@dataclass
class World:
    """The files, the keys, and what each signs; a test changes a part and runs the program."""

    root: Path
    value: str
    portal: FileSigner = field(default_factory=new_signer)
    signers: dict[str, FileSigner] = field(default_factory=dict)
    statements: list[tuple[str, bytes]] = field(default_factory=list)
    passed: bool = True
    time: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1))

    @property
    def files(self) -> Path:
        return self.root / "release"

    @property
    def evidence_file(self) -> Path:
        return self.root / "evidence.json"

    def copied_to(self, root: Path) -> World:
        """The same release and keys, whose files and lists are a test's own."""
        copy = replace(self, root=root, signers=dict(self.signers), statements=list(self.statements))
        shutil.copytree(self.files, copy.files)
        return copy

    def key_file(self, signer: FileSigner) -> str:
        path = self.root / f"{signer.public.fingerprint}.pub"
        path.write_text(signer.public.pem)
        return str(path)

    def rebuilt_by(self, name: str, operator: str | None = None, **parts: Any) -> bytes:
        """A statement about exactly these files unless ``parts`` say otherwise; it joins the evidence."""
        signer = self.signers.setdefault(name, new_signer())
        data = {role: (self.files / file).read_bytes() for role, file in NAMES.items()}
        subjects = [subject(role, len(found), sha256(found), sha384(found)) for role, found in data.items()]
        said: dict[str, Any] = {"subjects": subjects, "tag": TAG, "measurements": [measured(self.value)], **parts}
        statement = statement_document(signer.public.name, **said)
        signed = signer.sign(IN_TOTO_PAYLOAD, encoded(statement)).as_bytes()
        self.statements.append((operator or name, signed))
        return signed

    def other_subjects(self) -> list[dict[str, Any]]:
        return [subject(role, 4, digest_hex("a"), digest_hex("b", 96)) for role in NAMES]

    def verdict(self, **changed: Any) -> VerdictSummary:
        subjects = tuple(
            SummarySubject(role.value, sha256(data), sha384(data))
            for role, data in ((role, (self.files / name).read_bytes()) for role, name in NAMES.items())
        )
        inputs = tuple(InputAttestation("https://portal.example/s", sha256(data)) for _, data in self.statements)
        unmet = () if self.passed else ("reproduced-by-enough-operators",)
        summary = allowed(
            time=self.time,
            release=ReleaseName("enclave", TAG, COMMIT),
            policy=PolicyReference.of(POLICY, "https://portal.example/policy"),
            inputs=inputs,
            subjects=subjects,
            tally=Tally(2, len({name for name, _ in self.statements}), 0, 0),
            passed=self.passed,
            unmet=unmet,
            rebuilds=tuple({sha256(data): self.counted(name, data) for name, data in self.statements}.values()),
        )
        return replace(summary, **changed)

    def counted(self, operator: str, data: bytes) -> CountedRebuild:
        """A statement as the portal names it in its verdict."""
        held = json.loads(data)
        payload = json.loads(base64.b64decode(held.get("dsseEnvelope", held)["payload"]))
        name = payload["predicate"]["runDetails"]["builder"]["id"].partition(";")[2]
        return CountedRebuild(sha256(data), base64.urlsafe_b64decode(f"{name}=").hex(), operator)

    def evidence(self, verdict: VerdictSummary | None = None, *, signer: FileSigner | None = None) -> Evidence:
        payload = (verdict or self.verdict()).encode()
        envelope = (signer or self.portal).sign(IN_TOTO_PAYLOAD, payload)
        bundle = envelope.as_bundle(self.portal.public.hint)
        manifest = (self.files / "manifest.json").read_bytes()
        files = [
            EvidenceFile.of(Kind.DOCUMENT, "/documents/1", manifest),
            EvidenceFile.of(Kind.VERDICT, "/verdicts/1", bundle),
            EvidenceFile.of(Kind.POLICY, "/policies/1", POLICY.encode()),
            EvidenceFile.of(Kind.PORTAL_KEY, "/portal.pub", self.portal.public.pem.encode()),
            *(EvidenceFile.of(Kind.STATEMENT, "/statements/1", data, name) for name, data in self.statements),
            *(
                EvidenceFile.of(Kind.REBUILDER_KEY, "/rebuilder-keys/1", signer.public.pem.encode(), name)
                for name, signer in self.signers.items()
            ),
        ]
        return evidence_of("https://portal.example", Name(project="enclave", tag=TAG), datetime.now(UTC), files)

    def save(self, evidence: Evidence | None = None) -> None:
        write_evidence(evidence or self.evidence(), self.evidence_file)

    def run(self, *arguments: str, portal_key: bool = True) -> int:
        """``tee-portal-verify release`` on the evidence as saved, however old it is; the exit code."""
        age = [] if {"--max-age", "--any-age"} & set(arguments) else ["--any-age"]
        return self.main(*age, *arguments, portal_key=portal_key)

    def main(self, *arguments: str, portal_key: bool = True) -> int:
        """The same, with these options alone."""
        return main(self.arguments(*arguments, portal_key=portal_key))

    def arguments(self, *more: str, portal_key: bool = True) -> list[str]:
        """The usual ones with ``more``, which may say otherwise of a place."""
        given = ["--portal-key", self.key_file(self.portal)] if portal_key else []
        places = {"--files": self.files, "--evidence": self.evidence_file}
        usual = [part for name, path in places.items() if name not in more for part in (name, str(path))]
        return ["release", f"enclave/{TAG}", *usual, *given, *more]

    def pin(self, *names: str) -> Sequence[str]:
        return [part for name in names for part in ("--rebuilder-key", self.key_file(self.signers[name]))]

    def pin_named(self, *names: str) -> Sequence[str]:
        """The keys under the user's own names for their operators."""
        return [f"--rebuilder-key={name}={self.key_file(self.signers[name])}" for name in names]


type Rewrite = Callable[[dict[str, Any]], object]


def rewrite(path: Path, change: Rewrite) -> None:
    """Edit a JSON document in place."""
    held = json.loads(path.read_bytes())
    change(held)
    path.write_text(json.dumps(held))
