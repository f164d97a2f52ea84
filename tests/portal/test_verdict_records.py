"""Recorded verdicts: one signed summary for every change, none without, and any day can be asked for."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from attestations.domain.policy_statement import parse_policy
from attestations.models import PortalKey, VerdictRecord
from attestations.services import verdicts
from attestations.services.portal_key import portal_key
from attestations.services.verdicts import record_all, record_due, record_verdict
from attestations.signing import UnusableSigningKey
from builds.bench import attestation_peers
from builds.domain.dsse import parse_envelope
from builds.domain.errors import PortalError
from builds.domain.roles import Role
from builds.models import Component, Project, Rebuild, Release, StoredStatement
from builds.pipeline.signing import generate, read_public_key
from builds.services.operators import set_aside
from tests.support.attacks import hand_in, signed, signed_by
from tests.support.operators import operator_named
from tests.support.records import records, summary_of

ONE_AT_A_TIME = pytest.mark.django_db

type MakeRelease = Callable[..., Release]


def asked(release: Release, at: datetime | str | None = None) -> dict[str, Any]:
    moment = at.isoformat() if isinstance(at, datetime) else at
    query = {"at": moment} if moment is not None else {}
    answer = Client().get(f"/api/v1/verdicts/{release.project.name}/{release.tag}", query)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


@ONE_AT_A_TIME
def test_each_change_of_the_evidence_records_one_signed_summary_of_the_verdict_then(make_release: MakeRelease) -> None:
    release = make_release()
    assert record_verdict(release.pk) is not None
    for name, changed in (("ada", ()), ("ben", ()), ("cy", (Role.INITRD,))):
        assert hand_in(signed(release, name, changed=changed).as_bytes()).status_code == 201
    found = records(release)
    counts = [(0, 0), (1, 0), (2, 0), (2, 1)]
    assert [(record.reproduced, record.contradicting) for record in found] == counts
    assert [record.outcome for record in found] == ["", "reproduced", "reproduced", "mismatched"]
    for record in found:
        assert record.key is not None
        envelope = parse_envelope(bytes(record.envelope or b""))
        read_public_key(record.key.pem).verify(envelope)
        assert record.payload_sha256 == hashlib.sha256(envelope.payload).hexdigest()
        said = summary_of(record)
        assert (said.tally.reproduced, said.tally.contradicting) == (record.reproduced, record.contradicting)
        assert (said.release.tag, said.release.commit) == (release.tag, release.commit)
        assert said.passed is (record.decision == "allow") is False
        assert said.time == record.at.replace(microsecond=0)
        unmet = [key for key, state, _ in record.conditions if state != "met"]
        assert list(said.unmet) == unmet
        digests = {(subject.name, subject.sha256) for subject in said.subjects}
        assert digests == {(role.value, hashlib.sha256(role.encode()).hexdigest()) for role in Role}


@ONE_AT_A_TIME
def test_without_a_change_nothing_is_recorded_however_often_it_is_asked(make_release: MakeRelease) -> None:
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    before = records(release)
    hand_in(signed_by(operator_named("newcomer", accepted=False), release).as_bytes())
    assert [record_verdict(release.pk) for _ in range(3)] == [None] * 3
    assert (record_due(), record_all()) == (0, 0)
    assert records(release) == before
    assert len(before) == 1


@ONE_AT_A_TIME
def test_a_policy_that_changes_is_another_verdict_and_another_policy_document(make_release: MakeRelease) -> None:
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    Project.objects.update(needed_operators=3)
    assert record_all() == 1
    old, new = records(release)
    assert (old.needed, new.needed) == (2, 3)
    assert old.policy_sha256 != new.policy_sha256


@ONE_AT_A_TIME
def test_the_policy_document_that_is_served_has_the_digest_that_the_summary_names(
    make_release: MakeRelease, client: Client
) -> None:
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    (record,) = records(release)
    named = summary_of(record).policy.sha256
    served = client.get(asked(release)["verdict"]["policy"])
    assert hashlib.sha256(served.content).hexdigest() == named == record.policy_sha256
    policy = parse_policy(served.content)
    assert (policy.project, policy.needed_operators) == ("enclave", 2)
    assert client.get(f"/policies/{'0' * 64}.json").status_code == 404


@ONE_AT_A_TIME
def test_any_moment_can_be_asked_for_and_has_the_verdict_that_held_then(make_release: MakeRelease) -> None:
    release = make_release()
    for name in ("ada", "ben"):
        hand_in(signed(release, name).as_bytes())
    first, second = records(release)
    instant = timedelta(microseconds=1)
    assert asked(release, first.at - instant)["verdict"] is None
    assert asked(release, first.at)["verdict"]["reproduced"] == 1
    assert asked(release, second.at - instant)["verdict"]["reproduced"] == 1
    assert asked(release, second.at)["verdict"]["reproduced"] == 2
    assert asked(release)["verdict"]["reproduced"] == 2
    now = asked(release)
    assert now["verdict"] == now["history"][0]
    assert [entry["reproduced"] for entry in now["history"]] == [2, 1]
    assert now["next"] is None


@ONE_AT_A_TIME
@pytest.mark.parametrize(
    "at", ["yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_a_moment_without_a_zone_or_outside_the_calendar_is_refused(make_release: MakeRelease, at: str) -> None:
    release = make_release()
    answer = Client().get(f"/api/v1/verdicts/{release.project.name}/{release.tag}", {"at": at})
    assert answer.status_code == 422


@ONE_AT_A_TIME
def test_records_are_never_edited_or_deleted(make_release: MakeRelease) -> None:
    release = make_release()
    record = record_verdict(release.pk)
    assert record is not None
    record.decision = "allow"
    with pytest.raises(TypeError, match="append-only"):
        record.save()
    with pytest.raises(TypeError, match="append-only"):
        record.delete()
    assert VerdictRecord.objects.get().decision == "deny"
    with pytest.raises(IntegrityError), transaction.atomic():
        VerdictRecord.objects.filter(pk=record.pk).update(envelope=None)


@ONE_AT_A_TIME
def test_a_release_that_was_reproduced_and_is_not_any_more_says_so_on_page_and_list(
    make_release: MakeRelease, client: Client
) -> None:
    release, other = make_release(), make_release("v2.0.0")

    def said() -> tuple[bool, bool, bool]:
        sentence = f"It was reproduced on {timezone.now():%Y-%m-%d} and is not any more."
        pages = [client.get(address).content.decode() for address in ("/", release.get_absolute_url())]
        stranger = client.get(other.get_absolute_url()).content.decode()
        return sentence in pages[0], sentence in pages[1], sentence in stranger

    hand_in(signed(other, "ben", changed=(Role.INITRD,)).as_bytes())
    hand_in(signed(release, "ada").as_bytes())
    assert said() == (False, False, False)
    told = hand_in(signed(release, "ben", changed=(Role.INITRD,)).as_bytes())
    assert said() == (True, True, False)
    set_aside(Rebuild.objects.get(pk=json.loads(told.content)["rebuild"]), reason="its disk was bad", by="Ada")
    assert said() == (False, False, False)


@ONE_AT_A_TIME
def test_a_release_that_nobody_counts_for_any_more_says_when_it_was_reproduced(
    make_release: MakeRelease, client: Client
) -> None:
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    set_aside(Rebuild.objects.get(), reason="not hers", by="Ada")
    assert record_due() == 1
    assert [record.outcome for record in records(release)] == ["reproduced", ""]
    assert "and is not any more" in client.get(release.get_absolute_url()).content.decode()


@ONE_AT_A_TIME
@pytest.mark.parametrize("gone", ["bytes", "components"])
def test_a_release_of_which_no_byte_is_known_has_a_record_that_nobody_signed(
    make_release: MakeRelease, client: Client, gone: str
) -> None:
    release = make_release()
    if gone == "components":
        Component.objects.all().delete()
    else:
        Component.objects.update(size=None, sha256="", sha384="")
    record = record_verdict(release.pk)
    assert record is not None
    assert (record.envelope, record.key, record.payload_sha256) == (None, None, None)
    told = asked(release)["verdict"]
    assert (told["decision"], told["bundle"], told["envelope"], told["key"]) == ("deny", None, None, None)
    assert "no published byte is known" in client.get(release.get_absolute_url()).content.decode()
    assert not PortalKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_that_record_at_once_make_one_record(make_release: MakeRelease) -> None:
    release = make_release()
    ready, made = threading.Barrier(6), []

    def record() -> None:
        ready.wait()
        try:
            made.append(record_verdict(release.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=record) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry is not None for entry in made) == [False] * 5 + [True]
    assert (VerdictRecord.objects.count(), PortalKey.objects.count()) == (1, 1)


@pytest.fixture
def without_key(settings: Any, tmp_path: Path) -> Callable[[], None]:
    """A portal whose key cannot be read; calling it repairs that."""
    good = settings.ENVIRONMENT
    settings.ENVIRONMENT = good.model_copy(update={"signing_key": str(tmp_path / "portal.pem")})

    def repair() -> None:
        settings.ENVIRONMENT = good

    return repair


@ONE_AT_A_TIME
def test_what_cannot_be_signed_is_not_recorded_and_stays_due(
    make_release: MakeRelease, without_key: Callable[[], None]
) -> None:
    release = make_release()
    for record in (lambda: record_verdict(release.pk), record_due, record_all):
        with pytest.raises(UnusableSigningKey):
            record()
    release.refresh_from_db()
    assert (release.judged_at, VerdictRecord.objects.count(), PortalKey.objects.count()) == (None, 0, 0)
    without_key()
    assert record_due() == 1
    release.refresh_from_db()
    assert release.judged_at is not None
    assert record_due() == 0


@ONE_AT_A_TIME
def test_a_result_is_taken_while_the_portal_cannot_sign_and_is_recorded_afterwards(
    make_release: MakeRelease, without_key: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    release = make_release()
    assert hand_in(signed(release, "ada").as_bytes()).status_code == 201
    assert "is not recorded" in caplog.text
    assert (StoredStatement.objects.count(), VerdictRecord.objects.count()) == (1, 0)
    without_key()
    assert record_due() == 1
    assert records(release)[0].reproduced == 1


@ONE_AT_A_TIME
def test_a_signer_that_fails_after_the_key_was_read_leaves_nothing_behind(
    make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release()

    class Broken:
        public = portal_key().public

        def sign(self, payload_type: str, payload: bytes) -> None:
            raise PortalError("the engine is away", where="signing key")

    monkeypatch.setattr(verdicts, "portal_key", Broken)
    with pytest.raises(PortalError, match="the engine is away"):
        record_due()
    release.refresh_from_db()
    assert (release.judged_at, VerdictRecord.objects.count(), PortalKey.objects.count()) == (None, 0, 0)


@ONE_AT_A_TIME
def test_one_release_whose_verdict_no_summary_can_state_does_not_keep_the_others_from_being_recorded(
    make_release: MakeRelease, caplog: pytest.LogCaptureFixture
) -> None:
    bad = make_release()
    elsewhere = Project.objects.create(name="elsewhere", source_url="no address")
    Release.objects.filter(pk=bad.pk).update(project=elsewhere)
    good = make_release("v2.0.0")
    assert record_due() == 1
    assert (len(records(bad)), len(records(good))) == (1, 1)
    (denied,) = records(bad)
    assert (denied.decision, denied.envelope, denied.key) == ("deny", None, None)
    assert denied.sentence.startswith("The verdict cannot be stated: predicate.resourceUri")
    assert f"the verdict of release {bad.pk} cannot be stated: predicate.resourceUri" in caplog.text
    assert record_all() == 0
    assert len(records(bad)) == 1


@ONE_AT_A_TIME
def test_a_source_whose_address_has_a_space_can_be_named_in_a_summary(make_release: MakeRelease) -> None:
    release = make_release()
    Project.objects.update(source_url="file:///srv/my source")
    assert record_due() == 1
    assert summary_of(records(release)[0]).resource_uri == "file:///srv/my%20source#v1.0.0"


@ONE_AT_A_TIME
def test_the_portals_key_is_served_now_and_by_its_fingerprint_after_it_was_replaced(
    make_release: MakeRelease, client: Client, settings: Any, tmp_path: Path
) -> None:
    release = make_release()
    record_verdict(release.pk)
    old = client.get("/portal.pub").content
    address = asked(release)["verdict"]["key"]
    new = generate(tmp_path / "new.pem").public
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"signing_key": str(tmp_path / "new.pem")})
    hand_in(signed(release, "ada").as_bytes())
    assert client.get("/portal.pub").content.decode() == new.pem != old.decode()
    assert client.get(address).content == old
    first, second = records(release)
    for record, pem in ((first, old), (second, new.pem.encode())):
        bundle = client.get(f"/verdicts/{record.payload_sha256}.vsa.sigstore.json").content
        read_public_key(pem.decode()).verify(parse_envelope(bundle))
    assert client.get(f"/portal-keys/{'0' * 64}.pub").status_code == 404


@ONE_AT_A_TIME
def test_a_key_that_cannot_be_read_is_a_named_error_where_it_is_asked_for(
    client: Client, without_key: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/portal.pub")
    assert (answer.status_code, answer.json()["code"]) == (503, "portal-key-away")
    assert "portal.pem" not in answer.content.decode()
    assert "portal.pem" in caplog.text


@ONE_AT_A_TIME
def test_envelope_and_bundle_are_served_as_they_were_signed(make_release: MakeRelease, client: Client) -> None:
    release = make_release()
    record = record_verdict(release.pk)
    assert record is not None
    envelope, bundle = (
        client.get(f"/verdicts/{record.payload_sha256}.{form}") for form in ("dsse.json", "vsa.sigstore.json")
    )
    assert envelope.content == bytes(record.envelope or b"")
    assert parse_envelope(bundle.content) == parse_envelope(envelope.content)
    assert envelope["Content-Disposition"].startswith("attachment")
    assert client.get(f"/verdicts/{'0' * 64}.dsse.json").status_code == 404


@pytest.mark.slow
@pytest.mark.archive
@ONE_AT_A_TIME
def test_cosign_verifies_the_summary_that_is_served_with_the_key_that_is_served(
    make_release: MakeRelease, client: Client, settings: Any, tmp_path: Path
) -> None:
    program = attestation_peers.cosign(settings.DATA_DIR / "bench")
    release = make_release()
    hand_in(signed(release, "ada").as_bytes())
    (tmp_path / "bundle").write_bytes(client.get(asked(release)["verdict"]["bundle"]).content)
    (tmp_path / "portal.pub").write_bytes(client.get("/portal.pub").content)

    def verified(content: str, key: str = "portal.pub") -> bool:
        (tmp_path / "file").write_text(content)
        options = ["--bundle", "bundle", "--key", key, "--insecure-ignore-tlog=true"]
        kind = ["--type", "https://slsa.dev/verification_summary/v1"]
        command = [str(program), "verify-blob-attestation", *options, *kind, "file"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    assert all(verified(role.value) for role in Role)
    assert not verified("another kernel")
    (tmp_path / "stranger.pub").write_text(operator_named("ada").public.pem)
    assert not verified("kernel", "stranger.pub")
