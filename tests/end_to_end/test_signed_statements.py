"""What the portal and rebuilders sign holds for Debian's cosign and for openssl, also from a PKCS #11 engine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from attestations.domain.summary import VERIFICATION_SUMMARY, parse_summary
from attestations.signing import SigningFailed, portal_signer
from builds.domain.dsse import IN_TOTO_PAYLOAD, Envelope, parse_envelope
from builds.domain.provenance import SLSA_PROVENANCE
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.signing import KeyAlgorithm, Signer, VerifyingKey, generate, read_public_key
from tee_portal.env import BASE_DIR
from tests.support import softhsm
from tests.support.statements import encoded, statement_document, subject
from tests.support.summaries import about, allowed, denied

pytestmark = [pytest.mark.slow, pytest.mark.archive]

FILE = b"a kernel"
OTHER = b"another kernel"
VERDICT, REBUILD = VERIFICATION_SUMMARY, SLSA_PROVENANCE
TYPES = pytest.mark.parametrize("predicate_type", [VERDICT, REBUILD])
SIGNERS = pytest.mark.parametrize("kind", [*KeyAlgorithm, "hsm"])


@dataclass(frozen=True)
class Module:
    """A hardware module that runs here: where its public key is, and the address of its private one."""

    public_key: Path
    address: str = f"hsm:{softhsm.KEY_ID}?label={softhsm.LABEL}"

    def signer(self, pin: str = softhsm.PIN) -> Signer:
        return portal_signer(self.address, self.public_key, pin=SecretStr(pin))


@pytest.fixture(scope="module")
def module(store: MaterialStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Module]:
    folder = tmp_path_factory.mktemp("hsm")
    kept = {name: os.environ.get(name) for name in ("SOFTHSM2_CONF", "PYKCS11LIB")}
    public = folder / "portal.pub"
    public.write_text(softhsm.start(softhsm.unpacked(store), folder))
    yield Module(public)
    for name, value in kept.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture
def signer(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Signer:
    if kind == "hsm":
        module: Module = request.getfixturevalue("module")
        return module.signer()
    generate(tmp_path / "portal.pem", KeyAlgorithm(kind))
    return portal_signer(str(tmp_path / "portal.pem"))


def payload_of(predicate_type: str, builder: VerifyingKey) -> bytes:
    """A verdict on FILE as the portal signs it, or a rebuild of FILE as a rebuilder does."""
    if predicate_type == VERDICT:
        return allowed(subjects=(about(FILE),)).encode()
    made = subject("kernel", len(FILE), about(FILE).sha256, about(FILE).sha384)
    return encoded(statement_document(builder.name, subjects=[made]))


@dataclass(frozen=True)
class Desk:
    """A folder with a bundle, a public key and FILE, and cosign beside it."""

    cosign: Path
    folder: Path
    predicate_type: str

    def lay(self, bundle: bytes, public: VerifyingKey) -> None:
        (self.folder / "bundle.json").write_bytes(bundle)
        (self.folder / "portal.pub").write_text(public.pem)
        (self.folder / "file").write_bytes(FILE)
        (self.folder / "other").write_bytes(OTHER)

    def verify(self, *what: str, predicate_type: str = "") -> subprocess.CompletedProcess[str]:
        options = ["--bundle", "bundle.json", "--key", "portal.pub", "--insecure-ignore-tlog=true"]
        kind = ["--type", predicate_type or self.predicate_type]
        return run(self.folder, self.cosign, "verify-blob-attestation", *options, *kind, *what)


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


@TYPES
@SIGNERS
def test_cosign_accepts_what_was_signed_and_nothing_else(
    cosign: Path, tmp_path: Path, signer: Signer, predicate_type: str, kind: str
) -> None:
    envelope = signer.sign(IN_TOTO_PAYLOAD, payload_of(predicate_type, signer.public))
    desk = Desk(cosign, tmp_path, predicate_type)
    desk.lay(envelope.as_bundle(signer.public.hint), signer.public)
    good = desk.verify("file")
    assert good.returncode == 0, good.stderr
    digest = hashlib.sha256(FILE).hexdigest()
    assert desk.verify("--digest", digest, "--digestAlg", "sha256").returncode == 0
    assert desk.verify("other").returncode != 0
    assert desk.verify("--digest", hashlib.sha256(OTHER).hexdigest(), "--digestAlg", "sha256").returncode != 0
    assert desk.verify("file", predicate_type="https://example.org/other").returncode != 0


@TYPES
@SIGNERS
def test_cosign_refuses_what_was_changed_or_signed_by_others(
    cosign: Path, tmp_path: Path, signer: Signer, predicate_type: str, kind: str
) -> None:
    envelope = signer.sign(IN_TOTO_PAYLOAD, payload_of(predicate_type, signer.public))
    stranger = generate(tmp_path / "stranger.pem")
    desk = Desk(cosign, tmp_path, predicate_type)
    for broken in hostile(envelope, stranger):
        desk.lay(broken(signer.public.hint), signer.public)
        assert desk.verify("file").returncode != 0
    desk.lay(envelope.as_bundle(signer.public.hint), stranger.public)
    assert desk.verify("file").returncode != 0


def hostile(envelope: Envelope, stranger: Signer) -> list[Callable[[str], bytes]]:
    """Bundles that look like the signed one: another payload, another's signature, and two signatures."""
    changed = envelope.payload.replace(b"v1.0.0", b"v1.0.1", 1)
    assert changed != envelope.payload
    by_stranger = stranger.sign(envelope.payload_type, envelope.payload)

    def twice(hint: str) -> bytes:
        document = json.loads(envelope.as_bundle(hint))
        document["dsseEnvelope"]["signatures"].append({"sig": base64.b64encode(by_stranger.signature).decode()})
        return json.dumps(document).encode()

    return [
        replace(envelope, payload=changed).as_bundle,
        by_stranger.as_bundle,
        replace(envelope, signature=envelope.signature[:-1]).as_bundle,
        twice,
    ]


