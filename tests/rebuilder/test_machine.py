"""What an operator is told before anything is claimed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.answers import ListedRelease
from builds.domain.job import RebuildJob
from builds.domain.queue import Needs
from builds.pipeline.signing import generate
from builds.rebuilder import machine
from builds.rebuilder.machine import State
from builds.rebuilder.portal_client import PortalAway
from builds.rebuilder.session import DEFAULT_KEYRING, Options

GIB = 1024**3
ASKS_NOTHING = Needs(recipe_format=1, memory_bytes=0, disk_bytes=0, network=False, registry=False)
JOB = RebuildJob(
    project="small",
    tag="v1",
    commit="a" * 40,
    source_url="https://example.invalid/small",
    components=(),
    expected_seconds=60,
    needs=ASKS_NOTHING,
)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(
        portal="https://portal.invalid",
        data=tmp_path / "home",
        materials=None,
        docker_host=f"unix://{tmp_path}/no.sock",
        mirror="http://mirror.invalid/debian",
        keyring=DEFAULT_KEYRING,
        memory_gib=6,
        disk_gib=12,
        minutes=60,
        allow_network=False,
        allow_registry=False,
    )


class OneRelease:
    """What a portal answers that has one release."""

    address = "https://portal.invalid"

    def __init__(self, job: RebuildJob) -> None:
        self._job = job

    def releases(self, *, project: str | None = None, tag: str | None = None) -> list[ListedRelease]:
        return [ListedRelease(project="small", tag="v1")]

    def job(self, release: ListedRelease) -> RebuildJob:
        return self._job


def against(options: Options, **changes: object) -> dict[str, machine.Finding]:
    client = OneRelease(JOB.model_copy(update=changes))
    found = machine.look_at_portal(options, client, project=None, tags=None)
    return {entry.subject: entry for entry in found}


def lacking(options: Options, key: Path | None = None) -> dict[str, str]:
    return {entry.subject: entry.line for entry in machine.look(options, key) if entry.state is State.LACKS}


def test_a_machine_without_an_engine_is_told_where_it_was_looked_for(options: Options) -> None:
    assert options.docker_host in lacking(options)["engine"]


def test_a_full_disk_is_named_with_what_is_free_and_what_is_needed(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(20 * GIB, 7 * GIB, 13 * GIB))
    line = lacking(options)["disk"]
    assert "13.0 GiB free" in line
    assert "may write 12.0 GiB and leaves 2.0 GiB" in line


def test_enough_disk_is_no_finding(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(20 * GIB, 6 * GIB, 14 * GIB))
    assert "disk" not in lacking(options)


def test_a_missing_program_is_named_with_its_package(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "dpkg-deb" else f"/usr/bin/{name}")
    assert "dpkg-deb is not installed. Debian has it in dpkg." in lacking(options)["programs"]


def test_a_missing_keyring_is_named(options: Options, tmp_path: Path) -> None:
    assert "debian-archive-keyring" in lacking(replace(options, keyring=tmp_path / "none.gpg"))["keyring"]


def test_a_place_that_cannot_be_written_to_lacks_rights(options: Options, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert str(file) in lacking(replace(options, data=file / "home"))["rights"]


def test_looking_makes_nothing(options: Options) -> None:
    machine.look(options, None)
    assert not options.data.exists()


def test_a_key_that_others_may_read_is_lacking_and_no_key_is_unknown(options: Options, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    generate(key)
    assert "key" not in lacking(options, key)
    key.chmod(0o644)
    assert "others may read" in lacking(options, key)["key"]
    (unnamed,) = [entry for entry in machine.look(options, None) if entry.subject == "key"]
    assert unnamed.state is State.UNKNOWN


def test_a_release_that_asks_for_more_than_is_given_says_which_option_gives_it(options: Options) -> None:
    asked = ASKS_NOTHING.model_copy(update={"memory_bytes": 8 * GIB, "disk_bytes": 20 * GIB, "network": True})
    found = against(options, needs=asked)
    assert found["memory"].todo == "Give more: --memory-gib 8"
    assert found["disk"].todo == "Give more: --disk-gib 20"
    assert found["rights"].todo == "Allow it: --allow-network"


def test_a_base_image_from_a_registry_and_a_newer_recipe_are_named(options: Options) -> None:
    found = against(options, needs=ASKS_NOTHING.model_copy(update={"registry": True, "recipe_format": 2}))
    assert found["rights"].todo == "Allow it: --allow-registry"
    assert "format 2" in found["recipe"].sentence


def test_what_takes_longer_than_a_stage_may_is_lacking_and_an_unknown_time_is_unknown(options: Options) -> None:
    assert against(options, expected_seconds=3601)["minutes"].state is State.OK
    assert against(options, expected_seconds=3660)["minutes"].todo == "Give more: --minutes 122"
    assert against(options, expected_seconds=None)["minutes"].state is State.UNKNOWN


def test_a_portal_that_does_not_say_what_is_needed_leaves_it_unknown(options: Options) -> None:
    assert against(options, needs=None)["needs"].state is State.UNKNOWN


def test_a_portal_that_does_not_answer_is_lacking(options: Options) -> None:
    class Away(OneRelease):
        def releases(self, *, project: str | None = None, tag: str | None = None) -> list[ListedRelease]:
            raise PortalAway("no answer", where=self.address)

    (found,) = machine.look_at_portal(options, Away(JOB), project=None, tags=None)
    assert found.state is State.LACKS
    assert "no answer" in found.line


@given(
    memory=st.integers(0, 16 * GIB),
    disk=st.integers(0, 32 * GIB),
    network=st.booleans(),
    registry=st.booleans(),
    recipe=st.integers(1, 3),
)
def test_something_is_lacking_exactly_when_the_portal_would_not_give_the_job(
    memory: int, disk: int, network: bool, registry: bool, recipe: int
) -> None:
    needs = Needs(recipe_format=recipe, memory_bytes=memory, disk_bytes=disk, network=network, registry=registry)
    options = Options(
        "https://portal.invalid",
        Path("/nonexistent"),
        None,
        "unix:///x",
        None,
        DEFAULT_KEYRING,
        6,
        12,
        60,
        allow_network=False,
        allow_registry=False,
    )
    found = against(options, needs=needs)
    lacks = any(entry.state is State.LACKS for entry in found.values())
    assert lacks is not needs.met_by(options.tools.capability)
