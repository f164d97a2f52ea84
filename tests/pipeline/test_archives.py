import gzip
import hashlib
import io
import lzma
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builds.domain.errors import LimitExceeded, PortalError, UnsafePath
from builds.pipeline import archives, hashing
from builds.pipeline.archives import MalformedArchive, read_initrd
from builds.pipeline.hashing import MalformedGzip
from builds.pipeline.tarballs import hash_tar_member
from tests.conftest import never

NAMES = frozenset({"katana-reproducible", "katana"})


def newc(name: str, data: bytes = b"", mode: int = 0o100644, *, inode: int = 0, links: int = 1, **fields: int) -> bytes:
    """One newc entry (Linux buffer-format.rst); ``size`` or ``name_size`` override what is true."""
    encoded = name.encode() + b"\0"
    size = fields.get("size", len(data))
    name_size = fields.get("name_size", len(encoded))
    numbers = (inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0)
    header = b"070701" + "".join(f"{number:08x}" for number in numbers).encode()
    return pad(header + encoded) + pad(data)


def pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


TRAILER = newc("TRAILER!!!", mode=0)
INIT = newc("init", b"#!/bin/sh\n", 0o100755)


def initrd(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "initrd.img"
    path.write_bytes(data)
    return path


def raw_newc(name: bytes = b"x\0", size: str = "00000000", check: str = "00000000", magic: bytes = b"070701") -> bytes:
    """One empty-handed newc entry whose fields are put in as text."""
    fields = "0" * 8 + "000081a4" + "0" * 16 + "00000001" + "0" * 8 + size + "0" * 32 + f"{len(name):08x}" + check
    return pad(magic + fields.encode() + name)


def paths(entries: list[archives.InitrdEntry]) -> list[str]:
    return [entry.path for entry in entries]


@pytest.mark.parametrize("wrap", [bytes, gzip.compress, lzma.compress])
def test_plain_gzip_and_xz_initrds_read_alike(tmp_path: Path, wrap: object) -> None:
    data = newc("bin", mode=0o040755) + INIT + newc("bin/sh", b"busybox", 0o120777) + TRAILER
    entries = read_initrd(initrd(tmp_path, wrap(data)), check=never)  # type: ignore[operator]
    assert paths(entries) == ["bin", "bin/sh", "init"]
    assert entries[2].sha256 is not None
    assert entries[2].sha256.hex == hashlib.sha256(b"#!/bin/sh\n").hexdigest()
    assert entries[0].sha256 is entries[1].sha256 is None


def test_a_later_segment_replaces_what_an_earlier_one_holds_as_the_kernel_does(tmp_path: Path) -> None:
    first = gzip.compress(INIT + TRAILER)
    second = gzip.compress(newc("init", b"evil", 0o100755) + newc("extra", b"x") + TRAILER)
    entries = read_initrd(initrd(tmp_path, first + b"\0" * 512 + second), check=never)
    assert paths(entries) == ["extra", "init"]
    assert entries[1].size == 4


def test_an_uncompressed_microcode_segment_may_come_first(tmp_path: Path) -> None:
    data = newc("kernel/x86/microcode/GenuineIntel.bin", b"mc") + TRAILER + b"\0" * 300 + gzip.compress(INIT + TRAILER)
    assert paths(read_initrd(initrd(tmp_path, data), check=never)) == ["init", "kernel/x86/microcode/GenuineIntel.bin"]


def test_every_name_of_a_hard_linked_file_has_its_content(tmp_path: Path) -> None:
    data = newc("a", inode=7, links=2) + newc("b", b"data", inode=7, links=2) + TRAILER
    first, second = read_initrd(initrd(tmp_path, data), check=never)
    assert first.sha256 == second.sha256
    assert first.size == second.size == 4


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "a/../../b", "a\nb"])
def test_a_member_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePath):
        read_initrd(initrd(tmp_path, newc(name, b"x") + TRAILER), check=never)


@pytest.mark.parametrize(
    "data",
    [
        b"garbage",
        INIT,
        INIT[:50],
        newc("x", b"1234", size=2**31) + TRAILER,
        newc("x", b"1234", name_size=2**31) + TRAILER,
        newc("x", b"1234", name_size=0) + TRAILER,
        b"070701" + b"zz" * 52 + TRAILER,
        b"070707" + INIT[6:] + TRAILER,
        gzip.compress(INIT),
        gzip.compress(INIT + TRAILER)[:-6],
        gzip.compress(b"not cpio"),
        b"\x28\xb5\x2f\xfd" + b"zstd",
        raw_newc(b".\0", size="-0000070") + TRAILER,
        gzip.compress(raw_newc(b".\0", size="-0000070") + TRAILER),
        raw_newc(size="0x000000") + TRAILER,
        raw_newc(size="0_00_000") + TRAILER,
        raw_newc(b"not-terminated") + TRAILER,
        raw_newc(b"not-utf8-\xff\0") + TRAILER,
        raw_newc(size="00000004", magic=b"070702", check="00000001") + b"abcd" + TRAILER,
        gzip.compress(TRAILER) + b"\0" + INIT + TRAILER,
        newc("dir", b"a body", mode=0o040755) + TRAILER,
        newc("untyped", mode=0o644) + TRAILER,
    ],
)
def test_an_initrd_that_cannot_be_read_to_its_end_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(PortalError) as caught:
        read_initrd(initrd(tmp_path, data), check=never)
    assert caught.value.code in {"malformed-archive", "malformed-gzip"}


