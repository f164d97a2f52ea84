"""Whatever is done to a good bundle: never verified, never an escape, never more than a second or 200 MB."""

from __future__ import annotations

import base64
import copy
import json
import random
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attestations.domain.findings import Verification
from attestations.local_sigstore import Logging, TrustDomain
from attestations.sigstore_verifier import MAX_BUNDLE_BYTES, BundleVerifier
from builds.domain.evidence import AttestationState
from tee_portal.env import BASE_DIR
from tests.attestations.conftest import FILE, FILE_DIGEST, WORKFLOW

MIB = 1024 * 1024
REFUSED = {AttestationState.REJECTED, AttestationState.UNREADABLE}
relaxed = settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def good(domain: TrustDomain, logless_domain: TrustDomain) -> list[bytes]:
    """Every style of bundle that verifies."""
    styles = [(domain, Logging.REKOR_V1), (domain, Logging.REKOR_V2), (logless_domain, Logging.TIMESTAMP_ONLY)]
    return [
        *(issuer.attest({"katana": FILE_DIGEST}, WORKFLOW, logging=style) for issuer, style in styles),
        *(issuer.sign_message(FILE, WORKFLOW, logging=style) for issuer, style in styles),
    ]


def judged(verifier: BundleVerifier, data: bytes) -> Verification:
    began = time.monotonic()
    found = verifier.verify(data, {FILE_DIGEST})
    assert time.monotonic() - began < 1
    assert found.reason
    assert (found.signer is None) == (found.state is not AttestationState.VERIFIED)
    return found


