"""A release workflow announces its release to a portal as it is deployed: web server, worker and Redis."""

from __future__ import annotations

import os
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from django.conf import settings
from django.core.management import call_command

from attestations import tasks
from builds.models import Project, Release
from tee_portal.env import BASE_DIR
from tests.end_to_end.conftest import FinishedDemo
from tests.end_to_end.test_demo import HONEST, TAMPERED
from tests.support.portal import Portal, kill_hard, wait_for
from tests.support.publishing import (
    KERNEL,
    TAG,
    allow,
    announce,
    at_addresses,
    files,
    publisher_token,
    rows,
    send,
    serves,
    shown,
    work,
    written,
)
from tests.support.receivers import answers, by_path, receiver

pytestmark = pytest.mark.slow

COMMIT = "c" * 40
_MAKE = """
from django.contrib.auth.models import User
from attestations.models import AssetHost, ProjectPublisher
from builds.domain.access import Scope
from builds.models import Project
from builds.services.access import create_token
project = Project.objects.create(name="enclave", source_url="file:///nowhere")
account = User.objects.create_user("workflow")
ProjectPublisher.objects.create(project=project, account=account)
AssetHost.objects.create(project=project, host="127.0.0.1", port={port})
print("token", create_token(account, "release workflow", [Scope.PUBLISH_RELEASE], 30).secret)
"""


@pytest.fixture
def portal() -> Iterator[Portal]:
    with tempfile.TemporaryDirectory(prefix="portal-") as directory:
        root = Path(directory)
        quick = {
            "TEE_PORTAL_LEASE_SECONDS": "3",
            "TEE_PORTAL_SWEEP_SECONDS": "1",
            "TEE_PORTAL_LOCAL_REBUILDS": "false",
        }
        running = Portal(root, f"unix://{root}/no-engine", settings.MATERIAL_STORE, quick)
        running.manage("migrate", "--verbosity", "0")
        yield running


def token(portal: Portal, port: int = 1) -> str:
    return portal.manage("shell", "--verbosity", "0", "-c", _MAKE.format(port=port)).split("token ")[1].split()[0]


def step() -> str:
    """What docs/api.md has a workflow run."""
    page = (BASE_DIR / "docs" / "api.md").read_text()
    (block,) = page.split("```yaml\n")[1:]
    (found,) = yaml.safe_load(textwrap.dedent(block.partition("```")[0]))
    script: str = found["run"]
    return script


def run_step(portal: Portal, secret: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PORTAL": portal.address,
        "TEE_PORTAL_TOKEN": secret,
        "TAG": TAG,
        "GITHUB_SHA": COMMIT,
        "GITHUB_RUN_ID": "1",
    }
    return subprocess.run(
        ["bash", "-e", "-c", step()], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_the_step_of_the_documentation_announces_a_release_and_a_second_run_finds_it(
    portal: Portal, tmp_path: Path
) -> None:
    secret = token(portal)
    written(tmp_path / "release", files())
    with portal.redis(), portal.web(), portal.worker():
        first, again = run_step(portal, secret, tmp_path), run_step(portal, secret, tmp_path)
        for ran in (first, again):
            assert ran.returncode == 0, ran.stdout + ran.stderr
            assert '"state": "imported"' in ran.stdout
        release = portal.get(f"releases/enclave/{TAG}")
        assert (release["commit"], release["announced"][0]["token"]) == (COMMIT, "release workflow")
        (tmp_path / "release" / "vmlinuz").write_bytes(b"another kernel")
        other = run_step(portal, secret, tmp_path)
        assert other.returncode != 0
        assert "idempotency-key-reused" in other.stdout + other.stderr


@pytest.mark.docker
@pytest.mark.django_db
@pytest.mark.parametrize("form", ["files", "addresses"])
@pytest.mark.parametrize("tag", [HONEST, TAMPERED])
def test_what_the_demos_publisher_published_is_imported_as_the_command_imports_it(
    demo: FinishedDemo, form: str, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "hint_publication", lambda _: None)
    directory = demo.root / "releases" / tag
    published = {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
    project = Project.objects.create(name="enclave", source_url=f"file://{demo.root}/source")
    secret = publisher_token(project)
    with receiver(serves(published)) as it:
        allow(project, it)
        made = send(secret, published, tag=tag) if form == "files" else announce(
            secret, at_addresses(it, published, tag=tag)
        )  # fmt: skip
        assert made.status_code == 202, made.text
        work(idle=30)
    assert (shown(made)["state"], shown(made)["problem"]) == ("imported", None)
    found = rows(Release.objects.get())
    assert len(found["components"]) == 5
    Release.objects.get().delete()
    call_command("import_release", str(directory), "--project", "enclave", "--tag", tag)
    assert found == rows(Release.objects.get())


def test_a_worker_that_is_killed_while_it_fetches_is_replaced_by_the_next(portal: Portal) -> None:
    held = [True]

    def slowly(handler: Any) -> None:
        while held[0]:
            time.sleep(0.05)
        answers(200, KERNEL)(handler)

    with receiver(by_path({"/manifest.json": answers(200, files()["manifest.json"]), "/vmlinuz": slowly})) as it:
        portal.settings = {**portal.settings, "TEE_PORTAL_WEBHOOK_INSECURE_HOSTS": it.host}
        secret = token(portal, it.port)
        assets = [{"name": name, "url": f"http://{it.host}/{name}"} for name in files()]
        with portal.redis(), portal.web():
            with portal.worker() as first:
                made = requests.post(
                    f"{portal.address}/api/v1/releases",
                    json={"project": "enclave", "tag": TAG, "assets": assets},
                    headers={"Authorization": f"Bearer {secret}"},
                    timeout=10,
                ).json()
                at = f"publications/{made['id']}"
                wait_for("the fetch", lambda: len(it.received) == 2)
                assert portal.get(at)["state"] == "fetching"
                kill_hard(first)
            held[0] = False
            with portal.worker():
                ended = wait_for(
                    "the next worker", lambda: told if (told := portal.get(at))["state"] == "imported" else None, 90
                )
    assert ended["problem"] is None
    assert list((portal.root / "data" / "work").iterdir()) == []


def test_a_large_upload_goes_to_disk_and_not_into_memory(portal: Portal, tmp_path: Path) -> None:
    secret = token(portal)
    directory = written(tmp_path / "release", files())
    size = 300 * 1024 * 1024
    with (directory / "disk.raw").open("wb") as file:
        file.truncate(size)

    def sent(shown: str) -> str:
        names = ("manifest.json", "vmlinuz", "disk.raw")
        return subprocess.run(
            ["curl", "-sS", f"{portal.address}/api/v1/releases", "-H", f"Authorization: Bearer {shown}",
             "-F", "project=enclave", "-F", f"tag={TAG}",
             *(part for name in names for part in ("-F", f"f=@{directory / name}"))],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    with portal.web() as server:
        assert "token-unknown" in sent("teep_" + "a" * 43)
        assert not (portal.root / "data" / "work").exists()
        assert '"queued"' in sent(secret)
        most = max(peak(pid) for pid in [server.pid, *children(server.pid)])
    assert most < size


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def peak(pid: int) -> int:
    """The most memory that a process had, in bytes."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
