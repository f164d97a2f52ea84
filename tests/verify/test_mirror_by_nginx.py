"""Debian's nginx, with the configuration that docker-compose gives it, serves a mirror that the program believes."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from builds.bench.debian_peers import unpacked
from builds.verify.cli import main
from builds.verify.evidence import Kind, read_evidence
from tee_portal.env import BASE_DIR
from tests.support.mirrors import objects
from tests.verify.mirrored import UNSIGNED, Mirrored
from tests.verify.world import TAG

pytestmark = pytest.mark.slow

CONFIGURATION = BASE_DIR / "deploy" / "nginx-mirror.conf"
# With the libraries that it is linked to, so that any host can run it.
PACKAGES = ["libc6", "libcrypt1", "libpcre2-8-0", "libssl3t64", "libzstd1", "nginx", "zlib1g"]
_SECONDS = 20


@pytest.fixture(scope="session")
def program() -> list[str]:
    """How to start it: unpacked privately, by its own loader."""
    root = unpacked("forky", PACKAGES, settings.DATA_DIR / "bench" / "nginx")
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    loader = libraries / "ld-linux-x86-64.so.2"
    return [str(loader), "--library-path", str(libraries), str(root / "usr" / "sbin" / "nginx")]


@pytest.fixture
def address(program: list[str], mirrored: Mirrored, tmp_path: Path) -> Iterator[str]:
    """Where it serves the mirror; nothing of the configuration is another than port and places."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = CONFIGURATION.read_text()
    for found, put in (
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("root /srv/mirror;", f"root {mirrored.directory};"),
        (" /tmp/nginx", f" {tmp_path}/nginx"),
    ):
        assert found in text
        text = text.replace(found, put)
    held = tmp_path / "nginx.conf"
    held.write_text(text)
    # Workers of another user could not read a test's directory.
    said = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    log = tmp_path / "nginx.log"
    with log.open("wb") as output:
        server = subprocess.Popen([*program, "-c", str(held), "-e", "stderr", "-g", said], stderr=output)
    try:
        deadline = time.monotonic() + _SECONDS
        while not _answers(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(_SECONDS)
    assert "[emerg]" not in log.read_text()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def by_nginx(mirrored: Mirrored, address: str, *arguments: str) -> int:
    key = mirrored.world.key_file(mirrored.world.portal)
    return main([*arguments, "--mirror", address, "--portal-key", key, "--state", str(mirrored.state)])


def test_a_release_a_measurement_and_a_bundle_come_from_it(mirrored: Mirrored, address: str, tmp_path: Path) -> None:
    release = ["release", f"enclave/{TAG}", "--files", str(mirrored.world.files)]
    assert by_nginx(mirrored, address, *release, "--max-age", "1h") == 0
    assert by_nginx(mirrored, address, "measurement", UNSIGNED) == 0
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


def test_nothing_can_be_sent(address: str) -> None:
    assert httpx.post(f"{address}/checkpoint.json", content=b"{}").status_code in {403, 405}
    assert httpx.put(f"{address}/checkpoint.json", content=b"{}").status_code in {403, 405}
    assert httpx.head(f"{address}/checkpoint.json").status_code == 200
