"""SoftHSM 2 as Debian ships it, unpacked and never installed: a real PKCS #11 engine with a key of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pkcs11
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

from builds.domain.digest import Digest
from builds.domain.recipe import MaterialGroup
from builds.pipeline.debian_archive import lock_groups
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import Mirror

PIN = "5739"
LABEL = "portal"
KEY_ID = 2
# The oldest suite whose libraries every newer one still has.
_SUITE = "bookworm"
_FOLDER = "softhsm"


def unpacked(store: MaterialStore) -> Path:
    """Where the packages lie open; downloaded once for all runs."""
    folder = settings.DATA_DIR / _FOLDER
    if not (folder / ".complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        group = MaterialGroup(name="softhsm", suite=_SUITE, packages=["softhsm2", "libsofthsm2"])
        lock = lock_groups([group], store, Mirror(None), settings.ARCHIVE_KEYRING, _never)
        wanted = [package for package in lock.packages if package.name in group.packages]
        store.ensure(wanted, Mirror(None), _never)
        for package in wanted:
            archive = store.path(Digest.sha256(package.sha256))
            subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
        (folder / ".complete").touch()
    return folder


def start(program: Path, folder: Path) -> str:
    """Make a token with one key in ``folder``, tell this process of it, and give the public key as PEM.

    For the rest of the process: the library reads where its tokens are once.
    """
    library = program / "usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"
    (folder / "tokens").mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    os.environ["PYKCS11LIB"] = str(library)
    make = ["--init-token", "--free", "--label", LABEL, "--so-pin", "0000", "--pin", PIN]
    subprocess.run([program / "usr/bin/softhsm2-util", "--module", library, *make], check=True, capture_output=True)
    token = pkcs11.lib(str(library)).get_token(token_label=LABEL)
    with token.open(rw=True, user_pin=PIN) as session:
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        public, _ = parameters.generate_keypair(store=True, id=bytes([KEY_ID]), label=LABEL)
        der = encode_ec_public_key(public)
    key = serialization.load_der_public_key(der)
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _never() -> None:
    """Preparing is not stopped."""
