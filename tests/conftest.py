"""Fixtures that everything shares: the archive's packages, an engine, and the order of the suite."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings

from builds.bench import attestation_peers
from builds.domain.digest import Digest
from builds.domain.materials import MalformedLock, MaterialsLock, parse_lock, render_lock
from builds.domain.recipe import MaterialGroup, parse_recipe
from builds.pipeline.debian_archive import lock_groups
from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import Limits
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import Mirror
from tee_portal import throttle
from tests.support.sources import RECIPE

MIB = 1024 * 1024


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", help="where the pictures of pages go; without it, into the data directory")


def pytest_configure() -> None:
    # How long one example takes says what else the machine is doing, not whether the rule holds.
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")
    # Every client of a test loads the middleware anew, which would read all static files each time: a quarter of what
    # the portal's tests take. Servers that tests start are other processes, and look once, as they are deployed.
    settings.WHITENOISE_AUTOREFRESH = True
    # A terminated run stops what its fixtures started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first."""
    items.sort(
        key=lambda item: (item.get_closest_marker("slow") is not None, item.get_closest_marker("docker") is not None)
    )


@pytest.fixture(autouse=True)
def counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What earlier tests asked for is not counted in this one."""
    counter = throttle.LocalCounter()
    monkeypatch.setattr(throttle, "counter", lambda: counter)


def never() -> None:
    """A check that never stops anything."""


@pytest.fixture(scope="session")
def store() -> MaterialStore:
    """A store that outlives the run, so that a second run downloads nothing."""
    return MaterialStore(settings.MATERIAL_STORE)


@pytest.fixture(scope="session")
def small_lock(store: MaterialStore) -> MaterialsLock:
    """A lock of a few real packages with a shell, resolved once and kept with the store."""
    kept = store.root / "small.lock"
    with one_at_a_time(store):
        try:
            lock = parse_lock(kept.read_bytes())
        except (FileNotFoundError, MalformedLock):
            groups = parse_recipe(RECIPE.encode()).materials.groups
            lock = lock_groups(groups, store, Mirror(None), settings.ARCHIVE_KEYRING, never)
            kept.write_bytes(render_lock(lock))
        store.ensure(lock.packages, Mirror(None), never)
    return lock


@pytest.fixture(scope="session")
def firmware(store: MaterialStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's firmware for AMD SEV, which has an SNP_KERNEL_HASHES section."""
    kept = store.root / "OVMF.amdsev.fd"
    with one_at_a_time(store):
        if not kept.is_file():
            group = MaterialGroup(name="firmware", suite="forky", packages=["ovmf-amdsev"])
            lock = lock_groups([group], store, Mirror(None), settings.ARCHIVE_KEYRING, never)
            store.ensure(lock.packages, Mirror(None), never)
            directory = tmp_path_factory.mktemp("firmware")
            package = store.path(Digest.sha256(lock.packages[0].sha256))
            subprocess.run(["dpkg-deb", "-x", str(package), str(directory)], check=True)
            shutil.copy(directory / "usr/share/ovmf/OVMF.amdsev.fd", kept)
    return kept


@contextmanager
def one_at_a_time(store: MaterialStore) -> Iterator[None]:
    """The suite runs in two lanes, which keep what they prepare in one place."""
    store.root.mkdir(parents=True, exist_ok=True)
    with (store.root / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def cosign() -> Path:
    """Debian's own build, unpacked and never installed."""
    return attestation_peers.cosign(settings.DATA_DIR / "bench")


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    with closing(DockerEngine(settings.DOCKER_HOST)) as engine:
        yield engine


@pytest.fixture
def limits() -> Limits:
    return Limits(
        stage_seconds=120,
        memory_bytes=512 * MIB,
        cpus="",
        log_bytes=MIB,
        disk_bytes=512 * MIB,
        min_free_disk_bytes=0,
        output_bytes=64 * MIB,
    )


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, settings: object) -> None:
    settings.WORK_DIR = tmp_path / "work"  # type: ignore[attr-defined]
    settings.FIRMWARE_STORE = tmp_path / "published-firmware"  # type: ignore[attr-defined]
