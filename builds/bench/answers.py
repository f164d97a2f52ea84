"""How many answers a second the API gives: beside a bare view of the same server, and beside rebuilderd's API."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import requests

from builds.bench import nginx, rebuilderd_full, rebuilderd_peer, wrk
from builds.bench.debian_peers import PeerMissing, Programs
from builds.bench.page_store import Scale
from builds.bench.page_stores import Store, database
from builds.bench.timing import timed, until
from builds.bench.wrk import Load
from builds.demo import processes
from builds.domain.errors import PortalError
from tee_portal.env import BASE_DIR

CONNECTIONS = (1, 8, 32)
_LIST = 100
_TIMES_LIST = 5
"""How often a list must come for each of rebuilderd's."""
_BARE = "/bench/constant"
"""Of ``builds.bench.bare``, which is a web application: importing it would set one up here."""
_UNLIMITED = "100000000"
_TEXT = """\
Answers a second over kept connections of one `wrk` on loopback, beside it the seconds that 99 of 100 did not exceed.
The web server is gunicorn with the settings that come with the portal, on PostgreSQL with {releases} releases and with
Redis counting requests. Ratios are to a view that returns a constant, asked of the same server in turn
(median of {pairs} pairs of {seconds} s, then the range).

| What | Connections | Ours | 99 % within | Bare view | Ratio | Bound |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

The index of one release, {configurations} configurations: **{index:.2f} s**, bound 1 s.

{beside}

    wrk --threads 1 --connections 32 --duration {seconds}s --latency http://127.0.0.1:8000/api/v1/releases/PROJECT/TAG/verdict
"""


_BESIDE = """\
Next to {version}, which holds {packages} packages and builds, one real rebuild's rows repeated: a list of {list} is
releases with their verdicts here and packages with their states there; a document is a signed file of the mirror here
and one build there.

| What | Connections | Ours | rebuilderd | Ratio | Bound |
| --- | --- | --- | --- | --- | --- |
{rows}

The mirror of {releases} releases was published in {mirror:.0f} s."""


