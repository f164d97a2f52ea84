"""Debian's nginx serving a mirror, or standing before a portal, with the configuration that docker-compose gives it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from builds.bench.debian_peers import Programs, unpacked
from builds.bench.timing import until
from builds.demo import processes
from builds.domain.errors import PortalError
from tee_portal.env import BASE_DIR

CONFIGURATION = BASE_DIR / "deploy" / "nginx-mirror.conf"
BEFORE_THE_PORTAL = BASE_DIR / "deploy" / "nginx-portal.conf"
_SUITE = "sid"
# With the libraries that it is linked to, so that any host can run it.
_PACKAGES = ("libc6", "libcrypt1", "libpcre2-8-0", "libssl3t64", "libzstd1", "nginx", "zlib1g")
_SECONDS = 20


def programs(cache: Path) -> Programs:
    """Kept in ``cache``; ``PeerMissing`` when the archive does not give it."""
    return Programs(unpacked(_SUITE, _PACKAGES, cache / "nginx"))


@contextmanager
def serving(nginx: Programs, mirror: Path, work: Path) -> Iterator[str]:
    """Yields where it serves ``mirror``; nothing of the configuration is another than port and places."""
    places = {"root /srv/mirror;": f"root {mirror};"}
    with _configured(nginx, CONFIGURATION, "listen 8080;", places, work) as address:
        yield address


@contextmanager
def standing_before(nginx: Programs, portal: str, work: Path) -> Iterator[str]:
    """Yields where it hands requests on to ``portal`` ("host:port"); nothing else of the configuration is another."""
    places = {"server web:8000;": f"server {portal};"}
    with _configured(nginx, BEFORE_THE_PORTAL, "listen 8000;", places, work) as address:
        yield address


@contextmanager
def _configured(
    nginx: Programs, configuration: Path, listen: str, places: Mapping[str, str], work: Path
) -> Iterator[str]:
    """With ``listen`` on a free port of this host, what ``places`` names put instead, and its files in ``work``."""
    port, log = processes.free_port(0), work / "nginx.log"
    text = configuration.read_text(encoding="utf-8")
    for found, put in {listen: f"listen 127.0.0.1:{port};", " /tmp/nginx": f" {work}/nginx", **places}.items():
        if found not in text:
            raise PortalError(f"the configuration has no {found!r}", where=str(configuration))
        text = text.replace(found, put)
    held = work / "nginx.conf"
    held.write_text(text, encoding="utf-8")
    # Workers of another user could not read a directory of this one.
    said = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    command = nginx.command("usr/sbin/nginx", "-c", str(held), "-e", "stderr", "-g", said)
    with processes.running(command, work, log):
        until("nginx", lambda: processes.listens(port), pause=0.05, seconds=_SECONDS)
        yield f"http://127.0.0.1:{port}"
    if "[emerg]" in log.read_text(encoding="utf-8"):
        raise PortalError("nginx refused its configuration", where=str(log))
