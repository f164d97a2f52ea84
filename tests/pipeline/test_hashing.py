import gzip
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builds.domain.errors import LimitExceeded, MalformedInput
from builds.pipeline.hashing import MalformedGzip, UnreadableFile, hash_file, hash_gzip
from tests.conftest import never

GOOD = gzip.compress(b"hello" * 1000, mtime=0)
reuse_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


@reuse_tmp_path
@given(st.binary(max_size=5000))
def test_both_digests_are_those_of_hashlib(tmp_path: Path, data: bytes) -> None:
    digests = hash_file(write(tmp_path, data), check=never)
    assert digests.size == len(data)
    assert digests.sha256.hex == hashlib.sha256(data).hexdigest()
    assert digests.sha384.hex == hashlib.sha384(data).hexdigest()


@reuse_tmp_path
@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=4), st.integers(1, 9))
def test_a_gzip_of_one_or_more_members_gives_content_and_container(
    tmp_path: Path, parts: list[bytes], level: int
) -> None:
    data = b"".join(gzip.compress(part, level) for part in parts)
    digests = hash_gzip(write(tmp_path, data), 10_000, check=never)
    assert digests.content.sha256.hex == hashlib.sha256(b"".join(parts)).hexdigest()
    assert digests.container.sha384.hex == hashlib.sha384(data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip at all",
        GOOD[:-1],
        GOOD[:20],
        GOOD[:-8] + b"\0" * 8,
        GOOD[:15] + b"\xff\xff\xff" + GOOD[18:],
        GOOD + b"trailing",
        GOOD + b"\0" * 512,
        GOOD + b"\x1f",
        GOOD + GOOD[:10],
    ],
)
def test_a_gzip_that_is_truncated_corrupt_or_followed_by_something_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(MalformedGzip):
        hash_gzip(write(tmp_path, data), 10**9, check=never)


@reuse_tmp_path
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_flipped_byte_never_passes_as_the_same_content_unnoticed(tmp_path: Path, place: int, change: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= change
    try:
        digests = hash_gzip(write(tmp_path, bytes(data)), 10**6, check=never)
    except MalformedInput:
        return
    # Header fields such as the time are not covered by the checksum; then only the container differs.
    assert digests.content.sha256.hex == hashlib.sha256(b"hello" * 1000).hexdigest()
    assert digests.container.sha256.hex != hashlib.sha256(GOOD).hexdigest()


def test_a_gzip_that_expands_beyond_the_bound_is_stopped_early(tmp_path: Path) -> None:
    bomb = write(tmp_path, gzip.compress(bytes(300_000_000), 1))
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    with pytest.raises(LimitExceeded, match="larger than 1000000 bytes"):
        hash_gzip(bomb, 1_000_000, check=count)
    assert calls < 10


def test_hashing_stops_when_asked(tmp_path: Path) -> None:
    def stop() -> None:
        raise LimitExceeded("stop", where="test")

    with pytest.raises(LimitExceeded):
        hash_file(write(tmp_path, b"x"), check=stop)


def test_a_plain_file_beyond_the_bound_is_stopped_however_little_disk_it_takes(tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    os.truncate(path, 10**13)
    with pytest.raises(LimitExceeded, match="larger than 1000000 bytes"):
        hash_file(path, check=never, max_bytes=1_000_000)


def test_a_gzip_of_endlessly_many_empty_members_is_stopped(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"") * 120_000)
    with pytest.raises(LimitExceeded, match="members"):
        hash_gzip(path, 10**9, check=never)
    with pytest.raises(LimitExceeded, match="larger than 1000 bytes"):
        hash_gzip(path, 1000, check=never)


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    pipe, link, directory = tmp_path / "pipe", tmp_path / "link", tmp_path / "directory"
    os.mkfifo(pipe)
    link.symlink_to(write(tmp_path, b"x"))
    directory.mkdir()
    for path in (pipe, link, directory, tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(UnreadableFile):
            hash_file(path, check=never)
