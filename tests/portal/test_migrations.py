"""A portal that was in use before operators, keys and signed results came: nothing it knew is lost or counts more."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import IntegrityError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from attestations.services.standing import judged_view
from builds.domain.roles import Role
from builds.models import Operator, Project, Rebuild, Rebuilder, Release
from builds.services import queueing, rebuilding, running
from builds.snapshot import one_snapshot

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

BEFORE = ("builds", "0002_publication_formats")
NOW = timezone.now()


def migrated(*targets: tuple[str, str]) -> Apps:
    executor = MigrationExecutor(connection)
    executor.migrate(list(targets))
    return MigrationExecutor(connection).loader.project_state(list(targets)).apps


@pytest.fixture
def old() -> Iterator[Apps]:
    """The models as they were; the newest schema is there again afterwards."""
    yield migrated(BEFORE)
    upgrade()


def upgrade() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


class Past:
    """Rows as the portal wrote them then."""

    def __init__(self, apps: Apps) -> None:
        self._apps = apps
        project = self.model("Project").objects.create(name="enclave", source_url="file:///nowhere")
        self.release = self.model("Release").objects.create(
            project=project, tag="v1", commit="c" * 40, source_date_epoch=1, manifest=b"{}", manifest_sha256="e" * 64
        )

    def model(self, name: str) -> Any:
        return self._apps.get_model("builds", name)

    def rebuilder(self, name: str, operator: str, *, local: bool = False) -> Any:
        return self.model("Rebuilder").objects.create(name=name, operator=operator, is_local=local)

    def rebuild(self, by: Any, state: str, **columns: Any) -> Any:
        final = {} if state in {"queued", "running"} else {"finished_at": NOW}
        return self.model("Rebuild").objects.create(
            release=self.release, rebuilder=by, state=state, **{**final, **columns}
        )


def test_running_rebuilds_are_lost_and_their_places_opened_again(old: Apps) -> None:
    past = Past(old)
    claim = {"claim_token": uuid.uuid4(), "lease_expires_at": NOW + timedelta(minutes=1), "started_at": NOW}
    local = past.rebuilder("local-worker", "this portal", local=True)
    was_running = past.rebuild(local, "running", worker="host-1", **claim).pk
    stopped = past.rebuild(past.rebuilder("other", "Ada"), "running", cancel_requested_at=NOW, **claim).pk
    upgrade()
    for pk in (was_running, stopped):
        row = Rebuild.objects.get(pk=pk)
        assert (row.state, row.lease_expires_at, row.claim_sha256) == ("lost", None, "")
        assert [event.kind for event in row.events.all()] == ["lost"]
    (again,) = Rebuild.objects.filter(state="queued")
    assert (str(again.retry_of_id), again.rebuilder) == (str(was_running), None)
    assert again.wanted_from == running.local_rebuilder()
    assert rebuilding.claim(again.pk, running.local_rebuilder(), "host-1") is not None


def test_a_queued_rebuild_waits_for_the_portals_own_worker_which_is_the_one_it_was(old: Apps) -> None:
    past = Past(old)
    local = past.rebuilder("local-worker", "this portal", local=True)
    pk = past.rebuild(local, "queued").pk
    upgrade()
    place = Rebuild.objects.get(pk=pk)
    worker = running.local_rebuilder()
    assert (worker.pk, Operator.objects.get().slug) == (local.pk, "this-portal")
    assert (place.state, place.rebuilder, place.wanted_from) == ("queued", None, worker)
    assert queueing.waiting_ids(worker) == [pk]
    with pytest.raises(queueing.RebuildAlreadyLive):
        queueing.request_rebuild(place.release, worker)


def test_what_nobody_signed_stays_to_be_seen_and_counts_no_more(old: Apps) -> None:
    past = Past(old)
    component = {"size": 1, "sha256": "a" * 64, "sha384": "b" * 96}
    claimed = {"claimed_digest": f"sha256:{'a' * 64}", "file_name": "kernel"}
    past.model("Component").objects.create(release=past.release, role="kernel", **claimed, **component)
    done = past.rebuild(past.rebuilder("local-worker", "this portal", local=True), "succeeded", started_at=NOW)
    past.model("RebuiltComponent").objects.create(
        rebuild=done, role="kernel", origin_kind="built", origin="built", **component
    )
    failure = {"code": "x", "what": "x", "where": "x", "todo": "x"}
    past.rebuild(past.rebuilder("other", "Ada"), "failed", failure=failure)
    upgrade()
    with one_snapshot():
        view, _ = judged_view(Release.objects.with_evidence().get())
    (result,) = view.results
    assert str(result.rebuild.pk) == str(done.pk)
    assert result.evidence.not_counted == "Nobody signed it."
    tally = view.verdict.tally
    assert (tally.reproduced, tally.contradicting, tally.failed) == (0, 0, 1)
    assert [row.role for row in result.rebuild.components.all()] == [Role.KERNEL]
    assert Release.objects.get().judged_at is None


OPERATORS_OF_NAMES = [
    (["Ada", "Ada"], ["ada"]),
    (["Ada", "Ada!"], ["ada", "ada-{pk}"]),
    (["Ada", "ada"], ["ada", "ada-{pk}"]),
    (["\u65e5\u672c", "\u65e5\u672c"], ["operator-{first}"]),
    (["\u65e5\u672c", "\u4e2d\u56fd"], ["operator-{first}", "operator-{pk}"]),
    (["x" * 200, "x" * 200], ["x" * 63]),
    (["", "Ada"], ["operator-{first}", "ada"]),
]


def test_each_name_becomes_one_accepted_operator_and_no_two_names_become_one(subtests: pytest.Subtests) -> None:
    """The step itself, asked for each portal anew: to go there and back takes seconds."""
    apps = migrated(("builds", "0004_rebuilders"))
    rebuilders, made = (apps.get_model("builds", name).objects for name in ("Rebuilder", "Operator"))
    step = import_module("builds.migrations.0005_operators_of_rebuilders")
    for names, operators in OPERATORS_OF_NAMES:
        rows = [rebuilders.create(name=f"r{number}", operator_name=name) for number, name in enumerate(names)]
        step.make_operators(apps, None)
        places = {"first": rows[0].pk, "pk": rows[1].pk}
        with subtests.test(names=names):
            expected = sorted(slug.format(**places) for slug in operators)
            assert sorted(made.values_list("slug", flat=True)) == expected
            for row in rebuilders.select_related("operator"):
                assert row.operator.accepted_at is not None
                assert row.operator.name in {*names, names[0][:80], f"operator {row.pk}"}
        if names != OPERATORS_OF_NAMES[-1][0]:
            rebuilders.all().delete()
            made.all().delete()
    upgrade()
    assert {row.operator.slug for row in Rebuilder.objects.select_related("operator")} == set(expected)


def test_a_policy_that_asked_for_nobody_asks_for_somebody(old: Apps) -> None:
    past = Past(old)
    past.model("Project").objects.update(needed_operators=0)
    upgrade()
    assert Project.objects.get().needed_operators == 1
    with pytest.raises(IntegrityError, match="project_needs_an_operator"):
        Project.objects.update(needed_operators=0)


def test_an_empty_portal_is_upgraded_too(old: Apps) -> None:
    upgrade()
    assert (Operator.objects.count(), Rebuild.objects.count()) == (0, 0)
    assert queueing.open_missing_places() == 0
