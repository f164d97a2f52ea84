"""wrk, which asks a web server for one address as often as it answers, over a number of connections that it keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builds.bench.debian_peers import PeerMissing, Programs, never, unpacked
from builds.domain.errors import PortalError
from builds.pipeline.process import run

_SUITE = "sid"
_PACKAGES = ("wrk", "libc6", "libgcc-s1", "libluajit-5.1-2", "libssl3t64", "libzstd1", "zlib1g")
_TIMEOUT = 20
"""Seconds: a slow answer is told by its time, and is no failure."""
_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
_P99 = re.compile(r"^\s+99%\s+([0-9.]+)(us|ms|s)\s*$", re.MULTILINE)
_FAILED = re.compile(r"^\s*(Non-2xx or 3xx responses|Socket errors): .*$", re.MULTILINE)
_SECONDS_OF = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Load:
    """What a server did: answers a second, and seconds that 99 of 100 did not exceed."""

    rate: float
    p99: float


def programs(cache: Path) -> Programs:
    """Debian's wrk, kept in ``cache``; ``PeerMissing`` when the archive does not give it."""
    return Programs(unpacked(_SUITE, _PACKAGES, cache / "wrk"))


def load(wrk: Programs, address: str, connections: int, seconds: int, fields: Mapping[str, str] | None = None) -> Load:
    """Ask for ``address`` by GET from one thread, with header ``fields``; ``PortalError`` if an answer is a failure."""
    said = [part for name, value in (fields or {}).items() for part in ("--header", f"{name}: {value}")]
    arguments = ("--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency")
    patience = ("--timeout", f"{_TIMEOUT}s")
    done = run(
        wrk.command("usr/bin/wrk", *arguments, *patience, *said, address),
        check=never,
        timeout=seconds + 30,
        overrides={},
    )
    if done.exit_code != 0:
        raise PeerMissing(f"it does not run here: {done.stderr.strip()[-200:]}", where="wrk")
    return parsed(done.stdout, address)


def parsed(text: str, address: str) -> Load:
    """What wrk prints with ``--latency``."""
    if failed := _FAILED.search(text):
        raise PortalError(f"some answers were failures: {failed[0].strip()}", where=address)
    rate, p99 = _RATE.search(text), _P99.search(text)
    if rate is None or p99 is None:
        raise PortalError(f"wrk printed something else: {text[-300:]}", where=address)
    return Load(float(rate[1]), float(p99[1]) * _SECONDS_OF[p99[2]])
