"""What a sceptic reads at the end: every component and every published launch measurement, beside what was rebuilt."""

from __future__ import annotations

from typing import Any

import pytest

from builds.domain.comparison import Subject
from builds.domain.dsse import Envelope
from builds.domain.job import JobComponent, JobMeasurement, PublishedDigests, RebuildJob
from builds.domain.roles import BootMode, Role
from builds.pipeline.reproduce import SignedRebuild
from builds.rebuilder.commands import _compared
from tests.support.statements import digest_hex, measured, read, statement_document

KERNEL = PublishedDigests(size=4, digest=f"sha256:{digest_hex('a')}", digest_sha384=f"sha384:{digest_hex('b', 96)}")
REBUILT = digest_hex("d", 96)
LAUNCH: dict[str, Any] = {
    "name": "default",
    "boot_mode": BootMode.DIRECT_KERNEL,
    "vcpus": 4,
    "vcpu_type": "EPYC-v4",
    "guest_features": 1,
    "vmm": "qemu",
    "command_line": "console=ttyS0",
}


def signed() -> SignedRebuild:
    statement = read(statement_document(f"ni:///sha-256;{'A' * 43}", measurements=[measured(REBUILT)]))
    return SignedRebuild(statement, Envelope("x", b"", b"x"))


def job(*, content: PublishedDigests | None = KERNEL, published: str = REBUILT, **launch: Any) -> RebuildJob:
    kernel = JobComponent(
        role=Role.KERNEL,
        claimed=KERNEL.digest,
        claim_subject=Subject.CONTENT,
        content=content,
        container=None,
    )
    return RebuildJob(
        project="enclave",
        tag="v1.0.0",
        commit="c" * 40,
        source_url="https://example.invalid/enclave",
        components=(kernel,),
        measurements=(JobMeasurement(published=published, **{**LAUNCH, **launch}),),
    )


def compared(asked: RebuildJob) -> tuple[bool, str]:
    said: list[str] = []
    return _compared(asked, signed(), said.append), "\n".join(said)


@pytest.mark.parametrize("line", ["console=ttyS0", None])
def test_the_same_bytes_and_the_same_measurement_agree(line: str | None) -> None:
    agrees, said = compared(job(command_line=line))
    assert agrees
    assert "launch measurement default matches" in said
    assert said.count(REBUILT) == 2


def test_the_same_bytes_under_another_published_measurement_do_not_agree() -> None:
    agrees, said = compared(job(published=digest_hex("e", 96)))
    assert not agrees
    assert "kernel   reproduced" in said
    assert "launch measurement default differs" in said
    assert said.endswith("A published launch measurement is not that of the rebuilt files.")


@pytest.mark.parametrize("other", [{"command_line": "quiet"}, {"vcpus": 8}, {"guest_features": 33}])
def test_a_measurement_of_another_launch_is_unknown_and_no_difference(other: dict[str, Any]) -> None:
    agrees, said = compared(job(published=digest_hex("e", 96), **other))
    assert agrees
    assert "launch measurement default unknown" in said
    assert "not computed for this launch" in said


def test_a_file_that_contradicts_its_manifest_is_shown_beside_what_the_manifest_says() -> None:
    other = PublishedDigests(size=4, digest=f"sha256:{digest_hex('7')}", digest_sha384=f"sha384:{digest_hex('8', 96)}")
    agrees, said = compared(job(content=other))
    assert not agrees
    assert "kernel   mismatched" in said
    assert f"the file  sha256:{digest_hex('7')}, which is not what its manifest says" in said