@SIGNERS
def test_openssl_verifies_the_raw_signature(tmp_path: Path, signer: Signer, kind: str) -> None:
    payload = denied(subjects=(about(FILE),)).encode()
    bundle = signer.sign(IN_TOTO_PAYLOAD, payload).as_bundle(signer.public.hint)
    envelope = parse_envelope(bundle)
    signer.public.verify(envelope)
    assert parse_summary(envelope.payload) == denied(subjects=(about(FILE),))
    (tmp_path / "portal.pub").write_text(signer.public.pem)
    (tmp_path / "sig").write_bytes(envelope.signature)
    digest = ("-digest", "sha256") if signer.public.algorithm is KeyAlgorithm.ECDSA_P256 else ()
    for covered, is_good in ((envelope.pae, True), (envelope.pae + b" ", False)):
        (tmp_path / "pae").write_bytes(covered)
        check = ("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "portal.pub", "-rawin", "-in", "pae", *digest)
        assert (run(tmp_path, *check, "-sigfile", "sig").returncode == 0) is is_good


def test_the_commands_of_the_page_work_when_pasted(cosign: Path, tmp_path: Path) -> None:
    page = (BASE_DIR / "docs" / "predicates" / "verification-summary.md").read_text()
    commands = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert [text.split()[0] for text in commands] == ["cosign", "python3"]
    signer = portal_signer(str(tmp_path / "portal.pem"), generate=True)
    envelope = signer.sign(IN_TOTO_PAYLOAD, payload_of(VERDICT, signer.public))
    (tmp_path / "bundle.json").write_bytes(envelope.as_bundle(signer.public.hint))
    (tmp_path / "portal.pub").write_text(signer.public.pem)
    path = os.pathsep.join([str(cosign.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    for text in commands:
        (tmp_path / "vmlinuz").write_bytes(FILE)
        pasted = run(tmp_path, "env", f"PATH={path}", "bash", "-euc", text)
        assert pasted.returncode == 0, pasted.stderr
        (tmp_path / "portal.pub").write_text(generate(tmp_path / f"{text[:6]}.pem").public.pem)
        assert run(tmp_path, "env", f"PATH={path}", "bash", "-euc", text).returncode != 0
        (tmp_path / "portal.pub").write_text(signer.public.pem)
    assert (tmp_path / "statement.json").read_bytes() == envelope.payload


def test_a_module_signs_for_many_threads_at_once(module: Module) -> None:
    signer = module.signer()
    with ThreadPoolExecutor(8) as pool:
        envelopes = list(pool.map(lambda number: signer.sign(IN_TOTO_PAYLOAD, b"%d" % number), range(32)))
    for envelope in envelopes:
        signer.public.verify(envelope)
    assert signer.public == read_public_key(module.public_key.read_text())


def test_what_a_module_refuses_is_a_named_error(module: Module, tmp_path: Path) -> None:
    with pytest.raises(SigningFailed, match="PinIncorrect") as caught:
        module.signer(pin="4826").sign(IN_TOTO_PAYLOAD, b"payload")
    assert "4826" not in str(caught.value)
    for address, reason in (("hsm:7?label=portal", "could not find ECDSA"), ("hsm:2?label=none", "No PKCS#11 token")):
        with pytest.raises(SigningFailed, match=reason):
            portal_signer(address, module.public_key, pin=SecretStr(softhsm.PIN)).sign(IN_TOTO_PAYLOAD, b"payload")
    stranger = tmp_path / "stranger.pub"
    stranger.write_text(generate(tmp_path / "stranger.pem").public.pem)
    with pytest.raises(SigningFailed, match="does not hold under"):
        portal_signer(module.address, stranger, pin=SecretStr(softhsm.PIN)).sign(IN_TOTO_PAYLOAD, b"payload")
