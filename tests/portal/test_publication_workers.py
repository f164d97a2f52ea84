"""Workers of announced releases that die, stall or come at once: the work is done once, and nothing half."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from attestations.asset_http import AssetFetcher
from attestations.domain.publication import MOST_ATTEMPTS, PublicationState
from attestations.models import Publication
from attestations.services import publications
from builds.models import Project, Release
from builds.services import importing
from tests.portal.test_publications import hinted, left, make_due, secret, serving
from tests.support.publishing import announce, at_addresses, files, publisher_token, send, serves, shown, work

__all__ = ["hinted", "secret", "serving"]  # fixtures of this module too

pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """As SIGKILL: nothing that comes after it runs."""


def killed(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Work until ``at`` and die there, leaving everything as it is."""

    def die(*_: object, **__: object) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(publications, at, die)
        with pytest.raises(Killed):
            work()


def lapse() -> None:
    Publication.objects.filter(claim__isnull=False).update(claimed_until=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("at", ["_fetch", "import_beside_others", "collect_from_directory", "_settle_imported"])
def test_a_worker_that_is_killed_in_the_middle_leaves_work_that_is_taken_up_again(
    secret: str, serving: Callable[..., Any], settings: Any, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    with serving(serves(files())) as it:
        made = announce(secret, at_addresses(it, files()))
        killed(monkeypatch, at)
        assert shown(made)["state"] == ("fetching" if at == "_fetch" else "importing")
        work()
        assert Publication.objects.get().attempts == 1, "its lease still runs"
        lapse()
        publications.sweep()
        assert (shown(made)["state"], shown(made)["problem"]["code"]) == ("queued", "publication-lost")
        make_due()
        work()
    assert (shown(made)["state"], shown(made)["problem"]) == ("imported", None)
    release = Release.objects.get()
    assert release.events.filter(kind="announced").count() == 1
    assert not release.events.filter(kind="changed-since-import").exists()
    assert left(settings) == []


def test_what_kills_every_worker_ends_by_name(secret: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = send(secret, files())
    for _ in range(MOST_ATTEMPTS):
        make_due()
        killed(monkeypatch, "import_beside_others")
        lapse()
        publications.sweep()
    told = shown(made)
    assert (told["state"], told["problem"]["code"]) == ("refused", "publication-lost")
    publications.sweep()
    assert left(settings) == []


def test_a_worker_whose_lease_went_to_another_changes_nothing_any_more(
    secret: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = send(secret, files())
    original = publications.import_beside_others

    def slowly(*arguments: Any, **named: Any) -> Release:
        with monkeypatch.context() as patch:
            patch.setattr(publications, "import_beside_others", original)
            lapse()
            publications.sweep()
            make_due()
            publications.run(Publication.objects.get().pk, AssetFetcher())
        return original(*arguments, **named)

    monkeypatch.setattr(publications, "import_beside_others", slowly)
    (publication_id,) = publications.due(timezone.now())
    publications.run(publication_id, AssetFetcher())
    row = Publication.objects.get()
    assert (row.state, row.attempts) == (PublicationState.IMPORTED, 2)
    assert Release.objects.get().events.filter(kind="announced").count() == 1
    assert shown(made)["state"] == "imported"


def test_a_worker_that_wakes_up_after_another_cleared_its_files_away_stores_nothing_of_what_it_then_reads(
    secret: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a file that is gone would be on record as one that was never published."""
    send(secret, files())
    reading = importing.read_release_directory

    def stalled(directory: Path, *arguments: Any, **named: Any) -> Any:
        (directory / "vmlinuz").unlink()
        Publication.objects.update(claim=uuid.uuid4())
        return reading(directory, *arguments, **named)

    monkeypatch.setattr(importing, "read_release_directory", stalled)
    (publication_id,) = publications.due(timezone.now())
    publications.run(publication_id, AssetFetcher())
    assert not Release.objects.exists()
    assert Publication.objects.get().state == PublicationState.IMPORTING


@pytest.mark.django_db(transaction=True)
def test_a_lease_is_renewed_for_as_long_as_the_work_takes(project: Project, settings: Any) -> None:
    settings.LEASE_SECONDS = 0.6
    send(publisher_token(project), files())
    (publication_id,) = publications.due(timezone.now())
    claimed = publications.take(publication_id)
    assert claimed is not None
    before = Publication.objects.get().claimed_until
    with publications.Lease(claimed) as lease:
        threading.Event().wait(0.9)
        after = Publication.objects.get().claimed_until
        lease.check()
        assert before is not None
        assert after is not None
        assert after > before
        assert publications.take(publication_id) is None
        Publication.objects.update(claim=uuid.uuid4())
        threading.Event().wait(0.3)
        with pytest.raises(publications.ClaimLost):
            lease.check()


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_are_hinted_at_once_do_the_work_once(project: Project) -> None:
    send(publisher_token(project), files())
    (publication_id,) = publications.due(timezone.now())
    ready = threading.Barrier(3)
    taken: list[object] = []

    def take() -> None:
        ready.wait()
        try:
            taken.append(publications.take(publication_id))
        finally:
            publications.connection.close()

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([claim for claim in taken if claim is not None]) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "kernels", [(b"a kernel", b"a kernel"), (b"a kernel", b"another kernel")], ids=["same", "other"]
)
def test_two_publications_of_one_tag_at_once_make_one_release_of_what_was_first(
    project: Project, kernels: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = publisher_token(project)
    made = [send(token, files(kernel)) for kernel in kernels]
    ready, reading = threading.Barrier(2), importing.read_release_directory

    def together(*arguments: Any, **named: Any) -> Any:
        found = reading(*arguments, **named)
        if not ready.broken and not Release.objects.exists():
            with suppress(threading.BrokenBarrierError):
                ready.wait(timeout=10)
        return found

    monkeypatch.setattr(importing, "read_release_directory", together)

    def run(publication_id: uuid.UUID) -> None:
        try:
            publications.run(publication_id, AssetFetcher())
        finally:
            publications.connection.close()

    threads = [threading.Thread(target=run, args=(one,)) for one in publications.due(timezone.now())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = sorted(shown(one)["state"] for one in made)
    assert states == (["imported", "imported"] if kernels[0] == kernels[1] else ["imported", "refused"])
    release = Release.objects.get()
    assert release.events.filter(kind="changed-since-import").count() == states.count("refused")
    assert {event.kind for event in release.events.all()} >= {"imported", "announced"}
