"""Records of before the axes were kept say both in their conditions' sentences, and nothing is read into them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.apps.registry import Apps
from django.utils import timezone

from tests.portal.test_migrations import migrated, upgrade

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

KNOWN = [
    ("met", "The expected publisher attested every component.", "verified"),
    ("unmet", "Attestations: katana absent, initrd wrong-identity.", "wrong-identity"),
    ("unknown", "Attestations: disk unchecked.", "unchecked"),
    ("unknown", "There is no component to attest.", ""),
]
MEASURED = [
    ("met", "Each launch measurement is equal as published, recomputed and rebuilt.", "matches"),
    ("unmet", "The launch measurement differs for: default.", "differs"),
    ("unknown", "The launch measurement is not yet known three ways for: default.", "unknown"),
    ("unknown", "No launch measurement was published.", ""),
]


@pytest.fixture
def old() -> Iterator[Apps]:
    yield migrated(("attestations", "0002_verdict_records"), ("builds", "0010_digest_indexes"))
    upgrade()


def test_the_axes_of_earlier_records_are_read_from_their_conditions(old: Apps) -> None:
    project = old.get_model("builds", "Project").objects.create(name="enclave", source_url="file:///nowhere")
    for number, (attested, measured) in enumerate(zip(KNOWN, MEASURED, strict=True)):
        release = old.get_model("builds", "Release").objects.create(
            project=project,
            tag=f"v{number}",
            commit="c" * 40,
            source_date_epoch=1,
            manifest=b"{}",
            manifest_sha256="e" * 64,
        )
        old.get_model("attestations", "VerdictRecord").objects.create(
            release=release,
            at=timezone.now(),
            decision="deny",
            needed=2,
            reproduced=0,
            contradicting=0,
            failed=0,
            conditions=[
                ["attested-by-expected-publisher", *attested[:2]],
                ["measurements-recompute", *measured[:2]],
            ],
            sentence="Deny.",
            basis="a" * 64,
            policy=b"",
            policy_sha256="b" * 64,
        )
    new = migrated(("attestations", "0003_verdict_axes"))
    rows = (
        new.get_model("attestations", "VerdictRecord").objects.order_by("pk").values_list("attestation", "measurement")
    )
    assert list(rows) == [(attested[2], measured[2]) for attested, measured in zip(KNOWN, MEASURED, strict=True)]
