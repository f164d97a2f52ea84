"""Rebuilds through a real worker on a real Redis: what happens when something dies, hangs or is cancelled."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.conf import settings

from builds.domain.materials import MaterialsLock
from builds.pipeline.engine import DockerEngine
from tests.support.portal import Portal, kill_hard, publish, wait_for
from tests.support.sources import DOCKERFILE, Repository, make_repository
from tests.support.worlds import KERNEL, import_small

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SLOW = DOCKERFILE.replace("RUN mkdir", "RUN echo marker && sleep 5 && mkdir")


@pytest.fixture
def portal(engine: DockerEngine) -> Iterator[Portal]:
    with tempfile.TemporaryDirectory(prefix="portal-") as directory:
        quick = {
            "TEE_PORTAL_LEASE_SECONDS": "4",
            "TEE_PORTAL_SWEEP_SECONDS": "1",
            # Only what is asked for is run, so that each test says which rebuilds there are.
            "TEE_PORTAL_LOCAL_REBUILDS": "false",
        }
        running = Portal(Path(directory), settings.DOCKER_HOST, settings.MATERIAL_STORE, quick)
        running.manage("migrate", "--verbosity", "0")
        with running.web():
            yield running


def leftovers(portal: Portal, engine: DockerEngine, rebuild: str) -> set[str]:
    work = portal.root / "data" / "work"
    names = {path.name for path in work.iterdir()} if work.is_dir() else set()
    labelled = engine.label_values("org.tee-portal.rebuild", {"org.tee-portal.rebuild": rebuild})
    return labelled | (names & {rebuild})


def queue(portal: Portal) -> str:
    return portal.manage("rebuild", "v1").split()[-2]


def wait_for_marker(portal: Portal, rebuild: str) -> None:
    """Until the log in the database shows that the RUN step itself is running."""
    wait_for("the running step", lambda: "\nmarker\n" in portal.text(f"rebuilds/{rebuild}/log"))


def test_a_release_is_reproduced_and_another_is_not_and_the_command_says_so(
    portal: Portal, small_lock: MaterialsLock
) -> None:
    import_small(portal, small_lock)
    with portal.redis(), portal.worker():
        assert "succeeded reproduced" in portal.manage("rebuild", "v1", "--wait")
    release = portal.get("releases/small/v1")
    assert release["verdict"]["outcome"] == "reproduced"
    assert release["materials_stored_at"] is not None
    assert {entry["name"] for entry in release["materials"]} >= {"dash", "coreutils"}
    assert all(entry["authenticated"] for entry in release["materials"])


def test_a_mismatch_makes_the_waiting_command_fail(portal: Portal, small_lock: MaterialsLock) -> None:
    import_small(portal, small_lock, kernel=b"something else\n")
    with portal.redis(), portal.worker():
        assert "the release was not reproduced: mismatched" in portal.manage("rebuild", "v1", "--wait", ok=False)
    assert portal.get("releases/small/v1")["components"][0]["comparison"]["outcome"] == "mismatched"


def test_a_worker_killed_mid_build_is_noticed_and_the_rebuild_is_done_again_once(
    portal: Portal, small_lock: MaterialsLock, engine: DockerEngine
) -> None:
    import_small(portal, small_lock, dockerfile=SLOW)
    with portal.redis(), ExitStack() as stack:
        worker = stack.enter_context(portal.worker())
        rebuild = queue(portal)
        wait_for_marker(portal, rebuild)
        assert leftovers(portal, engine, rebuild)
        kill_hard(worker)
        stack.enter_context(portal.worker())
        lost = portal.follow(rebuild, "lost")
        assert lost["stages"][-1]["state"] == "lost"
        assert lost["outcome"] is None
        first, second = wait_for("the retry", lambda: (found := portal.rebuilds("v1")) and len(found) == 2 and found)
        assert first["id"] == rebuild
        done = portal.follow(second["id"], "succeeded")
        assert done["retry_of"] == rebuild
        assert done["outcome"] == "reproduced"
        wait_for("the reaper", lambda: not leftovers(portal, engine, rebuild))
        assert not leftovers(portal, engine, second["id"])
        assert len(portal.rebuilds("v1")) == 2


def test_cancelling_a_running_rebuild_stops_it_and_leaves_nothing(
    portal: Portal, small_lock: MaterialsLock, engine: DockerEngine
) -> None:
    import_small(portal, small_lock, dockerfile=SLOW.replace("sleep 5", "sleep 500"))
    with portal.redis(), portal.worker():
        rebuild = queue(portal)
        wait_for_marker(portal, rebuild)
        portal.manage("rebuild", "--cancel", rebuild)
        cancelled = portal.follow(rebuild, "cancelled", seconds=30)
        assert cancelled["stages"][-1]["state"] == "cancelled"
        assert not leftovers(portal, engine, rebuild)
        assert "No evidence either way: the rebuild was cancelled." in portal.text(f"rebuilds/{rebuild}/")


def test_a_rebuild_queued_while_redis_is_away_is_found_later(portal: Portal, small_lock: MaterialsLock) -> None:
    import_small(portal, small_lock)
    assert "the broker is unreachable" in portal.manage("rebuild", "v1")
    with portal.redis(), portal.worker():
        (rebuild,) = portal.rebuilds("v1")
        assert portal.follow(rebuild["id"], "succeeded")["outcome"] == "reproduced"


def test_an_engine_that_is_away_fails_the_rebuild_by_name_and_touches_nothing_else(
    portal: Portal, small_lock: MaterialsLock
) -> None:
    import_small(portal, small_lock)
    portal.docker_host = "unix:///nonexistent/docker.sock"
    with portal.redis(), portal.worker():
        message = portal.manage("rebuild", "v1", "--wait", ok=False)
    assert "engine-unreachable" in message
    rebuild, *again = portal.rebuilds("v1")
    assert rebuild["failure"]["code"] == "engine-unreachable"
    assert {entry["state"] for entry in again} <= {"queued", "failed"}
    page = portal.text(f"rebuilds/{rebuild['id']}/")
    assert "Start the engine or correct DOCKER_HOST" in page
    assert portal.get("releases/small/v1")["verdict"]["outcome"] is None


def test_the_same_release_twice_is_one_and_a_changed_one_is_an_event_and_an_error(
    portal: Portal, small_lock: MaterialsLock
) -> None:
    import_small(portal, small_lock)
    directory = portal.root / "release-v1"
    portal.manage("import_release", str(directory))
    assert len(portal.get("releases")["releases"]) == 1
    manifest = directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace(" ", "  "))
    assert "release-changed" in portal.manage("import_release", str(directory), ok=False)
    notices = portal.get("releases/small/v1")["notices"]
    assert [notice["kind"] for notice in notices] == ["changed-since-import"]


def test_a_release_of_an_unknown_commit_is_shown_with_the_reason(portal: Portal, small_lock: MaterialsLock) -> None:
    repository = make_repository(portal.root / "source", small_lock)
    unknown = Repository(repository.path, uuid.uuid4().hex + "0" * 8)
    directory = publish(portal.root / "release", unknown, hashlib.sha256(KERNEL).hexdigest(), KERNEL)
    output = portal.manage("import_release", str(directory), "--project", "small", "--source", repository.url)
    assert "materials-failed: the source repository has no commit" in output
    release = portal.get("releases/small/v1")
    assert release["materials_stored_at"] is None
    assert "Ask the publisher which commit" in release["notices"][0]["todo"]


@pytest.mark.parametrize("content", ["", "{", '{"version": "3"}'])
def test_a_directory_without_a_readable_manifest_is_one_clear_line_and_no_release(
    portal: Portal, tmp_path: Path, content: str
) -> None:
    (tmp_path / "manifest.json").write_text(content)
    output = portal.manage("import_release", str(tmp_path), "--project", "small", "--source", "file:///x", ok=False)
    assert "CommandError: " in output
    assert "Traceback" not in output
    assert portal.get("releases")["releases"] == []
