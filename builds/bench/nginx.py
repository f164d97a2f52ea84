"""Debian's nginx serving a mirror, with the configuration that docker-compose gives it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builds.bench.debian_peers import Programs, unpacked
from builds.bench.timing import until
from builds.demo import processes
from builds.domain.errors import PortalError
from tee_portal.env import BASE_DIR

CONFIGURATION = BASE_DIR / "deploy" / "nginx-mirror.conf"
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
    port, log = processes.free_port(0), work / "nginx.log"
    text = CONFIGURATION.read_text(encoding="utf-8")
    for found, put in (
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("root /srv/mirror;", f"root {mirror};"),
        (" /tmp/nginx", f" {work}/nginx"),
    ):
        if found not in text:
            raise PortalError(f"the configuration has no {found!r}", where=str(CONFIGURATION))
        text = text.replace(found, put)
    held = work / "nginx.conf"
    held.write_text(text, encoding="utf-8")
    # Workers of another user could not read a directory of this one.
    said = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    command = nginx.command("usr/sbin/nginx", "-c", str(held), "-e", "stderr", "-g", said)
    with processes.running(command, work, log):
        address = f"http://127.0.0.1:{port}"
        until("nginx", lambda: processes.listens(port), pause=0.05, seconds=_SECONDS)
        yield address
    if "[emerg]" in log.read_text(encoding="utf-8"):
        raise PortalError("nginx refused its configuration", where=str(log))
