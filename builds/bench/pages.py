"""Pages of a full portal: what each costs, and what is left of that while many read logs. On SQLite and PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import requests

from builds.bench.page_store import Scale
from builds.bench.page_stores import Store, database
from builds.bench.page_times import MOST_QUERIES, MOST_SENT, percentile
from builds.demo import processes
from builds.domain.errors import PortalError
from tee_portal.env import BASE_DIR

LIVE_READERS = 200
STORED_READERS = 64
_BOUNDS = {"release": 60, "log, the tail of a running one": 10}
"""Milliseconds at the 95th percentile."""
_MOST_TIMES_QUIET = 2
_TEXT = """\
{releases} releases, {rebuilds} rebuilds, {components} components and files inside them, {log_lines} log lines.
Server time is all of middleware, queries and template, at the 95th percentile of {requests} requests for as many things
as there are up to 40; bytes are as sent, with gzip. Each page has one style sheet that its first paint waits for and
no script that does.

| Page | Queries | SQLite | PostgreSQL | Bytes | Bound |
| --- | --- | --- | --- | --- | --- |
{rows}

{readers}
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """One run in ``work``; ``server`` is a PostgreSQL server where a database can be made."""

    work: Path
    server: str
    say: Callable[[str], None]
    scale: Scale = field(default_factory=Scale)
    requests: int = 100
    probes: int = 200
    """How often each page is asked for before the readers come, and again while they read."""

    def measure(self) -> str:
        """The pages' part of docs/benchmarks.md."""
        sqlite = self._on("SQLite", f"sqlite://{self.work}/pages.sqlite3")
        with database(self.server) as address:
            postgres = self._on("PostgreSQL", address)
        rows = [_row(one, other) for one, other in zip(sqlite.pages, postgres.pages, strict=True)]
        readers = "\n\n".join(_readers_text(kind, found.readers) for kind, found in _kinds(sqlite, postgres))
        return _TEXT.format(**asdict(self.scale), requests=self.requests, rows="\n".join(rows), readers=readers)

    def _on(self, kind: str, address: str) -> _Figures:
        store = Store(self.work / kind, address)
        self.say(f"{kind}: filling")
        store.fill(self.scale)
        self.say(f"{kind}: each page")
        pages = store.ask("times", str(self.requests))
        self.say(f"{kind}: {LIVE_READERS} readers of live logs and {STORED_READERS} of stored ones")
        return _Figures(pages, self._readers(store))

    def _readers(self, store: Store) -> dict[str, Any]:
        plan = store.ask("plan", str(LIVE_READERS), str(STORED_READERS))
        port = processes.free_port(0)
        web = [str(Path(sys.executable).parent / "gunicorn"), "tee_portal.wsgi", "--bind", f"127.0.0.1:{port}"]
        with processes.running(web, BASE_DIR, store.data / "web.log", store.environment):
            _until_answered(port)
            _probe(port, plan["pages"], 3)
            quiet = _probe(port, plan["pages"], self.probes)
            with store.started("grow"), _reading(port, plan) as reading:
                # Until all of them have come.
                time.sleep(5)
                busy = _probe(port, plan["pages"], self.probes)
                # They end with their input, and tell what they got.
                counted = json.loads(reading.communicate()[0])
        return {"quiet": quiet, "busy": busy, "counted": counted}


@dataclass(frozen=True, slots=True)
class _Figures:
    pages: list[dict[str, Any]]
    readers: dict[str, Any]


@contextmanager
def _reading(port: int, plan: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "builds.bench.page_readers", str(port)]
    with subprocess.Popen(command, cwd=BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reading:
        assert reading.stdin is not None  # noqa: S101 - asked for above
        print(json.dumps({"live": plan["live"], "stored": plan["stored"]}), file=reading.stdin, flush=True)
        try:
            yield reading
        finally:
            reading.kill()


def _probe(port: int, pages: Mapping[str, list[str]], times: int) -> dict[str, float]:
    """Seconds of each page at the 95th percentile, one request after the other, over the network's loopback."""
    found: dict[str, float] = {}
    for name, addresses in pages.items():
        taken = []
        for turn in range(times):
            began = time.perf_counter()
            requests.get(f"http://127.0.0.1:{port}{addresses[turn % len(addresses)]}", timeout=60).raise_for_status()
            taken.append(time.perf_counter() - began)
        found[name] = percentile(taken, 0.95)
    return found


def _until_answered(port: int) -> None:
    deadline = time.monotonic() + 60
    while not processes.answers(f"http://127.0.0.1:{port}/"):
        if time.monotonic() > deadline:
            raise PortalError("the web server does not answer", where="benchmark")
        time.sleep(0.2)


def _kinds(sqlite: _Figures, postgres: _Figures) -> list[tuple[str, _Figures]]:
    return [("SQLite", sqlite), ("PostgreSQL", postgres)]


def _row(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    queries, sent = max(one["queries"], other["queries"]), max(one["sent"], other["sent"])
    bounds = [f"{MOST_QUERIES} queries", f"{MOST_SENT // 1000} kB"]
    if one["name"] in _BOUNDS:
        bounds.append(f"{_BOUNDS[one['name']]} ms")
    times = " | ".join(f"**{entry['p95'] * 1000:.1f} ms**" for entry in (one, other))
    return f"| {one['name']} | {queries} | {times} | {sent / 1000:.1f} kB | {', '.join(bounds)} |"


def _readers_text(kind: str, found: Mapping[str, Any]) -> str:
    quiet, busy, counted = found["quiet"], found["busy"], found["counted"]
    ratios = sorted(((busy[name] / quiet[name], name) for name in quiet), reverse=True)
    times = {name: f"{name}: {quiet[name] * 1000:.0f} ms, then {busy[name] * 1000:.0f} ms" for name in quiet}
    over = [f"{times[name]} ({ratio:.2f})" for ratio, name in ratios[1:] if ratio > _MOST_TIMES_QUIET]
    return (
        f"{kind}: {LIVE_READERS} readers of live logs and {STORED_READERS} of stored ones got {counted['live']} and"
        f" {counted['stored']} answers, {counted['failed']} of them failures. Meanwhile the other pages took"
        f" **{ratios[0][0]:.2f} times** their quiet p95 at worst ({times[ratios[0][1]]}) and"
        f" {median(ratio for ratio, _ in ratios):.2f} times in the median; bound {_MOST_TIMES_QUIET}."
        + (f" Over the bound too: {'; '.join(over)}." if over else "")
    )