def test_an_initrd_that_expands_beyond_the_bound_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1_000_000)
    with pytest.raises(LimitExceeded):
        read_initrd(initrd(tmp_path, gzip.compress(bytes(50_000_000))), check=never)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_mutated_initrd_is_read_or_refused_by_name(tmp_path: Path, data: st.DataObject) -> None:
    image = bytearray(newc("bin", mode=0o040755) + INIT + newc("etc/x", b"y" * 40) + TRAILER)
    for _ in range(data.draw(st.integers(1, 5))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_initrd(initrd(tmp_path, bytes(image)), check=never)
    except PortalError as error:
        assert error.code in {"malformed-archive", "unsafe-path", "malformed-gzip", "limit-exceeded"}


def test_the_content_of_a_hard_linked_file_may_come_with_any_of_its_names(tmp_path: Path) -> None:
    data = newc("a", b"data", inode=7, links=2) + newc("b", inode=7, links=2) + TRAILER
    first, second = read_initrd(initrd(tmp_path, data), check=never)
    assert first.sha256 == second.sha256
    assert first.size == second.size == 4


def test_what_is_written_over_one_name_of_a_hard_linked_file_changes_under_the_other(tmp_path: Path) -> None:
    linked = newc("a", inode=7, links=2) + newc("b", b"honest", inode=7, links=2)
    for later in (newc("a", b"evil") + TRAILER, TRAILER + newc("a", b"evil", inode=7, links=2) + TRAILER):
        first, second = read_initrd(initrd(tmp_path, linked + later), check=never)
        assert first.sha256 == second.sha256
        assert first.size == second.size == 4


def test_two_spellings_of_one_path_are_one_file(tmp_path: Path) -> None:
    data = newc("bin", mode=0o040755) + newc("bin/katana", b"honest") + newc("./bin//katana", b"evil") + TRAILER
    entries = read_initrd(initrd(tmp_path, data), check=never)
    assert [(entry.path, entry.size) for entry in entries] == [("bin", 0), ("bin/katana", 4)]


def test_a_file_written_through_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    honest = newc("bin", mode=0o040755) + newc("bin/katana", b"honest")
    data = honest + newc("alias", b"bin", 0o120777) + newc("alias/katana", b"evil") + TRAILER
    with pytest.raises(UnsafePath, match="goes through the link"):
        read_initrd(initrd(tmp_path, data), check=never)


def test_a_checked_archive_is_read_when_its_sums_are_right(tmp_path: Path) -> None:
    entry = raw_newc(size="00000004", magic=b"070702", check=f"{sum(b'abcd'):08x}") + b"abcd"
    (read,) = read_initrd(initrd(tmp_path, entry + TRAILER), check=never)
    assert read.size == 4


@pytest.mark.parametrize("data", [gzip.compress(TRAILER) * 2000, gzip.compress(TRAILER * 200_000)])
def test_endlessly_many_archives_in_an_initrd_are_stopped(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(LimitExceeded):
        read_initrd(initrd(tmp_path, data), check=never)


def test_a_large_initrd_is_read_without_holding_it_in_memory(tmp_path: Path) -> None:
    packed = gzip.compress(newc("big", bytes(100_000_000)) + TRAILER + bytes(100_000_000), 1)
    path = initrd(tmp_path, packed)
    tracemalloc.start()
    try:
        (entry,) = read_initrd(path, check=never)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert entry.size == 100_000_000
    assert peak < 20_000_000


names = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(names, st.binary(max_size=300)), max_size=8), st.integers(1, 64), st.sampled_from([1, 4, 512])
)
def test_what_was_put_in_comes_out_wherever_segments_and_chunks_end(
    tmp_path: Path, files: list[tuple[str, bytes]], chunk: int, zeros: int
) -> None:
    wraps = (bytes, gzip.compress, lzma.compress)
    data = b""
    for number, (name, content) in enumerate(files):
        data += bytes(-len(data) % 4) + wraps[number % 3](newc(name, content) + TRAILER) + bytes(zeros)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "_CHUNK", chunk)
        patch.setattr(hashing, "_CHUNK", chunk)
        entries = read_initrd(initrd(tmp_path, data), check=never)
    assert {entry.path: entry.sha256.hex for entry in entries if entry.sha256} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files
    }


