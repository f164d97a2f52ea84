"""Evidence that is small as a file: whatever it holds, reading it takes no machine's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from attestations.domain.mirror import MalformedMirror, MeasurementShard, parse
from builds.domain.dsse import IN_TOTO_PAYLOAD, Envelope, parse_envelope
from builds.verify.evidence import EvidenceFile, Kind
from tee_portal.env import BASE_DIR
from tests.verify.world import World

MANY = b"[" + b",".join([b"0"] * 1_800_000) + b"]"
WIDE = b"{" + b",".join(b'"%x":0' % number for number in range(350_000)) + b"}"
PLACE = "@@"
MOST_KILOBYTES = 700_000


_TELLS_ITS_PEAK = """
import atexit, os, re
def tell():
    with open("/proc/self/status") as status, open(os.environ["PEAK"], "w") as peak:
        peak.write(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1])
atexit.register(tell)
"""


def memory_of(script: str, arguments: Sequence[str], work: Path, data: bytes = b"") -> tuple[int, int]:
    """The exit code of a script, and the most kilobytes that were resident, as the process itself sees them.

    What its parent is told counts the parent's own, which the new process is for a moment a copy of.
    """
    peak = work / "peak"
    done = subprocess.run(
        [sys.executable, "-c", _TELLS_ITS_PEAK + script, *arguments],
        env={**os.environ, "PYTHONPATH": str(BASE_DIR), "PEAK": str(peak)},
        input=data,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, int(peak.read_text())


def spoilt(data: bytes, spoil: Callable[[dict[str, Any]], object], by: bytes) -> bytes:
    """The statement in an envelope, with something in place of a part; its signature is no longer one."""
    payload = json.loads(parse_envelope(data).payload)
    spoil(payload)
    text = json.dumps(payload).encode().replace(f'"{PLACE}"'.encode(), by)
    return Envelope(IN_TOTO_PAYLOAD, text, b"x" * 70).as_bytes()


def _materials(held: dict[str, Any]) -> None:
    held["predicate"]["buildDefinition"]["resolvedDependencies"] = PLACE


def _values(held: dict[str, Any]) -> None:
    held["predicate"]["buildDefinition"]["externalParameters"]["launchValues"] = PLACE


def _files(held: dict[str, Any]) -> None:
    held["predicate"]["runDetails"]["byproducts"][2]["annotations"]["entries"] = PLACE


def _inputs(held: dict[str, Any]) -> None:
    held["predicate"]["inputAttestations"] = PLACE


def _more(held: dict[str, Any]) -> None:
    held["more"] = PLACE


@pytest.mark.parametrize(
    ("kind", "spoil", "by"),
    [
        (Kind.STATEMENT, _materials, MANY),
        (Kind.STATEMENT, _files, MANY),
        (Kind.STATEMENT, _values, WIDE),
        (Kind.STATEMENT, _more, WIDE),
        (Kind.VERDICT, _inputs, MANY),
        (Kind.VERDICT, _more, WIDE),
    ],
)
@pytest.mark.parametrize("key", [True, False])
def test_a_document_of_millions_of_faults_fills_no_memory(
    world: World, kind: Kind, spoil: Callable[[dict[str, Any]], object], by: bytes, *, key: bool
) -> None:
    evidence = world.evidence()
    first = evidence.of_kind(kind)[0]
    data = spoilt(first.data, spoil, by)
    assert len(data) < 6 * 1024**2
    other = EvidenceFile.of(kind, first.address, data, first.operator)
    world.save(
        evidence.model_copy(update={"files": tuple(other if entry is first else entry for entry in evidence.files)})
    )
    verify = "import sys; from builds.verify.__main__ import run; sys.exit(run())"
    code, kilobytes = memory_of(verify, world.arguments("--any-age", portal_key=key), world.root)
    assert code == (1 if key else 2)
    assert kilobytes < MOST_KILOBYTES


@pytest.mark.parametrize(
    "part",
    ['"values": @@', '"values": [["0123456789abcdef", @@]]', '"values": [], "more": @@', '"values": {}, "x": @@'],
)
@pytest.mark.parametrize("by", [MANY, WIDE], ids=["many", "wide"])
def test_a_keyless_servers_document_stops_at_its_first_fault(part: str, by: bytes, tmp_path: Path) -> None:
    data = f'{{"prefix": "", {part}}}'.encode().replace(b"@@", by)
    script = """
import sys
from attestations.domain.mirror import MalformedMirror, MeasurementShard, parse
try:
    parse(MeasurementShard, sys.stdin.buffer.read())
except MalformedMirror:
    sys.exit(3)
"""
    code, kilobytes = memory_of(script, [], tmp_path, data)
    assert code == 3
    assert kilobytes < MOST_KILOBYTES


def test_a_document_with_a_wide_object_is_named() -> None:
    with pytest.raises(MalformedMirror, match="more than 100 members"):
        parse(MeasurementShard, b'{"prefix": "", "values": ' + WIDE[:2000].rpartition(b",")[0] + b"}}")