@dataclass(frozen=True, slots=True)
class Question:
    """One address that is asked for; ``bound`` is what share of the bare view's answers a second it must reach."""

    name: str
    address: str
    bound: float | None
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Compared:
    """Loads of ours and of the bare view, taken in turn."""

    question: Question
    connections: int
    pairs: tuple[tuple[Load, Load], ...]

    @property
    def ratios(self) -> list[float]:
        return [ours.rate / plain.rate for ours, plain in self.pairs]

    def row(self) -> str:
        ours, plain = (median(pair[side].rate for pair in self.pairs) for side in (0, 1))
        p99 = median(pair[0].p99 for pair in self.pairs)
        bound = f">= {self.question.bound}" if self.question.bound is not None else "-"
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return (
            f"| {self.question.name} | {self.connections} | {ours:.0f}/s | {p99 * 1000:.1f} ms | {plain:.0f}/s |"
            f" **{median(self.ratios):.2f}** ({spread}) | {bound} |"
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """One run in ``work``; ``server`` is a PostgreSQL server where a database can be made, ``cache`` keeps programs.

    ``index`` fills the index of one release and says how many configurations that are and the seconds it took.
    """

    work: Path
    cache: Path
    server: str
    redis: str
    index: Callable[[], tuple[int, float]]
    say: Callable[[str], None]
    scale: Scale = field(default_factory=Scale)
    pairs: int = 3
    seconds: int = 2

    def measure(self) -> str:
        """The API's part of docs/benchmarks.md."""
        loader = wrk.programs(self.cache)
        with database(self.server) as address:
            store = Store(self.work / "api", address)
            self.say("filling")
            store.fill(self.scale)
            with self._serving(store) as base:
                compared = list(self._compared(loader, base, store))
                beside = self._beside(loader, base, store)
        self.say("the index of one release")
        configurations, index = self.index()
        return _TEXT.format(
            releases=self.scale.releases,
            pairs=self.pairs,
            seconds=self.seconds,
            rows="\n".join(entry.row() for entry in compared),
            configurations=configurations,
            index=index,
            beside=beside,
        )

    @contextmanager
    def _serving(self, store: Store) -> Iterator[str]:
        port = processes.free_port(0)
        base = f"http://127.0.0.1:{port}"
        web = [str(Path(sys.executable).parent / "gunicorn"), "builds.bench.bare", "--bind", f"127.0.0.1:{port}"]
        # As many as are asked for: how often somebody may ask is not what is measured. Each is counted.
        environment = {**store.environment, "REDIS_URL": self.redis, "TEE_PORTAL_READS_PER_MINUTE": _UNLIMITED}
        with processes.running(web, BASE_DIR, store.data / "web.log", environment):
            until("the web server", lambda: processes.answers(f"{base}/"), pause=0.2, seconds=60)
            yield base

    def _compared(self, loader: Programs, base: str, store: Store) -> Iterator[Compared]:
        for question in _questions(base, store):
            self.say(question.name)
            for connections in CONNECTIONS:
                ours = partial(self._load, loader, f"{base}{question.address}", connections, question.fields)
                plain = partial(self._load, loader, f"{base}{_BARE}", connections)
                ours()
                pairs = tuple((ours(), plain()) for _ in range(self.pairs))
                yield Compared(question, connections, pairs)

    def _load(self, loader: Programs, address: str, connections: int, fields: Mapping[str, str] | None = None) -> Load:
        return wrk.load(loader, address, connections, self.seconds, fields)

    def _beside(self, loader: Programs, base: str, store: Store) -> str:
        """What stands under the table: a list and one document, each next to rebuilderd's."""
        try:
            programs, server = rebuilderd_peer.programs(self.cache), nginx.programs(self.cache)
            version = rebuilderd_peer.version(programs)
        except PeerMissing as error:
            return f"rebuilderd could not be run beside it: {error.what}."
        self.say("publishing a mirror")
        mirror = self.work / "mirror"
        seconds = timed(lambda: store.manage("publish_mirror", str(mirror)))
        document = max((mirror / "blobs").rglob("*"), key=lambda path: path.is_file() and path.stat().st_mtime)
        with (
            rebuilderd_full.serving(programs, self.work / "rebuilderd") as peer,
            nginx.serving(server, mirror, self.work) as files,
        ):
            self.say(f"beside {version}")
            lists = self._pairs(
                loader, f"{base}/api/v1/releases?limit={_LIST}", f"{peer.api}/packages/binary?limit={_LIST}"
            )
            documents = self._pairs(loader, f"{files}/{document.relative_to(mirror)}", f"{peer.api}/builds/1")
        rows = [f"| a list of {_LIST} {row} {_TIMES_LIST} |" for row in _peer_rows(lists)]
        rows += [f"| one document by its id, from the mirror by nginx {row} 1 |" for row in _peer_rows(documents)]
        return _BESIDE.format(
            list=_LIST,
            version=version,
            packages=rebuilderd_full.PACKAGES,
            rows="\n".join(rows),
            releases=self.scale.releases,
            mirror=seconds,
        )

    def _pairs(self, loader: Programs, ours: str, theirs: str) -> dict[int, list[tuple[float, float]]]:
        """Answers a second by connections, taken in turn."""
        return {
            n: [(self._load(loader, ours, n).rate, self._load(loader, theirs, n).rate) for _ in range(self.pairs)]
            for n in CONNECTIONS
        }


def _questions(base: str, store: Store) -> Iterator[Question]:
    plan = store.ask("answers")
    lookup, verdict = str(plan["lookup"]), str(plan["verdict"])
    yield Question("a measurement", lookup, 0.6, {})
    yield Question("a verdict", verdict, 0.6, {})
    yield Question(f"a list of {_LIST} releases", f"/api/v1/releases?limit={_LIST}", None, {})
    for name, address in (("a measurement", lookup), ("a verdict", verdict)):
        yield Question(f"{name}, 304", address, 0.8, {"If-None-Match": _tag(f"{base}{address}")})


def _tag(address: str) -> str:
    answer = requests.get(address, timeout=60)
    answer.raise_for_status()
    tag = answer.headers["ETag"]
    if requests.get(address, headers={"If-None-Match": tag}, timeout=60).status_code != 304:  # noqa: PLR2004
        raise PortalError("the same answer is given again to who has it", where=address)
    return tag


def _peer_rows(found: dict[int, list[tuple[float, float]]]) -> Iterator[str]:
    for connections, pairs in found.items():
        ours, theirs = (median(pair[side] for pair in pairs) for side in (0, 1))
        ratios = [one / other for one, other in pairs]
        spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
        yield f"| {connections} | {ours:.0f}/s | {theirs:.0f}/s | **{median(ratios):.1f}** ({spread}) |"
