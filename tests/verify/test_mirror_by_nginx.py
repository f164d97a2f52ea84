"""Debian's nginx, with the configuration that docker-compose gives it, serves a mirror that the program believes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from builds.bench import nginx
from builds.bench.debian_peers import Programs
from builds.verify.cli import main
from builds.verify.evidence import Kind, read_evidence
from tests.support.mirrors import objects
from tests.verify.mirrored import UNSIGNED, Mirrored
from tests.verify.world import TAG

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def program() -> Programs:
    """Unpacked privately, and started by its own loader."""
    return nginx.programs(settings.DATA_DIR / "bench")


@pytest.fixture
def address(program: Programs, mirrored: Mirrored, tmp_path: Path) -> Iterator[str]:
    with nginx.serving(program, mirrored.directory, tmp_path) as served:
        yield served


def by_nginx(mirrored: Mirrored, address: str, *arguments: str) -> int:
    key = mirrored.world.key_file(mirrored.world.portal)
    return main([*arguments, "--mirror", address, "--portal-key", key, "--state", str(mirrored.state)])


def test_a_release_a_measurement_and_a_bundle_come_from_it(mirrored: Mirrored, address: str, tmp_path: Path) -> None:
    release = ["release", f"enclave/{TAG}", "--files", str(mirrored.world.files)]
    assert by_nginx(mirrored, address, *release, "--max-age", "1h") == 0
    assert by_nginx(mirrored, address, "measurement", UNSIGNED, "--project", "enclave") == 0
    saved = tmp_path / "saved.json"
    assert by_nginx(mirrored, address, "bundle", f"enclave/{TAG}", "-o", str(saved)) == 0
    assert read_evidence(saved).only(Kind.CHECKPOINT) is not None
    mirrored.blob(Kind.VERDICT).unlink()
    assert by_nginx(mirrored, address, *release) == 2


def test_objects_may_be_kept_for_ever_and_the_checkpoint_for_a_moment(mirrored: Mirrored, address: str) -> None:
    kept = dict.fromkeys(objects(mirrored.directory), "public, max-age=31536000, immutable")
    for path, how_long in {**kept, "checkpoint.json": "public, max-age=30"}.items():
        answer = httpx.get(f"{address}/{path}", headers={"Accept-Encoding": "identity"})
        assert answer.status_code == 200
        assert answer.content == (mirrored.directory / path).read_bytes()
        assert answer.headers["Cache-Control"] == how_long
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Content-Encoding" not in answer.headers
        wanted = "application/json" if path.endswith(".json") else "application/octet-stream"
        assert answer.headers["Content-Type"] == wanted


def test_who_asks_for_it_gets_it_compressed(mirrored: Mirrored, address: str) -> None:
    path, data = max(objects(mirrored.directory).items(), key=lambda entry: len(entry[1]))
    with httpx.stream("GET", f"{address}/{path}", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())) == data


@pytest.mark.parametrize(
    "path",
    [".lock", ".unnamed.json", "", "index/", "index/ab/.new-x", "index/../checkpoint.json.x", "%2e%2e/etc/passwd"],
)
def test_nothing_else_is_served(mirrored: Mirrored, address: str, path: str) -> None:
    (mirrored.directory / "index" / "ab").mkdir(exist_ok=True)
    (mirrored.directory / "index" / "ab" / ".new-x").write_text("half")
    assert httpx.get(f"{address}/{path}").status_code in {400, 404}


def test_no_link_below_the_mirror_is_followed(mirrored: Mirrored, address: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = next(iter(objects(mirrored.directory)))
    (mirrored.directory / path).unlink()
    (mirrored.directory / path).symlink_to(secret)
    assert httpx.get(f"{address}/{path}").status_code in {403, 404}


def test_nothing_can_be_sent(address: str) -> None:
    assert httpx.post(f"{address}/checkpoint.json", content=b"{}").status_code in {403, 405}
    assert httpx.put(f"{address}/checkpoint.json", content=b"{}").status_code in {403, 405}
    assert httpx.head(f"{address}/checkpoint.json").status_code == 200
