"""What dies, stops or is cut off while rebuilders work: nothing is lost, nothing counts twice, nothing is left behind.

Real processes on a PostgreSQL, a Redis and an engine of their own. ``docs/reliability.md`` has the table.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.conf import settings

from builds.domain.lifecycle import RunState
from builds.domain.materials import MaterialsLock
from builds.pipeline.engine import DockerEngine
from tests.support.agents import AgentProcess
from tests.support.portal import Portal, kill_hard, wait_for
from tests.support.servers import Server, own_engine, own_postgres
from tests.support.sources import DOCKERFILE
from tests.support.wire import wire_to
from tests.support.worlds import import_small

pytestmark = [pytest.mark.docker, pytest.mark.postgres, pytest.mark.slow]

LEASE = 6
HEARTBEAT = LEASE / 3
SLOW = DOCKERFILE.replace("RUN mkdir", "RUN echo marker && sleep 6 && mkdir")
_TAKEN = {state.value for state in RunState if state is not RunState.QUEUED}
MOMENTS = ["claimed", "source", "materials", "base", "build", "components", "origins", "signed", "handed in"]


@dataclass
class Farm:
    """A portal on PostgreSQL with a worker that sweeps, and what is under it."""

    portal: Portal
    postgres: Server
    database: str
    redis: subprocess.Popen[bytes]
    engine: DockerEngine

    def rebuilds(self, tag: str = "v1", *states: str) -> list[dict[str, Any]]:
        """Rebuilds of a release in these states, or in any; places that nobody has taken are not among them."""
        return [row for row in self.portal.rebuilds(tag) if row["state"] in (states or _TAKEN)]

    def portal_rows(self, state: str) -> list[str]:
        """Tags of all rebuilds in a state, from the database: also while no web server runs."""
        question = "SELECT r.tag FROM builds_rebuild b JOIN builds_release r ON r.id = b.release_id WHERE b.state = %s"
        with psycopg.connect(self.database) as connection:
            return [tag for (tag,) in connection.execute(question, [state]).fetchall()]

    def wait(self, tag: str, state: str, count: int = 1) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]] | None:
            found = self.rebuilds(tag, state)
            return found if len(found) >= count else None

        return wait_for(f"{count} rebuilds of {tag} to be {state}", look, 90)

    def marker(self, tag: str = "v1") -> None:
        """Until a RUN step of the release's newest run is running."""

        def look() -> bool:
            rows = self.rebuilds(tag, "running")
            return bool(rows) and "\nmarker\n" in self.portal.text(f"rebuilds/{rows[-1]['id']}/log")

        wait_for("the running step", look)

    def sentence(self, tag: str = "v1") -> str:
        return str(self.portal.get(f"releases/small/{tag}")["verdict"]["conditions"])

    def assert_counted_once(self, tag: str = "v1") -> None:
        """One operator's result, however often it was tried or handed in, and the page says the same."""
        assert "1 of 1 reproduced" in self.sentence(tag)
        assert "1 of 1 " in self.portal.text(f"releases/small/{tag}/")

    def assert_nothing_left(self, *agents: AgentProcess) -> None:
        for agent in agents:
            wait_for("the agent's outbox", lambda agent=agent: agent.outbox == [])
            assert list((agent.home / "work").iterdir()) == []
        wait_for("an empty engine", lambda: not self.engine.label_values("org.tee-portal.rebuild", {}))
        work = self.portal.root / "data" / "work"
        wait_for("the portal's own work", lambda: not work.is_dir() or not list(work.iterdir()))


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[Server, str]]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def farm(postgres: tuple[Server, str], engine: DockerEngine) -> Iterator[Farm]:
    server, url = postgres
    name = f"farm{time.monotonic_ns()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
    database = url.replace("/postgres?", f"/{name}?")
    quick = {
        "DATABASE_URL": database,
        "TEE_PORTAL_LEASE_SECONDS": str(LEASE),
        "TEE_PORTAL_SWEEP_SECONDS": "1",
        "TEE_PORTAL_LOCAL_REBUILDS": "false",
    }
    with tempfile.TemporaryDirectory(prefix="farm-") as directory, ExitStack() as stack:
        portal = Portal(Path(directory), settings.DOCKER_HOST, settings.MATERIAL_STORE, quick)
        portal.manage("migrate", "--verbosity", "0")
        redis = stack.enter_context(portal.redis())
        stack.enter_context(portal.worker())
        yield Farm(portal, server, database, redis, engine)


@contextmanager
def held(farm: Farm, table: str) -> Iterator[None]:
    """Nobody else can write this table while this holds: whoever tries stands still in the middle of it."""
    with psycopg.connect(farm.database) as connection:
        connection.execute(f"LOCK TABLE {table} IN SHARE MODE")  # type: ignore[call-overload]
        yield
        connection.rollback()


