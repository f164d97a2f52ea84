"""The documents a release publishes about itself, as the seed's workflow writes them.

``manifest.json`` version 1.0, ``expected-measurement.json`` and ``expected-measurement.txt``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput
from builds.domain.frozen import Frozen, GitCommit, Sha256Hex, Sha384Hex, first_problem
from builds.domain.roles import BootMode, Role
from builds.domain.strict_json import load_object
from builds.domain.tags import TAG_PATTERN, is_git_tag

MANIFEST_FILE = "manifest.json"
MEASUREMENT_FILE = "expected-measurement.json"
MEASUREMENT_TEXT_FILE = "expected-measurement.txt"
MAX_DOCUMENT_BYTES = 256 * 1024
SUPPORTED_VERSION = "1.0"

COMPONENT_KEYS: Mapping[str, tuple[Role, Algorithm]] = {
    "katana_binary_sha384": (Role.KATANA, Algorithm.SHA384),
    "disk_image_sha256": (Role.DISK, Algorithm.SHA256),
    "kernel_sha256": (Role.KERNEL, Algorithm.SHA256),
    "initrd_sha256": (Role.INITRD, Algorithm.SHA256),
    "ovmf_sha256": (Role.OVMF, Algorithm.SHA256),
}

Tag = Annotated[str, StringConstraints(pattern=TAG_PATTERN)]
# What an argument vector and a database can hold; a pattern also makes pydantic refuse lone surrogates.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
VcpuType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,40}$")]


class MalformedManifest(MalformedInput):
    """manifest.json cannot be read as version 1.0."""

    code = "malformed-manifest"
    default_todo = "Ask the publisher for a correct manifest; nothing was imported."


class UnsupportedManifest(MalformedManifest):
    """manifest.json is of a version this portal does not know."""

    code = "unsupported-manifest"
    default_todo = "Update the portal, or ask the publisher for a version 1.0 manifest; nothing was imported."


class MalformedMeasurement(MalformedInput):
    """A published measurement document cannot be read."""

    code = "malformed-measurement"
    default_todo = "Ask the publisher for a correct measurement file; nothing was imported."


class ManifestComponents(Frozen):
    """Digests by the manifest's own keys; a key that is absent stays absent."""

    katana_binary_sha384: Sha384Hex | None = None
    disk_image_sha256: Sha256Hex | None = None
    kernel_sha256: Sha256Hex | None = None
    initrd_sha256: Sha256Hex | None = None
    ovmf_sha256: Sha256Hex | None = None


class ManifestMeasurement(Frozen):
    sev_snp_hex: Sha384Hex
    vcpus: int = Field(ge=1, le=512)
    vcpu_type: VcpuType


class Manifest(Frozen):
    """manifest.json, version 1.0; ``source_date_epoch`` is in seconds."""

    version: Literal["1.0"]
    katana_version: Tag
    source_date_epoch: int = Field(ge=0, lt=2**40)
    git_commit: GitCommit
    components: ManifestComponents
    measurement: ManifestMeasurement | None = None

    @model_validator(mode="after")
    def _tag_is_a_git_tag(self) -> Self:
        """git-check-ref-format(1), as far as the pattern leaves it open."""
        if not is_git_tag(self.katana_version):
            raise ValueError(f"katana_version {self.katana_version!r} is no git tag")
        return self

    @property
    def digests(self) -> Mapping[Role, Digest]:
        """What the manifest says of each component it names."""
        stated = self.components.model_dump(exclude_none=True)
        return {
            role: Digest(algorithm, stated[key]) for key, (role, algorithm) in COMPONENT_KEYS.items() if key in stated
        }


class MeasuredComponents(Frozen):
    """File names as passed to the script, and the command line; only ovmf for a UEFI measurement."""

    ovmf: Text
    kernel: Text | None = None
    initrd: Text | None = None
    cmdline: Text | None = None


class MeasuredVm(Frozen):
    vcpus: int = Field(ge=1, le=512)
    vcpu_type: VcpuType


class ExpectedMeasurement(Frozen):
    """expected-measurement.json."""

    measurement: Sha384Hex
    boot_mode: Annotated[BootMode, Field(strict=False)]
    components: MeasuredComponents
    vm_config: MeasuredVm
    notes: Text = ""

    @model_validator(mode="after")
    def _names_what_it_binds(self) -> Self:
        """A command line nobody stated is not an empty one, and would be measured as such."""
        stated = (self.components.kernel, self.components.initrd, self.components.cmdline)
        if self.boot_mode is BootMode.DIRECT_KERNEL and None in stated:
            raise ValueError("a direct_kernel measurement names kernel, initrd and cmdline")
        return self


def parse_manifest(data: bytes, *, where: str = MANIFEST_FILE) -> Manifest:
    """Read manifest.json; ``MalformedManifest`` or ``UnsupportedManifest`` names what is wrong."""
    document = load_object(data, max_bytes=MAX_DOCUMENT_BYTES, where=where, error_type=MalformedManifest)
    version = document.get("version")
    if version != SUPPORTED_VERSION:
        raise UnsupportedManifest(f"the manifest's version is {str(version)[:40]!r}, not '1.0'", where=where)
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise MalformedManifest(first_problem(error), where=where) from error


def parse_measurement(data: bytes, *, where: str = MEASUREMENT_FILE) -> ExpectedMeasurement:
    """Read expected-measurement.json."""
    document = load_object(data, max_bytes=MAX_DOCUMENT_BYTES, where=where, error_type=MalformedMeasurement)
    try:
        return ExpectedMeasurement.model_validate(document)
    except ValidationError as error:
        raise MalformedMeasurement(first_problem(error), where=where) from error


def parse_measurement_text(data: bytes, *, where: str = MEASUREMENT_TEXT_FILE) -> str:
    """Read expected-measurement.txt: 96 hex characters and a newline."""
    text = data[:200].decode("utf-8", "replace").strip()
    if len(data) <= Algorithm.SHA384.hex_length + 2:
        try:
            return Digest.sha384(text.lower()).hex
        except MalformedInput as error:
            raise MalformedMeasurement(error.what, where=where) from error
    raise MalformedMeasurement("the file is more than 96 hexadecimal characters and a newline", where=where)
