"""A tiny Debian archive for tests: packages made byte by byte, an index signed here, served on loopback."""

from __future__ import annotations

import hashlib
import io
import lzma
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from builds.domain.materials import LockedPackage

type TarMember = tuple[tarfile.TarInfo, bytes]


def never() -> None:
    """A check that never stops anything."""


def regular(name: str, data: bytes, mode: int = 0o644) -> TarMember:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime, entry.uid = len(data), mode, 1_700_000_000, 7
    return entry, data


def directory(name: str, mode: int = 0o755) -> TarMember:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    return entry, b""


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> TarMember:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def tar_bytes(members: Sequence[TarMember]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry, data in members:
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def deb_of_tar(data_tar: bytes, *, compress: bool = False) -> bytes:
    """A .deb (deb(5): an ar archive) around any bytes as its data archive."""
    name = "data.tar.xz" if compress else "data.tar"
    members = [
        ("debian-binary", b"2.0\n"),
        ("control.tar", tar_bytes([regular("./control", b"Package: x\n")])),
        (name, lzma.compress(data_tar, preset=1) if compress else data_tar),
    ]
    out = b"!<arch>\n"
    for member, data in members:
        out += (
            f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    return out


def make_deb(members: Sequence[TarMember]) -> bytes:
    return deb_of_tar(tar_bytes(members))


def locked(name: str, deb: bytes, *, version: str = "1.0", suite: str | None = "testing") -> LockedPackage:
    return LockedPackage(
        name=name,
        version=version,
        architecture="amd64",
        suite=suite,
        sha256=hashlib.sha256(deb).hexdigest(),
        size=len(deb),
        path=f"pool/main/{name}_{version}_amd64.deb",
        groups=["base"],
    )


@dataclass(frozen=True)
class SigningKey:
    """A throw-away OpenPGP key: gpg's home, and the public key as a keyring for gpgv."""

    home: Path
    keyring: Path

    def sign(self, text: str) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--digest-algo", "SHA256", "--clearsign"]
        return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout


@contextmanager
def signing_key() -> Iterator[SigningKey]:
    # A short path: gpg-agent's socket has to fit into 107 characters.
    with tempfile.TemporaryDirectory(prefix="gpg-", dir="/tmp") as name:
        home = Path(name)
        gpg = ["gpg", "--homedir", name, "--batch", "--quiet"]
        subprocess.run(
            [*gpg, "--passphrase", "", "--quick-gen-key", "Test <test@example.org>", "ed25519", "sign", "never"],
            check=True,
            capture_output=True,
        )
        keyring = home / "public.gpg"
        keyring.write_bytes(subprocess.run([*gpg, "--export"], check=True, capture_output=True).stdout)
        try:
            yield SigningKey(home, keyring)
        finally:
            subprocess.run(["gpgconf", "--homedir", name, "--kill", "gpg-agent"], check=False, capture_output=True)


@dataclass
class LocalArchive:
    """An archive on disk; ``publish`` writes a suite's index and signs it."""

    root: Path
    key: SigningKey
    packages: dict[str, list[tuple[LockedPackage, str]]] = field(default_factory=dict)

    def add(self, suite: str, name: str, deb: bytes, *, version: str = "1.0", depends: str = "") -> LockedPackage:
        package = locked(name, deb, version=version, suite=suite)
        path = self.root / package.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(deb)
        self.packages.setdefault(suite, []).append((package, depends))
        return package

    def packages_text(self, suite: str) -> bytes:
        stanzas = []
        for package, depends in self.packages[suite]:
            stanzas.append(
                f"Package: {package.name}\nVersion: {package.version}\nArchitecture: {package.architecture}\n"
                f"Maintainer: Test <test@example.org>\n"
                + (f"Depends: {depends}\n" if depends else "")
                + f"Filename: {package.path}\nSize: {package.size}\nSHA256: {package.sha256}\n"
                f"Description: test\n"
            )
        return "\n".join(stanzas).encode()

    def release_text(self, suite: str, packages: bytes, date: str = "Sat, 12 Sep 2026 07:55:41 UTC") -> str:
        packed = lzma.compress(packages)
        lines = [
            f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/{name}"
            for name, data in (("Packages", packages), ("Packages.xz", packed))
        ]
        head = (
            f"Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: {date}\nArchitectures: amd64\nComponents: main\n"
        )
        return head + "SHA256:\n" + "\n".join(lines) + "\n"

    def publish(self, suite: str, *, key: SigningKey | None = None) -> bytes:
        packages = self.packages_text(suite)
        index = self.root / "dists" / suite / "main/binary-amd64"
        index.mkdir(parents=True, exist_ok=True)
        (index / "Packages").write_bytes(packages)
        (index / "Packages.xz").write_bytes(lzma.compress(packages))
        release = (key or self.key).sign(self.release_text(suite, packages))
        (self.root / "dists" / suite / "InRelease").write_bytes(release)
        return release


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The directory at an address on loopback, as long as the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
