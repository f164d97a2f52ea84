"""The formats of a mirror: one encoding, one reading, and shards that say by themselves what they cannot hold."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.mirror import (
    MAX_OBJECT_BYTES,
    Checkpoint,
    Child,
    Document,
    MalformedMirror,
    MeasurementShard,
    Node,
    Ref,
    ReleaseEntry,
    ReleaseShard,
    Series,
    digits_for,
    parse,
    release_key,
    steps,
)
from builds.domain.roles import BootMode

HEX = "0123456789abcdef"
REF = Ref.to(b"x")
hexes = st.text(HEX, min_size=64, max_size=64)


@given(st.integers(0, 10**9), st.integers(1, 5000))
def test_no_fewer_digits_would_do(entries: int, most: int) -> None:
    digits = digits_for(entries, most)
    assert digits == 4 or entries <= most * 16**digits
    assert all(entries > most * 16**fewer for fewer in (0, 2, 3) if fewer < digits)


@given(st.sampled_from([0, 2, 3, 4]), hexes)
def test_the_way_to_a_shard_is_by_ever_longer_beginnings_of_the_key(digits: int, key: str) -> None:
    way = steps(digits, key)  # type: ignore[arg-type]
    assert [len(prefix) for prefix in way] == {0: [], 2: [2], 3: [2, 3], 4: [2, 4]}[digits]
    assert all(key.startswith(prefix) for prefix in way)


tags = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._+/-]{0,30}\Z")


@given(st.sets(st.tuples(st.sampled_from(["enclave", "other"]), tags), max_size=8))
def test_what_is_written_is_read_as_it_was_and_written_the_same_again(names: set[tuple[str, str]]) -> None:
    entries = [
        ReleaseEntry(key=release_key(project, tag), project=project, tag=tag, judged=True, document=REF)
        for project, tag in names
    ]
    shard = ReleaseShard(prefix="", releases=tuple(sorted(entries, key=lambda entry: entry.key)))
    data = shard.encode()
    read = parse(ReleaseShard, data)
    assert (read, read.encode()) == (shard, data)
    for entry in entries:
        assert read.find(entry.key) == entry
    assert read.find("0" * 64) is None
    if len(entries) > 1:
        with pytest.raises(ValueError, match="order"):
            ReleaseShard(prefix="", releases=shard.releases[::-1])


def test_a_release_under_anothers_key_is_refused() -> None:
    entry = ReleaseEntry(key="0" * 64, project="enclave", tag="v1", judged=True, document=REF)
    with pytest.raises(ValueError, match="another's key"):
        ReleaseShard(prefix="", releases=(entry,))


@pytest.mark.parametrize("prefixes", [("0b", "0a"), ("0a", "0a"), ("1a",), ("0",)])
def test_a_node_out_of_order_or_with_children_of_others_is_refused(prefixes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="child"):
        Node(prefix="0", children=tuple(Child(prefix=prefix, ref=REF) for prefix in prefixes))


def test_a_shard_names_only_what_begins_as_it_does() -> None:
    with pytest.raises(ValueError, match="prefix"):
        MeasurementShard(prefix="ab", values=(("a" * 16, ("enclave/v1",)),))


@given(st.integers(1, 20), st.data())
def test_a_series_knows_for_how_many_processors_it_has_a_value(count: int, data: st.DataObject) -> None:
    digests = [hashlib.sha384(bytes([number])).hexdigest() for number in range(count)]
    series = Series(
        boot_mode=BootMode.UEFI_DISK,
        cpu_signature=1,
        vcpu_types=("EPYC",),
        guest_features=1,
        vmm="qemu",
        command_line="",
        digests="".join(digests),
    )
    number = data.draw(st.integers(0, count - 1))
    assert series.vcpus_of(digests[number]) == number + 1
    # Not at any other place of the text.
    assert series.vcpus_of((digests[0] + digests[-1])[1:97]) is None


@given(st.binary(max_size=200))
def test_what_is_no_document_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(MalformedMirror):
        parse(Checkpoint, data)


@pytest.mark.parametrize("data", [b"[" * 10_000, b'{"a":' * 10_000, b" " * (MAX_OBJECT_BYTES + 1), b'{"a":1,"a":1}'])
@pytest.mark.parametrize("kind", [Checkpoint, Node, ReleaseShard])
def test_what_is_deep_large_or_ambiguous_is_refused_by_name(kind: type[Document], data: bytes) -> None:
    with pytest.raises(MalformedMirror):
        parse(kind, data)


def test_a_checkpoint_ends_after_it_began() -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    made = Checkpoint(portal="p", sequence=1, issued_at=now, expires_at=now + timedelta(seconds=1), root=REF)
    assert not made.has_expired(now)
    assert made.has_expired(made.expires_at)
    with pytest.raises(ValueError, match="expires"):
        Checkpoint(portal="p", sequence=1, issued_at=now, expires_at=now, root=REF)
