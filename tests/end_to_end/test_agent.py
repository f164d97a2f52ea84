"""The rebuilder agent against a real portal and a real engine: what third parties run on their own machines."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from builds.domain.materials import MaterialsLock
from builds.pipeline.engine import DockerEngine
from tee_portal.env import BASE_DIR
from tests.support.agents import AgentProcess
from tests.support.portal import Portal, wait_for
from tests.support.sources import DOCKERFILE
from tests.support.worlds import KERNEL, import_small

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SLOW = DOCKERFILE.replace("RUN mkdir", "RUN echo marker && sleep 300 && mkdir")


@pytest.fixture
def portal(engine: DockerEngine) -> Iterator[Portal]:
    with tempfile.TemporaryDirectory(prefix="portal-") as directory:
        quick = {"TEE_PORTAL_LEASE_SECONDS": "6", "TEE_PORTAL_LOCAL_REBUILDS": "false"}
        running = Portal(Path(directory), settings.DOCKER_HOST, settings.MATERIAL_STORE, quick)
        running.manage("migrate", "--verbosity", "0")
        with running.web():
            yield running


def left_in_engine(engine: DockerEngine) -> set[str]:
    """Builds of agents that the engine still holds something of; the portal's own worker runs none here."""
    return engine.label_values("org.tee-portal.rebuild", {})


def test_three_operators_reproduce_a_release_and_each_signs_it(
    portal: Portal, small_lock: MaterialsLock, engine: DockerEngine
) -> None:
    import_small(portal, small_lock)
    for name in ("ada", "ben", "cy"):
        agent = AgentProcess(portal, name).enrolled()
        output = agent.run("--release", "v1")
        assert "small v1: reproduced http://" in output
        assert agent.outbox == []
    verdict = portal.get("releases/small/v1")["verdict"]
    assert "3 of 3 independent operators (2 needed) rebuilt every component" in verdict["sentence"]
    assert not left_in_engine(engine)


def test_check_says_that_this_machine_lacks_nothing_and_claims_nothing(
    portal: Portal, small_lock: MaterialsLock
) -> None:
    import_small(portal, small_lock)
    agent = AgentProcess(portal, "ada").enrolled()
    said = agent.run("--check", "--memory-gib", "1", "--disk-gib", "1")
    assert "lacks" not in said
    assert "unknown  minutes   nobody has rebuilt the project of small v1 yet" in said
    assert portal.rebuilds("v1") == []
    assert "lacks    memory" in agent.run("--check", "--memory-gib", "100000", "--disk-gib", "1", code=1)


def test_a_sceptic_rebuilds_alone_compares_and_hands_in_later(portal: Portal, small_lock: MaterialsLock) -> None:
    import_small(portal, small_lock, kernel=b"something else\n")
    agent = AgentProcess(portal, "eve")
    output = portal.root / "mine.rebuild.sigstore.json"
    keygen = [sys.executable, "-m", "builds.rebuilder", "keygen", str(agent.key)]
    subprocess.run(keygen, cwd=BASE_DIR, check=True, capture_output=True)
    told = agent.run("rebuild", "v1", "--output", str(output), code=1)
    assert f"published sha256:{hashlib.sha256(b'something else\n').hexdigest()}" in told
    assert f"rebuilt   sha256:{hashlib.sha256(KERNEL).hexdigest()}" in told
    assert "small v1: mismatched" in told
    assert portal.rebuilds("v1") == []
    assert json.loads(output.read_bytes())["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert output.with_name("mine.rebuild.pub").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    refused = subprocess.run(
        [sys.executable, "-m", "builds.rebuilder", "submit", str(output), "--portal", portal.address],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("portal-refused: unknown-key: ")


def test_a_pending_operator_hands_in_a_trial_that_is_shown_and_does_not_count(
    portal: Portal, small_lock: MaterialsLock
) -> None:
    import_small(portal, small_lock)
    AgentProcess(portal, "ada").enrolled().run("--release", "v1")
    newcomer = AgentProcess(portal, "new").enrolled(accepted=False)
    said = ("--operator", "new", "--name", "New", "--contact", "n@example.invalid", "--domain", "example.invalid")
    told = newcomer.run("enroll", *said)
    assert "pending" in told
    assert "https://example.invalid/.well-known/tee-portal-rebuilder.txt" in told
    assert "it does not count: The operator is pending" in told
    assert "1 of 1 reproduced" in str(portal.get("releases/small/v1")["verdict"]["conditions"])
    portal.manage("operators", "accept", "new", "--by", "Ada", "--identified-by", "her domain shows the key")
    assert "2 of 2 reproduced" in str(portal.get("releases/small/v1")["verdict"]["conditions"])


def test_everything_of_a_project_is_rebuilt_once_by_who_follows_it(portal: Portal, small_lock: MaterialsLock) -> None:
    for tag in ("v1", "v2"):
        import_small(portal, small_lock, tag=tag)
    agent = AgentProcess(portal, "ada").enrolled()
    planned = agent.run("--follow", "small", "--dry-run")
    assert planned.splitlines() == ["small v1", "small v2", "2 releases can be rebuilt; nothing was claimed"]
    agent.run("--follow", "small", "--all")
    assert {path.name for path in (agent.home / "statements").glob("*.json")} == {
        "small@v1.rebuild.sigstore.json",
        "small@v2.rebuild.sigstore.json",
    }
    for tag in ("v1", "v2"):
        assert "1 of 1 reproduced" in str(portal.get(f"releases/small/{tag}")["verdict"]["conditions"])
    assert agent.run("--follow", "small", "--all").count("was rebuilt here before") == 2


def test_sigterm_stops_the_build_gives_the_claim_back_and_leaves_nothing(
    portal: Portal, small_lock: MaterialsLock, engine: DockerEngine
) -> None:
    import_small(portal, small_lock, dockerfile=SLOW)
    agent = AgentProcess(portal, "ada").enrolled()
    with agent.running("--release", "v1") as running:
        (rebuild,) = wait_for("the claim", lambda: portal.rebuilds("v1") or None)
        wait_for("the running step", lambda: "\nmarker\n" in portal.text(f"rebuilds/{rebuild['id']}/log"))
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 1
    ended, again = portal.rebuilds("v1")
    assert (ended["state"], again["state"]) == ("cancelled", "queued")
    assert not left_in_engine(engine)
    assert list((agent.home / "work").iterdir()) == []


def test_the_agent_runs_where_django_celery_and_our_database_are_not(tmp_path: Path) -> None:
    blocked = "django celery kombu redis psycopg sigstore ninja tee_portal attestations"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name.partition('.')[0] in {blocked.split()!r}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    finished = subprocess.run(
        [sys.executable, "-m", "builds.rebuilder", "keygen", str(tmp_path / "key.pem")],
        cwd=BASE_DIR,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "never send it to anybody" in finished.stdout
