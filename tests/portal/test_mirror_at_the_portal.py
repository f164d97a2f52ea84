"""The mirror and the portal give the same evidence, and the portal's own checkpoint keeps its verdicts fresh."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from attestations.local_sigstore import TrustDomain
from attestations.models import MirroredRelease, VerdictRecord
from attestations.services import mirroring
from attestations.services.portal_key import portal_key
from builds.models import Rebuild, Release
from builds.services.operators import set_aside
from builds.verify.cli import main
from builds.verify.evidence import Evidence, Kind, read_evidence
from builds.verify.vouching import read_vouching
from tests.portal.attested import attest_all
from tests.support.attacks import hand_in, signed
from tests.support.mirrors import Reader, objects, served
from tests.support.operators import MEASUREMENT

pytestmark = pytest.mark.django_db(transaction=True)

CHAIN = {Kind.CHECKPOINT, Kind.INDEX}
NAME = "enclave/v1.0.0"


@pytest.fixture
def mirror(tmp_path: Path, settings: Any) -> Path:
    """Where the portal publishes to."""
    directory = tmp_path / "mirror"
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"mirror_dir": directory})
    return directory


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "portal.pub"
    path.write_text(portal_key().public.pem)
    return path


def saved(tmp_path: Path, *source: str) -> Evidence:
    path = tmp_path / "evidence.json"
    assert main(["bundle", NAME, "-o", str(path), *source]) == 0
    return read_evidence(path)


def without_chain(evidence: Evidence) -> list[Any]:
    return [file for file in evidence.files if file.kind not in CHAIN]


def test_mirror_and_portal_give_the_same_evidence_byte_for_byte(
    release: Release, domain: TrustDomain, live_server: Any, mirror: Path, tmp_path: Path, key: Path
) -> None:
    for name in ("ada", "ben"):
        assert hand_in(signed(release, name).as_bytes()).status_code == 201
    attest_all(release, domain)
    mirroring.publish(mirror)
    by_portal = saved(tmp_path, "--portal", live_server.url)
    with served(mirror) as server:
        state = ["--portal-key", str(key), "--state", str(tmp_path / "seen.json")]
        by_mirror = saved(tmp_path, "--mirror", server.address, *state)
    assert without_chain(by_mirror) == without_chain(by_portal)
    assert len(without_chain(by_portal)) == 4 + 2 + 2 + 5
    vouched = [read_vouching(evidence, portal_key().public, datetime.now(UTC)) for evidence in (by_portal, by_mirror)]
    assert vouched[0].vouched is not None
    assert vouched[0].vouched.checkpoint == vouched[1].vouched.checkpoint  # type: ignore[union-attr]


def test_what_the_portal_allows_is_allowed_by_its_mirror(
    release: Release,
    make_rebuild: Callable[..., Rebuild],
    domain: TrustDomain,
    mirror: Path,
    tmp_path: Path,
    key: Path,
) -> None:
    attest_all(release, domain)
    for name in ("alder", "birch"):
        make_rebuild(release, by=name)
    mirroring.publish(mirror)
    with served(mirror) as server:
        given = ["--mirror", server.address, "--portal-key", str(key), "--state", str(tmp_path / "seen.json")]
        # Published, though nothing could be computed of this release; another one that nobody rebuilt has it too.
        assert main(["measurement", MEASUREMENT, "--project", "enclave", "--max-age", "1h", *given]) == 0
        assert main(["measurement", MEASUREMENT, "--release", "enclave/v0", *given]) == 1
        older = (mirror / "checkpoint.json").read_bytes()
        # One result is set aside: the next publication withdraws the allow.
        for rebuild in Rebuild.objects.filter(rebuilder__operator__slug="alder"):
            set_aside(rebuild, reason="a broken machine", by="Ada")
        mirroring.publish(mirror)
        assert main(["measurement", MEASUREMENT, "--project", "enclave", *given]) == 1
        # Everything of the older tree is there still; who serves its checkpoint is found out by the number.
        (mirror / "checkpoint.json").write_bytes(older)
        assert main(["measurement", MEASUREMENT, "--project", "enclave", *given]) == 2


def test_a_verdict_that_is_newer_than_the_checkpoint_goes_without_it(
    make_release: Callable[..., Release], live_server: Any, mirror: Path, tmp_path: Path
) -> None:
    release = make_release()
    mirroring.publish(mirror)
    assert Kind.CHECKPOINT in {file.kind for file in saved(tmp_path, "--portal", live_server.url).files}
    assert hand_in(signed(release, "ada").as_bytes()).status_code == 201
    assert not CHAIN & {file.kind for file in saved(tmp_path, "--portal", live_server.url).files}
    mirroring.publish(mirror)
    assert Kind.CHECKPOINT in {file.kind for file in saved(tmp_path, "--portal", live_server.url).files}


def test_a_portal_that_damaged_its_mirror_is_not_asked_to_vouch(
    make_release: Callable[..., Release],
    live_server: Any,
    mirror: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_release()
    mirroring.publish(mirror)
    for path, data in objects(mirror).items():
        (mirror / path).write_bytes(data.replace(b"{", b"["))
    given = ["bundle", NAME, "-o", str(tmp_path / "e"), "--portal", live_server.url]
    assert main(given) == 2
    assert "mirror-damaged" in capsys.readouterr().err


def test_the_portal_serves_what_was_published_and_nothing_else(
    client: Client, make_release: Callable[..., Release], mirror: Path
) -> None:
    make_release()
    assert client.get("/mirror/checkpoint.json").status_code == 404
    mirroring.publish(mirror)
    (mirror / "index" / "secret.json").write_text("{}")
    for path, data in objects(mirror).items():
        answer = client.get(f"/mirror/{path}")
        if path == "index/secret.json":
            assert answer.status_code == 404
            continue
        assert answer.content == data
        assert "immutable" in answer["Cache-Control"]
        assert answer["X-Content-Type-Options"] == "nosniff"
    answer = client.get("/mirror/checkpoint.json")
    assert answer.content == (mirror / "checkpoint.json").read_bytes()
    assert answer["Cache-Control"] == "public, max-age=30"
    for path in (".lock", ".unnamed.json", "../mirror/checkpoint.json", "index/", "checkpoint.json/", "index/%00"):
        assert client.get(f"/mirror/{path}").status_code in {400, 404}


def test_the_portal_serves_nothing_that_a_link_or_a_pipe_stands_for(
    client: Client, make_release: Callable[..., Release], mirror: Path, tmp_path: Path
) -> None:
    make_release()
    mirroring.publish(mirror)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    first, second, *_ = (path for path in objects(mirror) if path.startswith("index/"))
    (mirror / first).unlink()
    (mirror / first).symlink_to(secret)
    (mirror / second).unlink()
    os.mkfifo(mirror / second)
    (mirror / "checkpoint.json").unlink()
    (mirror / "checkpoint.json").symlink_to(secret)
    (mirror / "blobs").rename(tmp_path / "blobs")
    (mirror / "blobs").symlink_to(tmp_path / "blobs")
    blobs = [path for path in objects(mirror) if path.startswith("blobs/")]
    assert blobs
    for path in (first, second, "checkpoint.json", *blobs):
        assert client.get(f"/mirror/{path}").status_code == 404


def test_a_verdict_that_cannot_be_signed_any_more_is_not_vouched_for(
    make_release: Callable[..., Release], mirror: Path, tmp_path: Path, settings: Any
) -> None:
    """The key is gone: nothing new is signed, and what lies there says how old it is."""
    release = make_release()
    before = mirroring.publish(mirror).checkpoint
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"signing_key": str(tmp_path / "gone.pem")})
    from attestations import tasks  # noqa: PLC0415

    Release.objects.filter(pk=release.pk).update(evidence_changed_at=before.issued_at + timedelta(minutes=1))
    tasks.publish_mirror()
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"signing_key": None})
    assert Reader(mirror, portal_key().public).checkpoint == before


def test_a_portal_whose_key_was_replaced_signs_checkpoints_with_the_new_one(
    make_release: Callable[..., Release], mirror: Path, key: Path, tmp_path: Path, settings: Any
) -> None:
    from builds.pipeline.signing import generate  # noqa: PLC0415

    make_release()
    mirroring.publish(mirror)
    new = generate(tmp_path / "new.pem")
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"signing_key": str(tmp_path / "new.pem")})
    mirroring.publish(mirror)
    assert Reader(mirror, new.public).checkpoint.portal == new.public.name
    with served(mirror) as server:
        old = ["--portal-key", str(key), "--state", str(tmp_path / "seen.json")]
        assert main(["bundle", NAME, "-o", str(tmp_path / "e"), "--mirror", server.address, *old]) == 2


def test_a_decision_that_cannot_be_stated_is_told_and_never_vouched_for(
    make_release: Callable[..., Release], mirror: Path, tmp_path: Path
) -> None:
    release = make_release()
    mirroring.publish(mirror)
    record = VerdictRecord.objects.get(release=release)
    VerdictRecord(
        release=release,
        at=record.at,
        decision="deny",
        needed=2,
        reproduced=0,
        contradicting=0,
        failed=0,
        conditions=[],
        sentence="It cannot be stated.",
        basis="0" * 64,
        policy=b"",
        policy_sha256=record.policy_sha256,
    ).save()
    mirroring.publish(mirror)
    held = Reader(mirror, portal_key().public).releases[NAME]
    assert held.only("verdict") is None
    assert held.verdict is not None
    assert held.verdict.sentence == "It cannot be stated."
    assert MirroredRelease.objects.count() == 1