def waits_for(farm: Farm, table: str) -> bool:
    question = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    with psycopg.connect(farm.database, autocommit=True) as connection:
        found = connection.execute(question, [table]).fetchone()
    return bool(found and found[0])


def test_an_agent_killed_at_any_moment_loses_nothing_and_its_next_run_cleans_up(
    farm: Farm, small_lock: MaterialsLock
) -> None:
    with farm.portal.web(), ExitStack() as stack:
        agents = {}
        for number, moment in enumerate(MOMENTS):
            import_small(farm.portal, small_lock, tag=f"v{number}")
            agents[moment] = AgentProcess(farm.portal, f"operator-{number}").enrolled()
        runs = {
            moment: stack.enter_context(agent.pausing(moment, "--release", f"v{number}"))
            for number, (moment, agent) in enumerate(agents.items())
        }
        for number, (moment, (running, reached)) in enumerate(runs.items()):
            wait_for(f"the moment {moment}", reached.exists, 180)
            if moment not in {"signed", "handed in"}:
                assert len(farm.rebuilds(f"v{number}", "running")) == 1
            running.kill()
            running.wait()
        for number, (moment, agent) in enumerate(agents.items()):
            tag = f"v{number}"
            if moment != "handed in":
                farm.wait(tag, "lost")
                assert farm.portal.get(f"releases/small/{tag}")["verdict"]["outcome"] is None
            said = agent.run("--release", tag)
            assert ("was handed in" in said) is (moment in {"signed", "handed in"})
            farm.assert_counted_once(tag)
        farm.assert_nothing_left(*agents.values())


def test_an_agent_killed_in_the_middle_of_a_step_leaves_a_container_that_its_next_run_removes(
    farm: Farm, small_lock: MaterialsLock
) -> None:
    import_small(farm.portal, small_lock, dockerfile=SLOW.replace("sleep 6", "sleep 300"))
    with farm.portal.web():
        agent = AgentProcess(farm.portal, "ada").enrolled()
        with agent.running("--release", "v1") as running:
            farm.marker()
            running.kill()
            running.wait()
        assert farm.engine.label_values("org.tee-portal.rebuild", {})
        farm.wait("v1", "lost")
        with agent.running("--release", "v1") as running:
            wait_for("the reaper", lambda: "that an earlier run left" in agent.log.read_text())
            farm.wait("v1", "running")
            running.terminate()
            running.wait(30)
        farm.assert_nothing_left(agent)


@pytest.mark.parametrize("stored", [False, True], ids=["before-it-is-stored", "before-it-is-told"])
@pytest.mark.parametrize(
    ("asked", "table"),
    [(b"POST /api/v1/claims", "builds_rebuild"), (b"POST /api/v1/statements", "builds_storedstatement")],
    ids=["claim", "submit"],
)
def test_a_portal_killed_while_it_serves_a_rebuilder_gives_and_takes_once(
    farm: Farm, small_lock: MaterialsLock, asked: bytes, table: str, *, stored: bool
) -> None:
    import_small(farm.portal, small_lock)
    wait_for("two places", lambda: len(farm.portal_rows("queued")) == 2)
    with ExitStack() as stack:
        wire = stack.enter_context(wire_to(farm.portal.port))
        web = stack.enter_context(farm.portal.web())
        agent = AgentProcess(farm.portal, "ada").enrolled()
        if stored:
            wire.keep_answers_to(asked)
            stack.enter_context(agent.running(portal=wire.address))
            assert wire.kept_back.wait(120)
            kill_hard(web)
        else:
            with held(farm, table):
                stack.enter_context(agent.running(portal=wire.address))
                wait_for("a request that waits", lambda: waits_for(farm, table))
                kill_hard(web)
        wire.cut()
        wire.mend()
        stack.enter_context(farm.portal.web())
        farm.wait("v1", "succeeded")
        farm.assert_counted_once()
        farm.assert_nothing_left(agent)
        wait_for("a place for somebody else", lambda: len(farm.portal_rows("queued")) >= 1)
    assert farm.portal_rows("succeeded") == ["v1"]


@contextmanager
def an_agent_and_the_worker_building(farm: Farm) -> Iterator[subprocess.Popen[bytes]]:
    """Both in the middle of the same release; the agent's process."""
    with AgentProcess(farm.portal, "ada").enrolled().running("--release", "v1") as agent:
        farm.portal.manage("rebuild", "v1")
        wait_for("two runs", lambda: len(farm.rebuilds("v1", "running")) == 2)
        farm.marker()
        yield agent


