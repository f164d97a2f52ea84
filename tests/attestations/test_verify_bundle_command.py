"""``manage.py verify_bundle`` as scripts use it: exit codes, the finding as text and JSON, and no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestations.local_sigstore import TrustDomain
from attestations.vendored_roots import public_good
from builds.domain.digest import Digest
from tee_portal.env import BASE_DIR
from tests.attestations.conftest import COMMIT, FILE, FILE_DIGEST, WORKFLOW
from tests.support.management import managed


@pytest.fixture
def files(tmp_path: Path, domain: TrustDomain, bundle: bytes) -> Path:
    (tmp_path / "bundle.json").write_bytes(bundle)
    (tmp_path / "root.json").write_bytes(domain.trusted_root())
    (tmp_path / "root\udcff.json").write_bytes(domain.trusted_root())
    (tmp_path / "katana").write_bytes(FILE)
    (tmp_path / "other").write_bytes(b"another file")
    wrong = replace(WORKFLOW, repository="stranger/enclave")
    (tmp_path / "wrong.json").write_bytes(domain.attest({"katana": FILE_DIGEST}, wrong))
    (tmp_path / "garbage.json").write_bytes(b"{")
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "key.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return tmp_path


def run(
    files: Path, *arguments: str, home: Path | None = None, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TEE_PORTAL_DATA_DIR": str(files / "data")}
    if home is not None:
        environment["HOME"] = str(home)
    return subprocess.run(
        [*prefix, sys.executable, str(BASE_DIR / "manage.py"), "verify_bundle", *arguments],
        cwd=files,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


HERE = ("--trusted-root", "root.json", "--artifact", "katana")
PUBLISHER = ("--repository", "example/reference-enclave", "--workflow", ".github/workflows/release-tee.yml")

CASES = {
    "verified": (("bundle.json", *HERE, *PUBLISHER, "--commit", COMMIT), 0),
    "verified by digest": (("bundle.json", "--trusted-root", "root.json", "--digest", str(FILE_DIGEST)), 0),
    "a root by a name that is no text": (
        ("bundle.json", "--trusted-root", "root\udcff.json", "--artifact", "katana", "--json"),
        0,
    ),
    "another file": (("bundle.json", "--trusted-root", "root.json", "--artifact", "other"), 1),
    "another repository": (("wrong.json", *HERE, *PUBLISHER), 1),
    "another commit": (("bundle.json", *HERE, *PUBLISHER, "--commit", "0" * 40), 1),
    "another identity": (("bundle.json", *HERE, "--identity", "x", "--issuer", "https://x"), 1),
    "another trust root": (("bundle.json", "--artifact", "katana"), 1),
    "unreadable": (("garbage.json", *HERE), 2),
    "empty": (("key.pem", *HERE), 2),
    "no bundle file": (("absent.json", *HERE), 3),
    "a directory": ((".", *HERE), 3),
    "neither file nor digest": (("bundle.json",), 3),
    "both": (("bundle.json", *HERE, "--digest", str(FILE_DIGEST)), 3),
    "no digest": (("bundle.json", "--digest", "md5:00"), 3),
    "an unknown option": (("bundle.json", *HERE, "--frob"), 3),
    "identity without issuer": (("bundle.json", *HERE, "--identity", "x"), 3),
    "workflow without repository": (("bundle.json", *HERE, "--workflow", "x"), 3),
    "no trust root": (("bundle.json", "--artifact", "katana", "--trusted-root", "katana"), 3),
    "no key": (("bundle.json", *HERE, "--key", "root.json"), 3),
    "a key that did not sign it": (("bundle.json", "--artifact", "katana", "--key", "key.pem"), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_exit_status_says_what_became_of_it(files: Path, case: str) -> None:
    arguments, status = CASES[case]
    done = managed(files, "verify_bundle", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_json_carries_the_same_finding_as_the_text(files: Path) -> None:
    document = json.loads(managed(files, "verify_bundle", "wrong.json", *HERE, *PUBLISHER, "--json").stdout)
    text = managed(files, "verify_bundle", "wrong.json", *HERE, *PUBLISHER).stdout
    assert document["state"] == "wrong-identity"
    assert document["reason"] in text
    for clause in document["clauses"]:
        assert f"{clause['name']}: expected {clause['expected']}, found {clause['found'] or 'nothing'}" in text
    for check in document["checks"]:
        assert check["step"] in text
    assert document["repository"] == "https://github.com/stranger/enclave"
    assert document["log"]["inclusion"] == "inclusion proof and promise"


def test_without_an_expected_publisher_it_says_that_nobody_was_asked_for(files: Path) -> None:
    assert "NOT ASKED who signed it" in managed(files, "verify_bundle", "bundle.json", *HERE).stdout


def test_it_works_without_any_network(files: Path) -> None:
    done = run(files, "bundle.json", *HERE, *PUBLISHER, prefix=("unshare", "--net", "--map-root-user"))
    if "unshare" in done.stderr:
        pytest.skip(f"this machine gives no network namespace: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


def test_a_trust_root_planted_in_home_changes_nothing(files: Path, domain: TrustDomain) -> None:
    """sigstore-python's offline mode would believe this file; anyone who can write to HOME could replace it."""
    repository = "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
    for base in (".local/share/sigstore-python/tuf", ".cache/sigstore-python/tuf"):
        folder = files / "home" / base / repository
        folder.mkdir(parents=True)
        (folder / "trusted_root.json").write_bytes(domain.trusted_root())
    planted = run(files, "bundle.json", "--artifact", "katana", home=files / "home")
    assert planted.returncode == 1
    assert "no trust root used here" in planted.stdout
    assert public_good().ref.sha256 in run(files, *REAL, home=files / "home").stdout or not REAL_ONE.is_file()


REAL_ONE = BASE_DIR.parent / "shared" / "data" / "sigstore" / "MODULE.bazel.intoto.jsonl"
REAL_DIGEST = Digest.sha256("06ce330900a7d6403bc8d88e5dfad6aeeb8ae40179f66bb89e69c8bf6f6b1a0b")
REAL = (str(REAL_ONE), "--digest", str(REAL_DIGEST))
