"""Webhooks: each verdict is told, signed, to whoever wants it and to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from attestations.domain.delivery import DeliveryState
from attestations.models import VerdictRecord, WebhookDelivery
from attestations.services import webhooks as service
from attestations.services.changes import change_of
from attestations.services.verdicts import record_due, record_verdict
from builds.domain.roles import Role
from builds.models import Project, Rebuild, Release
from tee_portal.env import BASE_DIR
from tests.portal.deliveries import delivery, send
from tests.support.receivers import answers
from tests.support.records import records

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]
type MakeRebuild = Callable[..., Rebuild]


def test_a_changed_verdict_arrives_signed_with_before_and_after(
    owner: User, listening: Any, make_release: MakeRelease, make_rebuild: MakeRebuild
) -> None:
    release = make_release("release/v1.0.0")
    with listening() as it:
        _, secret = service.add(owner.pk, it.url, None)
        record_verdict(release.pk)
        make_rebuild(release, by="eve", changed=(Role.INITRD,))
        record_verdict(release.pk)
        assert send() == 2
    first, second = it.received
    assert all(got.is_signed_with(secret) for got in it.received)
    assert not first.is_signed_with("whsec_" + "A" * 44)
    assert first.headers["content-type"] == "application/json"
    assert abs(int(first.headers["webhook-timestamp"]) - timezone.now().timestamp()) < 60
    older, newer = records(release)
    assert (first.told["type"], first.told["data"]["before"], first.told["data"]["number"]) == (
        "verdict.changed",
        None,
        1,
    )
    data = second.told["data"]
    assert data["release"] == {
        "project": "enclave",
        "tag": "release/v1.0.0",
        "commit": "c" * 40,
        "address": "/releases/enclave/release/v1.0.0/",
    }
    assert (data["before"]["outcome"], data["after"]["outcome"], data["number"]) == (None, "mismatched", 2)
    assert (data["before"]["decision"], data["after"]["decision"]) == ("deny", "deny")
    assert (data["sentence"], data["signed_summary"]) == (
        newer.sentence,
        f"/verdicts/{newer.payload_sha256}.vsa.sigstore.json",
    )
    changed = {entry["key"]: (entry["before"], entry["after"]) for entry in data["changed_conditions"]}
    assert changed["reproduced-by-enough-operators"] == ("unknown", "unmet")
    assert data["what_changed"] == list(change_of(newer.pk).lines)
    assert first.id == f"verdict_{change_of(older.pk).uuid.hex}" != second.id
    assert first.told["timestamp"] == older.at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_the_check_in_the_documentation_tells_our_messages_from_others(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    code = (BASE_DIR / "docs/notifications.md").read_text().partition("```python\n")[2].partition("```")[0]
    with listening() as it:
        webhook, secret = service.add(owner.pk, it.url, None)
        service.rotate(webhook)
        record_verdict(make_release().pk)
        send()
    (got,) = it.received

    def checked(**changed: Any) -> tuple[bool, bool]:
        names: dict[str, Any] = {"secret": secret, "headers": got.headers, "body": got.body, **changed}
        exec(code, names)
        return names["is_ours"], names["is_fresh"]

    assert checked() == (True, True)
    assert checked(body=got.body + b" ") == (False, True)
    assert checked(secret="whsec_" + "A" * 43 + "=") == (False, True)
    assert checked(headers=got.headers | {"webhook-timestamp": "1700000000"}) == (False, False)


def test_addresses_are_whole_where_the_portal_has_a_public_one(
    owner: User, listening: Any, make_release: MakeRelease, settings: Any
) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"public_url": "https://tee.example.org"})
    with listening() as it:
        service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        send()
    data = it.received[0].told["data"]
    assert data["release"]["address"] == "https://tee.example.org/releases/enclave/v1.0.0/"
    assert data["signed_summary"].startswith("https://tee.example.org/verdicts/")


def test_what_arrived_is_written_down_and_not_sent_again(
    owner: User, listening: Any, make_release: MakeRelease
) -> None:
    with listening(answers(200, b"got it")) as it:
        webhook, _ = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        assert (send(), send()) == (1, 0)
    sent = delivery()
    assert (sent.state, sent.attempts, sent.status, sent.answer) == (DeliveryState.DELIVERED, 1, 200, "got it")
    assert (sent.problem, sent.next_try_at) == (None, None)
    assert sent.milliseconds is not None
    webhook.refresh_from_db()
    assert (webhook.claim, webhook.last_tried_at) == (None, sent.tried_at)


def test_only_the_project_that_was_asked_for_is_told_of(owner: User, listening: Any, make_release: MakeRelease) -> None:
    other = Project.objects.create(name="other", source_url="file:///nowhere")
    with listening() as it:
        service.add(owner.pk, it.url, other)
        service.add(owner.pk, f"{it.url}2", make_release().project)
        assert record_due() == 1
        assert send() == 1
    assert [got.path for got in it.received] == ["/hook?of=tests2"]


@pytest.mark.parametrize("gone", ["switched off", "account closed"])
def test_who_is_switched_off_or_whose_account_is_closed_is_told_nothing(
    owner: User, listening: Any, make_release: MakeRelease, gone: str
) -> None:
    with listening() as it:
        webhook, _ = service.add(owner.pk, it.url, None)
        record_verdict(make_release().pk)
        if gone == "switched off":
            service.switch_off(webhook)
        else:
            User.objects.update(is_active=False)
        record_verdict(make_release("v2").pk)
        assert (send(), it.received) == (0, [])
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_record_that_is_not_kept_is_told_to_nobody(owner: User, make_release: MakeRelease) -> None:
    service.add(owner.pk, "https://example.org/hook", None)
    release = make_release()

    with transaction.atomic():
        record_verdict(release.pk)
        assert WebhookDelivery.objects.count() == 1
        transaction.set_rollback(True)
    assert (VerdictRecord.objects.count(), WebhookDelivery.objects.count()) == (0, 0)


def test_a_verdict_that_cannot_be_stated_is_told_too(owner: User, listening: Any, make_release: MakeRelease) -> None:
    bad = make_release()
    Release.objects.filter(pk=bad.pk).update(project=Project.objects.create(name="odd", source_url="no address"))
    with listening() as it:
        service.add(owner.pk, it.url, None)
        record_due()
        send()
    data = it.received[0].told["data"]
    assert (data["after"]["decision"], data["signed_summary"]) == ("deny", None)
    assert data["sentence"].startswith("The verdict cannot be stated")
