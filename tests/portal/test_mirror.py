"""Publishing the mirror: the same files for the same database, written in any order of changes and after any death."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from attestations import mirror_tree as files
from attestations import tasks
from attestations.domain.mirror import CHECKPOINT_FILE, MAX_OBJECT_BYTES, FileKind
from attestations.local_sigstore import TrustDomain
from attestations.mirror_tree import MirrorBusy, mirror_tree
from attestations.models import ExpectedPublisher, MirroredPart, MirroredRelease, MirrorSequence, VerdictRecord
from attestations.services import mirror_changes, mirroring, verdicts
from attestations.services.portal_key import portal_key
from builds.domain.errors import DiskFull
from builds.models import Project, Release
from builds.pipeline.held_directory import HeldDirectory
from builds.verify.evidence import Kind
from tests.portal.attested import attest_all
from tests.portal.mirroring import Mirror, rebuilt
from tests.support.mirrors import checkpoint_of, objects

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]


def test_an_empty_portal_has_a_mirror_too(mirror: Mirror) -> None:
    mirror.publish()
    found = mirror.assert_whole()
    assert found.releases == {}
    assert [page.changes for page in found.pages] == [()]


def test_a_mirror_that_followed_every_change_is_byte_for_byte_one_that_is_made_anew(
    mirror: Mirror, release: Release, make_release: MakeRelease, domain: TrustDomain
) -> None:
    mirror.publish()
    rebuilt(release, "ada")
    mirror.publish()
    other = make_release("v1.1.0")
    rebuilt(other, "ben")
    rebuilt(release, "ben")
    mirror.publish()
    attest_all(release, domain)
    mirror.publish()
    found = mirror.assert_whole()
    assert set(found.releases) == {"enclave/v0", "enclave/v1.0.0", "enclave/v1.1.0"}
    kinds = [file.kind for file in found.releases["enclave/v1.0.0"].files]
    assert kinds[:4] == ["document", "policy", "verdict", "portal-key"]
    assert kinds.count("statement") == kinds.count("rebuilder-key") == 2
    assert kinds.count("attestation") == 5
    assert mirror.publish(anew=True).checkpoint.root == found.checkpoint.root


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_changes_and_losses_ends_with_the_files_of_the_database(
    mirror: Mirror, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(mirror_changes, "PAGE", 4)
    chance = random.Random(seed)
    names = iter(range(100))

    def rebuild() -> None:
        rebuilt(chance.choice(list(Release.objects.order_by("pk"))), chance.choice(["ada", "ben", "cy"]))

    def lose() -> None:
        for path in chance.sample(sorted(objects(mirror.directory)), 3):
            (mirror.directory / path).unlink()

    changes: list[Callable[[], object]] = [
        lambda: make_release(f"v{next(names)}"),
        rebuild,
        rebuild,
        lambda: [release.delete() for release in Release.objects.filter(rebuilds=None).order_by("-pk")[1:2]],
        lose,
        lambda: (Project.objects.update(needed_operators=chance.randint(1, 5)), verdicts.record_all()),
    ]
    changes[0]()
    mirror.publish()
    for _ in range(12):
        chance.choice(changes)()
        if chance.random() < 0.6:
            mirror.publish()
    mirror.publish()
    mirror.assert_whole()


def test_without_a_change_nothing_is_written_but_a_newer_checkpoint(mirror: Mirror, make_release: MakeRelease) -> None:
    rebuilt(make_release(), "ada")
    first = mirror.publish()
    second = mirror.publish()
    assert first.written > 0
    assert (second.written, second.checkpoint.root) == (0, first.checkpoint.root)
    assert second.checkpoint.sequence > first.checkpoint.sequence
    assert second.checkpoint.issued_at >= first.checkpoint.issued_at


def test_a_change_of_one_release_writes_its_files_and_what_leads_to_them(
    mirror: Mirror, make_release: MakeRelease
) -> None:
    releases = [make_release(f"v{number}") for number in range(12)]
    verdicts.record_due()
    mirror.publish()
    rebuilt(releases[3], "ada")
    # Statement, its key, verdict, document, shard, last page of changes, feed, root; policy and portal's key are there.
    assert mirror.publish().written == 8
    mirror.assert_whole()


def test_the_newest_verdict_is_the_one_that_is_named(mirror: Mirror, make_release: MakeRelease) -> None:
    release = make_release()
    rebuilt(release, "ada", "ben")
    mirror.publish()
    record = VerdictRecord.objects.filter(release=release).order_by("-at", "-pk")[0]
    held = mirror.read().releases["enclave/v1.0.0"]
    named = held.only("verdict")
    assert named is not None
    assert (mirror.directory / named.ref.blob_path).read_bytes() == verdicts.bundle_of(record)
    assert held.verdict is not None
    assert (held.verdict.decision, held.verdict.sentence) == (record.decision, record.sentence)


def test_what_came_before_the_publication_is_judged_by_it(mirror: Mirror, make_release: MakeRelease) -> None:
    make_release()
    assert VerdictRecord.objects.count() == 0
    mirror.publish()
    (shard,) = mirror.read().shards
    assert [(entry.tag, entry.judged) for entry in shard.releases] == [("v1.0.0", True)]
    assert VerdictRecord.objects.count() == 1


def test_a_release_that_nobody_judged_of_late_is_not_vouched_for(mirror: Mirror, make_release: MakeRelease) -> None:
    release = make_release()
    mirror.publish()
    Release.objects.filter(pk=release.pk).update(
        judged_at=timezone.now() - timedelta(hours=2), evidence_changed_at=timezone.now() - timedelta(hours=3)
    )
    mirror.publish()
    (shard,) = mirror.read().shards
    assert [entry.judged for entry in shard.releases] == [False]


class Killed(BaseException):
    """The process ends here."""


def test_a_publisher_that_is_killed_anywhere_leaves_the_old_mirror_whole(
    mirror: Mirror, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release()
    before = mirror.publish().checkpoint
    old = mirror.beside.with_name("old")
    shutil.copytree(mirror.directory, old)
    rebuilt(release, "ada")
    write, count = files._write, [0]
    for place in range(100):
        shutil.rmtree(mirror.directory)
        shutil.copytree(old, mirror.directory)
        count[0] = 0

        def dying(directory: HeldDirectory, name: str, data: bytes, place: int = place) -> None:
            count[0] += 1
            if count[0] > place:
                # Half of it lies there already, under no name that anybody reads.
                directory.write(".new-killed", data[: len(data) // 2], mode=0o600)
                raise Killed
            write(directory, name, data)

        monkeypatch.setattr(files, "_write", dying)
        try:
            mirror.publish()
        except Killed:
            monkeypatch.setattr(files, "_write", write)
            found = mirror.read()
            # The last thing that is written is who waits to be removed.
            assert found.checkpoint == before or place == 9
        else:
            break
    # Eight objects for a rebuild, the checkpoint after them, and who waits to be removed.
    assert place == 10
    monkeypatch.setattr(files, "_write", write)
    mirror.publish()
    mirror.assert_whole()
    assert list(mirror.directory.rglob(".new-*")) == []


def test_a_full_disk_is_named_and_leaves_the_old_mirror(
    mirror: Mirror, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release()
    before = mirror.publish().checkpoint
    rebuilt(release, "ada")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DiskFull):
            mirror.publish()
    assert mirror.read().checkpoint == before
    mirror.publish()
    mirror.assert_whole()


def test_one_publication_at_a_time(mirror: Mirror) -> None:
    with mirror_tree(mirror.directory, lambda _: True), pytest.raises(MirrorBusy):
        mirror.publish()
    mirror.publish()


def test_numbers_of_checkpoints_only_grow_whatever_is_lost(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [mirror.publish().checkpoint.sequence]
    (mirror.directory / CHECKPOINT_FILE).unlink()
    numbers.append(mirror.publish().checkpoint.sequence)
    # As with the database of a backup: the clock keeps the number from going back, and so does the directory.
    MirrorSequence.objects.all().delete()
    numbers.append(mirror.publish().checkpoint.sequence)
    MirrorSequence.objects.update(number=2**40)
    numbers.append(mirror.publish().checkpoint.sequence)
    MirrorSequence.objects.all().delete()
    numbers.append(mirror.publish().checkpoint.sequence)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 2**40


def test_what_nothing_names_any_more_stays_for_readers_and_goes_after_that(
    mirror: Mirror, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release()
    mirror.publish()
    old = set(mirror.read().paths)
    rebuilt(release, "ada")
    assert mirror.publish().removed == 0
    gone = old - mirror.read().paths
    assert gone
    assert gone <= objects(mirror.directory).keys()
    now = timezone.now()
    later = now + timedelta(hours=8)
    Release.objects.update(judged_at=later)
    monkeypatch.setattr(mirroring.timezone, "now", lambda: later)
    assert mirror.publish().removed == len(gone)
    assert objects(mirror.directory).keys() == mirror.read().paths


def test_lost_cut_and_altered_files_are_made_again(mirror: Mirror, make_release: MakeRelease) -> None:
    rebuilt(make_release(), "ada")
    mirror.publish()
    whole = objects(mirror.directory)
    for number, path in enumerate(whole):
        place = mirror.directory / path
        place.unlink() if number % 2 else place.write_bytes(whole[path][:-1])
    mirror.publish()
    assert objects(mirror.directory) == whole
    for path in whole:
        (mirror.directory / path).write_bytes(b"x" * len(whole[path]))
    mirror.publish(anew=True)
    assert objects(mirror.directory) == whole


def test_what_is_believed_is_kept_in_the_database_and_not_read_from_the_mirror(
    mirror: Mirror, make_release: MakeRelease
) -> None:
    """Who may write to the directory cannot have the portal sign what it never said."""
    release = make_release()
    rebuilt(release, "ada")
    mirror.publish()
    root = mirror.read().checkpoint.root
    for path, data in objects(mirror.directory).items():
        if path.startswith("index/"):
            (mirror.directory / path).write_bytes(data.replace(b"v1.0.0", b"v6.6.6"))
    assert mirror.publish().checkpoint.root == root


def test_another_version_of_what_is_kept_is_made_again(mirror: Mirror, make_release: MakeRelease) -> None:
    make_release()
    mirror.publish()
    MirroredRelease.objects.update(document=b'{"format": "of another time"}')
    MirroredPart.objects.update(content={"of": "another time"})
    mirror.publish()
    mirror.assert_whole()


def test_an_owner_who_publishes_attestations_has_them_mirrored_byte_for_byte(
    mirror: Mirror, release: Release, publisher: ExpectedPublisher, domain: TrustDomain
) -> None:
    attest_all(release, domain)
    mirror.publish()
    held = mirror.read().releases["enclave/v1.0.0"]
    refs = [file.ref.sha256 for file in held.files if file.kind == "attestation"]
    assert refs == [row.bundle.sha256 for row in release.attestation_sightings.select_related("bundle")]


def test_the_schedule_publishes_where_a_directory_is_set(
    mirror: Mirror, settings: Any, make_release: MakeRelease
) -> None:
    tasks.publish_mirror()
    assert not mirror.directory.exists()
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"mirror_dir": mirror.directory})
    make_release()
    tasks.publish_mirror()
    assert set(mirror.read().releases) == {"enclave/v1.0.0"}
    with mirror_tree(mirror.directory, lambda _: True):
        tasks.publish_mirror()


def test_a_verdict_that_was_recorded_anywhere_is_published_soon(
    mirror: Mirror, settings: Any, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(tasks.publish_mirror, "delay", lambda: told.append(True))
    release = make_release()
    tasks.record_verdicts()
    assert told == []
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"mirror_dir": mirror.directory})
    tasks.record_verdicts()
    assert told == [True]
    mirror.publish()
    tasks.record_verdicts()
    assert told == [True]
    # Recorded at once, and not by the schedule.
    rebuilt(release, "ada")
    tasks.record_verdicts()
    assert told == [True, True]


def test_a_release_that_no_document_can_hold_keeps_no_other_from_being_published(
    mirror: Mirror, make_release: MakeRelease
) -> None:
    make_release("v1")
    odd = make_release("v2")
    Release.objects.filter(pk=odd.pk).update(tag="\N{ZERO WIDTH SPACE}v2")
    assert mirror.publish().releases == 1
    assert set(mirror.read().releases) == {"enclave/v1"}


def test_evidence_that_is_larger_than_readers_take_is_named_all_the_same(
    mirror: Mirror, make_release: MakeRelease
) -> None:
    release = make_release()
    Release.objects.filter(pk=release.pk).update(manifest=b" " * (MAX_OBJECT_BYTES + 1))
    mirror.publish()
    document = mirror.assert_whole().releases["enclave/v1.0.0"].only("document")
    assert document is not None
    assert document.ref.size == MAX_OBJECT_BYTES + 1


def test_the_command_says_what_was_done(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("publish_mirror", str(mirror.directory))
    number = checkpoint_of(mirror.directory, portal_key().public).sequence
    assert f"checkpoint {number}, to be relied on until" in capsys.readouterr().out
    call_command("publish_mirror", str(mirror.directory), "--full")
    mirror.assert_whole()


def test_the_kinds_of_evidence_are_those_of_the_evidence_file() -> None:
    own = {Kind.CHECKPOINT, Kind.INDEX}
    assert set(FileKind.__args__) == {kind.value for kind in Kind if kind not in own}  # type: ignore[attr-defined]
