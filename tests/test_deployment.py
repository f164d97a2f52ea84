"""The files a deployment starts from, read as their tools read them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from pydantic import ValidationError

from builds.domain.materials import parse_lock
from builds.domain.recipe import PublicationRecipe, parse_any_recipe, parse_recipe
from tee_portal.env import BASE_DIR, read_environment


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())
    answer: dict[str, Any] = document["services"]
    return answer


def test_compose_has_every_part_and_each_server_has_a_health_check(services: dict[str, Any]) -> None:
    workers = {"worker", "rebuilds", "publications"}
    assert set(services) == {"postgres", "redis", "migrate", "web", "proxy", "mirror"} | workers
    assert {name for name, service in services.items() if "healthcheck" in service} == set(services) - {"migrate"}


def test_only_the_workers_hold_the_engines_socket(services: dict[str, Any]) -> None:
    holders = [name for name, service in services.items() if "docker.sock" in str(service)]
    assert holders == ["worker", "rebuilds"]


def test_what_is_short_waits_for_no_rebuild(services: dict[str, Any]) -> None:
    queues = {
        name: services[name]["command"][services[name]["command"].index("--queues") + 1]
        for name in ("worker", "rebuilds", "publications")
    }
    assert queues == {
        "worker": "tee-portal",
        "rebuilds": "tee-portal-rebuilds",
        "publications": "tee-portal-publications",
    }
    assert {queue.name for queue in settings.CELERY_TASK_QUEUES} == set(queues.values())
    assert settings.CELERY_TASK_ROUTES["builds.tasks.run_rebuild"] == {"queue": queues["rebuilds"]}
    assert settings.CELERY_TASK_ROUTES["attestations.tasks.run_publication"] == {"queue": queues["publications"]}


def test_the_mirror_is_served_read_only_and_needs_nothing_of_the_portal(services: dict[str, Any]) -> None:
    mirror, worker = services["mirror"], services["worker"]
    assert worker["environment"]["TEE_PORTAL_MIRROR_DIR"] == "/mirror"
    assert "mirror:/mirror" in worker["volumes"]
    assert mirror["volumes"] == ["mirror:/srv/mirror:ro", "./deploy/nginx-mirror.conf:/etc/nginx/nginx.conf:ro"]
    assert (BASE_DIR / "deploy" / "nginx-mirror.conf").is_file()
    assert "depends_on" not in mirror
    assert mirror["networks"] == ["mirror"]
    assert mirror["read_only"] is True
    assert mirror["user"] != "root"
    assert [name for name, service in services.items() if "mirror" in service.get("networks", [])] == ["mirror"]


def test_nobody_reaches_the_portal_but_through_the_proxy_that_it_trusts(services: dict[str, Any]) -> None:
    web, proxy = services["web"], services["proxy"]
    assert "ports" not in web
    assert proxy["ports"] == ["127.0.0.1:8000:8000"]
    assert web["environment"]["TEE_PORTAL_TRUSTED_PROXIES"] == "${TEE_PORTAL_TRUSTED_PROXIES:-1}"
    assert proxy["volumes"] == ["./deploy/nginx-portal.conf:/etc/nginx/nginx.conf:ro"]
    assert (BASE_DIR / "deploy" / "nginx-portal.conf").is_file()
    assert proxy["read_only"] is True
    assert proxy["user"] != "root"


def test_nothing_starts_before_the_database_is_migrated(services: dict[str, Any]) -> None:
    for name in ("web", "worker", "rebuilds", "publications"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_no_secret_stands_in_the_file(services: dict[str, Any]) -> None:
    text = (BASE_DIR / "docker-compose.yml").read_text()
    for name in ("POSTGRES_PASSWORD", "TEE_PORTAL_SECRET_KEY"):
        assert re.findall(rf"\$\{{{name}:\?", text)
        assert not re.search(rf"{name}: [^$\s]", text)


def test_docker_compose_itself_accepts_the_file_where_it_is_installed() -> None:
    version = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if version.returncode != 0:
        pytest.skip("docker compose is not installed")
    secrets = {"POSTGRES_PASSWORD": "x", "TEE_PORTAL_SECRET_KEY": "y", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    read = subprocess.run(
        ["docker", "compose", "config", "--quiet"],
        cwd=BASE_DIR,
        env=secrets,
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr


def test_the_image_copies_only_what_is_there() -> None:
    lines = re.findall(r"^COPY (.+) \S+$", (BASE_DIR / "Dockerfile").read_text(), re.MULTILINE)
    copied = [name for line in lines for name in line.split()]
    assert copied
    assert [name for name in copied if not (BASE_DIR / name).exists()] == []


def test_vendored_files_are_the_ones_whose_digest_is_recorded() -> None:
    vendor = BASE_DIR / "static" / "vendor"
    recorded = dict(line.split()[::-1] for line in (vendor / "SHA256SUMS").read_text().splitlines())
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in vendor.iterdir()
        if path.name != "SHA256SUMS"
    }
    assert found == recorded


def test_the_example_recipes_and_the_katana_lock_can_be_read() -> None:
    for name in ("reference-enclave", "katana"):
        recipe = parse_recipe((BASE_DIR / "examples" / name / "tee-portal.toml").read_bytes())
        assert recipe.components
    published = parse_any_recipe((BASE_DIR / "examples" / "katana-tee-vm" / "tee-portal.toml").read_bytes())
    (spec,) = published.launch_configurations
    assert isinstance(published, PublicationRecipe)
    assert (spec.vcpus, spec.vcpu_type, spec.guest_features) == (1, "EPYC-v4", 0x1)
    assert spec.command_line == "console=ttyS0 KATANA_EXPECTED_LUKS_UUID={LUKS_UUID}"
    lock = BASE_DIR / "examples" / "katana" / "materials.lock"
    assert parse_lock(lock.read_bytes()).images


@pytest.mark.parametrize("directory", ["", "/srv/mirror"])
def test_a_mirror_is_on_the_schedule_where_a_directory_is_set(directory: str, tmp_path: Path) -> None:
    program = (
        "import json; from django.conf import settings; "
        "found = settings.CELERY_BEAT_SCHEDULE.get('publish the mirror'); "
        "print(json.dumps([str(settings.ENVIRONMENT.mirror_dir), found]))"
    )
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tee_portal.settings",
        "TEE_PORTAL_DATA_DIR": str(tmp_path),
        "TEE_PORTAL_MIRROR_DIR": directory,
        "TEE_PORTAL_MIRROR_SECONDS": "60",
    }
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True
    )
    task = {"task": "attestations.tasks.publish_mirror", "schedule": 60.0}
    assert json.loads(ran.stdout) == ([directory, task] if directory else ["None", None])


def test_a_variable_that_a_compose_file_leaves_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEE_PORTAL_PUBLIC_URL", "")
    assert read_environment().public_url is None
    monkeypatch.setenv("TEE_PORTAL_PUBLIC_URL", "https://portal.example.org/")
    assert read_environment().public_url == "https://portal.example.org"


@pytest.mark.parametrize("url", ["portal.example.org", "ftp://portal.example.org", "https://", "https://a.example/x"])
def test_a_public_address_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TEE_PORTAL_PUBLIC_URL", url)
    with pytest.raises(ValidationError, match="is wanted"):
        read_environment()
