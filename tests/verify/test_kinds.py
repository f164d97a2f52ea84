"""What kind of file the evidence says it is nobody signed: a rebuild is what the verdict or the user's keys say is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from attestations.domain.summary import InputAttestation, VerdictSummary
from builds.pipeline.measurement import MeasurementInputs, measure
from builds.verify.evidence import EvidenceFile, Kind
from tests.support.statements import measured
from tests.verify.world import FOUR, World, sha256

EVIL = "console=ttyS0 init=/bin/sh"


@pytest.fixture
def findings(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, str]]]:
    return lambda: json.loads(capsys.readouterr().out)["findings"]


def evil_launch(world: World) -> dict[str, Any]:
    files = world.files
    inputs = MeasurementInputs(files / "ovmf.fd", files / "vmlinuz", files / "initrd.img", EVIL)
    return {**measured(measure(inputs, FOUR).hex), "name": "evil", "commandLine": EVIL}


def bundle_of(envelope: bytes, **material: Any) -> bytes:
    """The same signature in a Sigstore bundle."""
    held = {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material}
    return json.dumps({**held, "dsseEnvelope": json.loads(envelope)}).encode()


def relabelled(world: World, *, certificate: bool) -> VerdictSummary:
    """Two bundles of a publisher whose payload is a rebuild of its own keys, verified by the portal as bundles, and
    held by the evidence as statements; the verdict that the portal signed.
    """
    honest = world.verdict()
    genuine, world.statements = world.statements, []
    for name in ("mallory", "trudy"):
        world.rebuilt_by(name, operator="publisher", measurements=[measured(world.value), evil_launch(world)])
    material = {"certificate": {"rawBytes": base64.b64encode(b"x").decode()}} if certificate else {}
    bundles = [(name, bundle_of(data, **material)) for name, data in world.statements]
    world.statements = [*genuine, *bundles]
    verified = [
        InputAttestation(f"https://portal.example/attestations/{sha256(data)}/bundle.json", sha256(data))
        for _, data in bundles
    ]
    return world.verdict(inputs=(*honest.inputs, *verified), rebuilds=honest.rebuilds, tally=honest.tally)


@pytest.mark.parametrize("certificate", [True, False])
def test_a_publishers_bundle_that_the_evidence_calls_a_statement_is_no_rebuild(
    world: World, findings: Callable[[], list[dict[str, str]]], *, certificate: bool
) -> None:
    world.save(world.evidence(relabelled(world, certificate=certificate)))
    assert world.run("--json", "--command-line", EVIL) == 1
    said = [entry for entry in findings() if entry["axis"] == "measurement"]
    assert "another first program than the image's init" in said[0]["reason"]
    assert not [entry for entry in said if EVIL in entry["reason"] and entry["state"] == "ok"]
    assert world.run("--min-operators", "3") == 1


def test_launches_are_signed_by_no_more_operators_than_the_verdict_counted(
    world: World, capsys: pytest.CaptureFixture[str], findings: Callable[[], list[dict[str, str]]]
) -> None:
    world.statements.clear()
    for name in ("ada", "ben"):
        world.rebuilt_by(name, measurements=[measured(world.value), evil_launch(world)])
    one = world.verdict().tally.__class__(1, 1, 0, 0)
    world.save(world.evidence(world.verdict(tally=one)))
    assert world.run("--min-operators", "1", "--command-line", EVIL) == 0
    capsys.readouterr()
    assert world.run("--json", "--min-operators", "2", "--command-line", EVIL) == 1
    assert "another first program" in next(entry["reason"] for entry in findings() if entry["axis"] == "measurement")


@pytest.mark.parametrize(
    ("material", "code"),
    [
        ({"publicKey": {"hint": "ada"}}, 0),
        ({"publicKey": {"hint": "ada"}, "tlogEntries": []}, 0),
        ({"publicKey": {"hint": "ada"}, "tlogEntries": [{}]}, 2),
        ({"certificate": {"rawBytes": "eA=="}}, 2),
        ({"x509CertificateChain": {"certificates": []}}, 2),
    ],
)
def test_a_statement_is_signed_with_a_plain_key_also_when_the_user_gave_it(
    world: World, material: dict[str, Any], code: int
) -> None:
    world.rebuilt_by("cy")
    name, data = world.statements[0]
    world.statements[0] = (name, bundle_of(data, **material))
    world.save()
    assert world.run(*world.pin_named("ada", "ben", "cy")) == code
    assert world.run() == code


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("https://portal.example/statements/{}.received.json", 0),
        ("https://portal.example/attestations/{}/bundle.json", 2),
        ("ni:///sha-256;{}", 2),
        ("https://portal.example/attestations/?/statements/{}.received.json", 2),
    ],
)
def test_an_older_verdict_tells_rebuilds_by_their_addresses_or_not_at_all(
    world: World, address: str, code: int
) -> None:
    inputs = tuple(InputAttestation(address.format(sha256(data)), sha256(data)) for _, data in world.statements)
    world.save(world.evidence(world.verdict(inputs=inputs, rebuilds=None)))
    assert world.run() == code


def test_a_rebuild_that_the_verdict_names_as_another_keys_is_not_counted(world: World) -> None:
    verdict = world.verdict()
    assert verdict.rebuilds is not None
    first, second = verdict.rebuilds
    swapped = (first.__class__(first.sha256, second.key, first.operator), second)
    world.save(world.evidence(world.verdict(rebuilds=swapped)))
    assert world.run() == 1


def test_a_file_of_another_kind_is_not_looked_at_as_a_statement(world: World) -> None:
    evidence = world.evidence()
    files = [
        EvidenceFile.of(Kind.ATTESTATION, file.address, file.data) if file.kind is Kind.STATEMENT else file
        for file in evidence.files
    ]
    world.save(evidence.model_copy(update={"files": tuple(files)}))
    assert world.run() == 1