def test_redis_stopped_and_emptied_during_a_build_changes_nothing(farm: Farm, small_lock: MaterialsLock) -> None:
    import_small(farm.portal, small_lock, dockerfile=SLOW)
    with farm.portal.web(), ExitStack() as stack:
        agent = stack.enter_context(an_agent_and_the_worker_building(farm))
        kill_hard(farm.redis)
        farm.portal.redis_socket.unlink()
        assert len(farm.rebuilds("v1", "running")) == 2
        time.sleep(HEARTBEAT)
        stack.enter_context(farm.portal.redis())
        farm.wait("v1", "succeeded", 2)
        assert "2 of 2 reproduced" in farm.sentence()
        assert agent.wait(30) == 0
        farm.portal.manage("rebuild", "v1")
        farm.wait("v1", "succeeded", 3)
        assert "2 of 2 reproduced" in farm.sentence()
        farm.assert_nothing_left()


def test_postgresql_restarted_during_a_build_changes_nothing(farm: Farm, small_lock: MaterialsLock) -> None:
    import_small(farm.portal, small_lock, dockerfile=SLOW)
    with farm.portal.web(), ExitStack() as stack:
        agent = stack.enter_context(an_agent_and_the_worker_building(farm))
        farm.postgres.stop()
        for path in ("api/v1/releases/small/v1", "releases/small/v1/"):
            answer = requests.get(f"{farm.portal.address}/{path}", timeout=10)
            assert answer.status_code == 503
            assert "nothing is said about any release" in answer.text
        farm.postgres.start()
        farm.wait("v1", "succeeded", 2)
        assert agent.wait(30) == 0
        assert "2 of 2 reproduced" in farm.sentence()
        assert [row["state"] for row in farm.rebuilds()] == ["succeeded", "succeeded"]
        farm.assert_nothing_left()


def test_an_engine_stopped_during_a_build_fails_it_by_name_and_the_job_is_done_later(
    farm: Farm, small_lock: MaterialsLock
) -> None:
    import_small(farm.portal, small_lock, dockerfile=SLOW)
    with farm.portal.web(), own_engine() as (server, address):
        farm.portal.docker_host = address
        agent = AgentProcess(farm.portal, "ada").enrolled()
        with agent.running() as running:
            farm.marker()
            server.stop()
            failed, *_ = farm.wait("v1", "failed")
            assert failed["failure"]["code"] == "engine-unreachable"
            assert farm.portal.get("releases/small/v1")["verdict"]["outcome"] is None
            assert "0 of 0 reproduced, 0 contradict, 1 failed" in farm.sentence()
            server.start()
            farm.wait("v1", "succeeded")
            farm.assert_counted_once()
            running.terminate()
            running.wait(30)
        with closing(DockerEngine(address)) as engine:
            assert not engine.label_values("org.tee-portal.rebuild", {})
        farm.assert_nothing_left(agent)


def test_an_agent_cut_off_for_two_heartbeats_keeps_its_claim(farm: Farm, small_lock: MaterialsLock) -> None:
    import_small(farm.portal, small_lock, dockerfile=SLOW)
    with farm.portal.web(), wire_to(farm.portal.port) as wire:
        agent = AgentProcess(farm.portal, "ada").enrolled()
        with agent.running("--release", "v1", portal=wire.address) as running:
            farm.marker()
            wire.cut()
            time.sleep(2 * HEARTBEAT)
            assert len(farm.rebuilds("v1", "running")) == 1
            wire.mend()
            assert running.wait(60) == 0
        (only,) = farm.rebuilds()
        assert only["state"] == "succeeded"
        assert "built at" in farm.portal.text(f"rebuilds/{only['id']}/log")
        farm.assert_counted_once()
        farm.assert_nothing_left(agent)


def test_an_agent_cut_off_for_twenty_heartbeats_loses_its_claim_and_its_result_counts_once_beside_the_others(
    farm: Farm, small_lock: MaterialsLock
) -> None:
    import_small(farm.portal, small_lock, dockerfile=SLOW)
    with farm.portal.web(), wire_to(farm.portal.port) as wire:
        ada, ben = (AgentProcess(farm.portal, name).enrolled() for name in ("ada", "ben"))
        with ada.running(portal=wire.address) as running:
            farm.marker()
            wire.cut()
            until = time.monotonic() + 20 * HEARTBEAT
            farm.wait("v1", "lost")
            assert farm.portal.get("releases/small/v1")["verdict"]["outcome"] is None
            ben.run("--release", "v1")
            farm.assert_counted_once()
            wait_for("what was signed meanwhile", lambda: ada.outbox)
            time.sleep(max(0, until - time.monotonic()))
            farm.assert_counted_once()
            wire.mend()
            wait_for("the late result", lambda: "2 of 2 reproduced" in farm.sentence())
            running.terminate()
            running.wait(30)
        assert len(farm.portal_rows("succeeded")) == 2
        farm.assert_nothing_left(ada, ben)