def tarball(tmp_path: Path, *members: tuple[str, bytes | str]) -> Path:
    """A tar.gz; a member whose content is text is a symbolic link to it."""
    path = tmp_path / "katana.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


def test_a_tarball_gives_the_digests_of_the_binary_and_of_itself(tmp_path: Path) -> None:
    path = tarball(tmp_path, ("./README", b"hi"), ("./katana-reproducible", b"ELF" * 1000))
    read = hash_tar_member(path, NAMES, 10**6, check=never)
    assert read.member == "katana-reproducible"
    assert read.content.sha384.hex == hashlib.sha384(b"ELF" * 1000).hexdigest()
    assert read.container.sha256.hex == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ([("../katana", b"x")], UnsafePath),
        ([("/katana", b"x")], UnsafePath),
        ([("katana", b"x"), ("a", "/etc/passwd")], UnsafePath),
        ([("katana", b"x"), ("a", "../../b")], UnsafePath),
        ([("katana", b"honest"), ("x", "."), ("x/katana", b"evil")], UnsafePath),
        ([("katana", b"honest"), ("x", "."), ("x/x/katana", b"evil")], UnsafePath),
        ([("katana", b"honest"), ("x", "katana"), ("x", b"evil")], UnsafePath),
        ([("katana", "other")], MalformedArchive),
        ([("other", b"x")], MalformedArchive),
        ([("katana", b"x"), ("katana-reproducible", b"y")], MalformedArchive),
        ([("katana", b"x" * 2_000_000)], LimitExceeded),
    ],
)
def test_a_hostile_tarball_is_refused_by_name(
    tmp_path: Path, members: list[tuple[str, bytes | str]], error: type[PortalError]
) -> None:
    with pytest.raises(error):
        hash_tar_member(tarball(tmp_path, *members), NAMES, 10**6, check=never)


def test_a_truncated_tarball_is_named(tmp_path: Path) -> None:
    path = tarball(tmp_path, ("katana", bytes(range(256)) * 100))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(MalformedGzip):
        hash_tar_member(path, NAMES, 10**6, check=never)


ENTRY = tarfile.TarInfo("katana")
ENTRY.size = 4
TAR = ENTRY.tobuf() + b"abcd" + bytes(508) + bytes(1024)


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(TAR)[:-8] + bytes(8),
        gzip.compress(TAR)[:-1],
        gzip.compress(TAR) + b"garbage",
        gzip.compress(TAR) + gzip.compress(b"hidden" * 100),
        gzip.compress(TAR + b"hidden"),
    ],
)
def test_a_tarball_is_read_to_its_last_byte_and_nothing_may_hide_behind_it(tmp_path: Path, data: bytes) -> None:
    path = initrd(tmp_path, data)
    with pytest.raises(PortalError) as caught:
        hash_tar_member(path, NAMES, 10**6, check=never)
    assert caught.value.code in {"malformed-archive", "malformed-gzip"}


def extended(kind: bytes, data: bytes) -> bytes:
    """A pax or GNU header that precedes a member."""
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, len(data)
    return header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_stopped(tmp_path: Path, kind: bytes) -> None:
    path = initrd(tmp_path, gzip.compress(extended(kind, bytes(200_000_000)) + TAR, 1))
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match="headers"):
            hash_tar_member(path, NAMES, 10**10, check=never)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = next(n for n in range(len(body), len(body) + 9) if n == len(body) + len(str(n)))
    return str(length).encode() + body


@pytest.mark.parametrize(
    "records",
    [
        {"GNU.sparse.map": "a,b"},
        {"GNU.sparse.map": "0,1,2"},
        {"GNU.sparse.size": "x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"size": "-5000"},
    ],
)
def test_a_member_that_is_not_plain_is_refused_by_name(tmp_path: Path, records: dict[str, str]) -> None:
    pax = b"".join(record(key, value) for key, value in records.items())
    path = initrd(tmp_path, gzip.compress(extended(tarfile.XHDTYPE, pax) + TAR))
    with pytest.raises(MalformedArchive):
        hash_tar_member(path, NAMES, 10**6, check=never)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_mutated_tarball_is_read_or_refused_by_name(tmp_path: Path, data: st.DataObject) -> None:
    image = bytearray(extended(tarfile.XHDTYPE, record("GNU.sparse.map", "0,4") + record("path", "katana")) + TAR)
    for _ in range(data.draw(st.integers(1, 5))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    try:
        hash_tar_member(initrd(tmp_path, gzip.compress(image)), NAMES, 10**6, check=never)
    except PortalError as error:
        assert error.code in {"malformed-archive", "unsafe-path", "limit-exceeded"}