def paths(node: object, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document, the root left out."""
    children: list[tuple[str | int, object]] = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    return [place for key, value in children for place in ((*here, key), *paths(value, (*here, key)))]


def at(document: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


def told(found: Verification) -> tuple[object, ...]:
    """Every fact that a page or a script could rely on."""
    return (
        found.state,
        found.trust_root,
        found.signer,
        found.statement,
        found.signed_digest,
        found.log,
        found.signed_at,
        found.time_source,
    )


def refused_or_says_the_same(verifier: BundleVerifier, original: bytes, changed: bytes) -> bool:
    """Some bytes of a bundle are signed by nobody: how JSON is written, a timestamp token's copy of its certificate.

    Changing them may leave a bundle verified, but then not one fact differs from the original's.
    """
    found = judged(verifier, changed)
    return found.state in REFUSED or told(found) == told(verifier.verify(original, {FILE_DIGEST}))


FLIPS = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 7)), min_size=1, max_size=3)
STYLE = st.integers(0, 5)
ANY_PLACE = st.integers(0, 2**20)


@relaxed
@given(style=STYLE, flips=FLIPS)
def test_flipped_bits_are_never_verified(
    verifier: BundleVerifier, good: list[bytes], style: int, flips: list[tuple[int, int]]
) -> None:
    changed = bytearray(good[style])
    for position, bit in flips:
        changed[position % len(changed)] ^= 1 << bit
    assert refused_or_says_the_same(verifier, good[style], bytes(changed))


VALUES = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 10**400, "", "x", "AA==", "\x00", "9" * 5000, 2**64, [], {}, [[]], [{}], {"a": {}}]
)


CHANGES = st.sampled_from(["replace", "remove", "repeat", "deepen", "exchange"])


@relaxed
@given(style=STYLE, where=ANY_PLACE, change=CHANGES, value=VALUES, times=st.integers(2, 40), other=ANY_PLACE)
def test_swapped_missing_and_repeated_fields_never_escape(
    verifier: BundleVerifier,
    good: list[bytes],
    style: int,
    where: int,
    change: str,
    value: object,
    times: int,
    other: int,
) -> None:
    original = good[style]
    document = json.loads(original)
    places = paths(document)
    place = places[where % len(places)]
    holder, key = at(document, place[:-1]), place[-1]
    match change:
        case "replace":
            holder[key] = value
        case "remove":
            del holder[key]
        case "repeat":
            holder[key] = [holder[key]] * times
        case "deepen":
            holder[key] = {"a": holder[key]}
        case _:
            holder[key] = copy.deepcopy(at(document, places[other % len(places)]))
    changed = json.dumps(document).encode()
    assert refused_or_says_the_same(verifier, original, changed), place


@relaxed
@given(st.binary(max_size=2000))
@example(b"\x00")
def test_any_bytes_are_unreadable(verifier: BundleVerifier, data: bytes) -> None:
    assert judged(verifier, data).state is AttestationState.UNREADABLE


ENCODED = {"rawBytes", "sig", "payload", "signature", "canonicalizedBody", "signedEntryTimestamp", "rootHash", "digest"}
ENCODED |= {"signedTimestamp", "keyId"}


@relaxed
@given(style=STYLE, where=ANY_PLACE, cut=ANY_PLACE, put=st.binary(min_size=1, max_size=40))
def test_garbage_in_place_of_encoded_bytes_never_escapes(
    verifier: BundleVerifier, good: list[bytes], style: int, where: int, cut: int, put: bytes
) -> None:
    document = json.loads(good[style])
    encoded = [place for place in paths(document) if place[-1] in ENCODED]
    place = encoded[where % len(encoded)]
    original = base64.b64decode(at(document, place))
    position = cut % (len(original) + 1)
    garbage = original[:position] + put + original[position + 1 :]
    at(document, place[:-1])[place[-1]] = base64.b64encode(garbage).decode()
    assert refused_or_says_the_same(verifier, good[style], json.dumps(document).encode()), place


def test_the_largest_bundle_of_every_shape_stays_within_a_second(verifier: BundleVerifier, good: list[bytes]) -> None:
    for original in good:
        document = json.loads(original)
        for place in paths(document):
            swollen = copy.deepcopy(document)
            value = at(swollen, place)
            room = MAX_BUNDLE_BYTES - len(original) - 100
            if isinstance(value, str):
                at(swollen, place[:-1])[place[-1]] = value + "A" * (room // 4 * 4)
            elif isinstance(value, list) and value:
                item = json.dumps(value[0])
                at(swollen, place[:-1])[place[-1]] = [value[0]] * max(2, room // (len(item) + 2))
            data = json.dumps(swollen).encode()
            if len(data) <= MAX_BUNDLE_BYTES:
                judged(verifier, data)


def test_a_bundle_of_64_megabytes_is_refused_unread(verifier: BundleVerifier) -> None:
    data = b'{"a": "' + b"x" * (64 * MIB) + b'"}'
    began = time.monotonic()
    assert verifier.verify(data).state is AttestationState.UNREADABLE
    assert time.monotonic() - began < 0.1


@pytest.mark.slow
def test_hostile_bundles_never_need_200_megabytes(good: list[bytes], tmp_path: Any) -> None:
    """In a process of its own, whose peak is read when it is done."""
    rng = random.Random(7)
    for index in range(200):
        changed = bytearray(good[index % len(good)])
        for _ in range(3):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        (tmp_path / f"{index}.json").write_bytes(changed)
    (tmp_path / "deep.json").write_bytes(b"[" * MIB)
    (tmp_path / "wide.json").write_bytes(b'{"verificationMaterial": [' + b"{}," * 340_000 + b"{}]}")
    (tmp_path / "long.json").write_bytes(b"[" + b"1," * 500_000 + b"1]")
    (tmp_path / "large.json").write_bytes(b"x" * (64 * MIB))
    script = f"""
import pathlib
from attestations.vendored_roots import public_good
from attestations.sigstore_verifier import BundleVerifier
verifier = BundleVerifier([public_good()])
for path in sorted(pathlib.Path({str(tmp_path)!r}).glob("*.json")):
    with path.open("rb") as file:
        assert verifier.verify(file.read({MAX_BUNDLE_BYTES + 1})).state != "verified"
status = pathlib.Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=BASE_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200 * 1024
