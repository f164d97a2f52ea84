"""Small releases in the format of Katana's VM: one tarball, build-info and the launch measurement as text."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builds.domain.build_info import render_build_info
from tests.support.sources import COMMIT_TIME

TAG = "tee-vm-v0.1.0+katana-v1.7.0"
LUKS_UUID = "6f6b5a5e-0d8f-4a55-9d0e-3a1b8f7f9c11"
COMMAND_LINE = f"console=ttyS0 KATANA_EXPECTED_LUKS_UUID={LUKS_UUID}"
KERNEL = b"MZ\x00 kernel" * 1000
INITRD = b"\x1f\x8b initrd" * 1000
KATANA = b"\x7fELF katana \x00\xff" * 100
SIDECAR = b"\x7fELF settlement sidecar \x00\xff" * 100


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class VmRelease:
    """What is published; change a field, then ``write``. ``members`` in the tarball's order."""

    firmware: bytes = b"firmware\x00\xff"
    measurement: str = "6" * 96
    tag: str = TAG
    prefix: str = ""
    members: list[tuple[str, bytes]] = field(default_factory=list)
    info: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.members = [
            ("OVMF.fd", self.firmware),
            ("vmlinuz", KERNEL),
            ("initrd.img", INITRD),
            ("katana", KATANA),
            ("settlement", SIDECAR),
            ("README.txt", b"how to start it\n"),
        ]
        self.info = {
            "SOURCE_DATE_EPOCH": str(COMMIT_TIME),
            "TOOLCHAIN_ID": "bash=5.2;gcc (Ubuntu 13.3.0) 13.3.0",
            "OVMF_COMMIT": "f" * 40,
            "KERNEL_VERSION": "6.8.0-90",
            "KERNEL_PKG_SHA256": "1" * 64,
            "BUSYBOX_PKG_VERSION": "1:1.36.1-6ubuntu3.1",
            "BUSYBOX_PKG_SHA256": "2" * 64,
            "BUILD_CONTAINER_IMAGE_DIGEST": "",
            "KATANA_VERSION": "v1.7.0",
            "KATANA_BINARY_SHA256": sha256(KATANA),
            "OVMF_SHA256": sha256(self.firmware),
            "OVMF_REUSED_FROM": "tee-vm-v0.0.9+katana-v1.6.0",
            "KERNEL_SHA256": sha256(KERNEL),
            "INITRD_SHA256": sha256(INITRD),
            "LUKS_UUID": LUKS_UUID,
            "LAUNCH_MEASUREMENT": self.measurement,
        }

    def replace(self, name: str, data: bytes) -> None:
        """Other bytes for a member; build-info goes on naming the old ones."""
        self.members = [(found, data if found == name else old) for found, old in self.members]

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"build-info-{self.tag}.txt").write_bytes(render_build_info(self.info))
        (directory / f"launch-measurement-{self.tag}.txt").write_text(f"{self.measurement}\n")
        named = [(f"{self.prefix}{name}", data) for name, data in self.members]
        write_tarball(directory / f"katana-tee-vm-{self.tag}.tar.gz", named)
        return directory


def write_tarball(path: Path, members: Iterable[tuple[str, bytes]], links: Mapping[str, str] | None = None) -> None:
    """A tar.gz, the same bytes for the same members."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    path.write_bytes(gzip.compress(content.getvalue(), mtime=0))
