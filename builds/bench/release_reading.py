"""Import of a release against openssl and sev-snp-measure, and all measurements of a release at once."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from builds.bench.rebuild_overhead import never
from builds.bench.timing import Pair, in_turn, timed
from builds.domain.errors import PortalError
from builds.domain.launch import LaunchConfiguration
from builds.domain.roles import BootMode, Role
from builds.pipeline.measurement import MeasurementCalculator, MeasurementInputs, vcpu_signature, vcpu_types
from builds.pipeline.published_release import Outside
from builds.pipeline.rebuild import measure_files
from builds.pipeline.release_directory import read_release_directory

PAIRS = 5
SIGNATURES = 5
VCPUS = 128
GUEST_FEATURES = (0x1, 0x21)
MATRIX_RUNS = 9
SAMPLED = 20
COMMAND_LINE = "console=ttyS0 katana.args=--http.addr=0.0.0.0"


def raw_files(directory: Path, work: Path) -> list[Path]:
    """The published bytes as plain files, decompressed, as the reference reads them."""
    disk = work / "disk.raw"
    (packed,) = directory.glob("katana-vm-*.raw.gz")
    with disk.open("wb") as target:
        subprocess.run(["gzip", "--decompress", "--stdout", str(packed)], stdout=target, check=True)
    return [disk, *(directory / name for name in ("vmlinuz", "initrd.img", "ovmf.fd"))]


def tool(inputs: MeasurementInputs, vcpus: int, vcpu_type: str, guest_features: int) -> str:
    """One call of the sev-snp-measure command."""
    command = [
        *(str(Path(sys.executable).parent / "sev-snp-measure"), "--mode", "snp", "--vcpus", str(vcpus)),
        *("--vcpu-type", vcpu_type, "--guest-features", hex(guest_features), "--append", inputs.command_line or ""),
        *("--ovmf", str(inputs.ovmf), "--kernel", str(inputs.kernel), "--initrd", str(inputs.initrd)),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def bench_import(directory: Path, work: Path) -> Pair:
    raw = raw_files(directory, work)
    configuration = LaunchConfiguration(BootMode.DIRECT_KERNEL, 4, "EPYC-v4", 1, "qemu")
    inputs = MeasurementInputs(raw[3], raw[1], raw[2], COMMAND_LINE)
    paths = {Role.OVMF: raw[3], Role.KERNEL: raw[1], Role.INITRD: raw[2]}

    nothing = Outside(None, None, commit_of=str)

    def ours() -> None:
        most = settings.ENVIRONMENT.max_asset_bytes
        read_release_directory(directory, most, outside=nothing, work=work, check=never)
        measure_files(paths, configuration, COMMAND_LINE)

    def reference() -> None:
        subprocess.run(["openssl", "dgst", "-sha384", *map(str, raw)], check=True, stdout=subprocess.DEVNULL)
        tool(inputs, 4, "EPYC-v4", 1)

    return in_turn(lambda: timed(ours), lambda: timed(reference), PAIRS)


@dataclass(frozen=True)
class Matrix:
    """Milliseconds for all digests of one release, how many, and how many agreed with the library."""

    milliseconds: float
    digests: int
    sampled: int
    tool_milliseconds: float


def bench_matrix(directory: Path) -> Matrix:
    by_signature = {vcpu_signature(name): name for name in vcpu_types()}
    names = list(by_signature.values())[:SIGNATURES]
    inputs = MeasurementInputs(directory / "ovmf.fd", directory / "vmlinuz", directory / "initrd.img", COMMAND_LINE)

    def all_digests() -> dict[tuple[str, int, int], str]:
        calculator = MeasurementCalculator(inputs)
        return {
            (name, features, count): digest
            for name in names
            for features in GUEST_FEATURES
            for count, digest in enumerate(calculator.digests(name, features, "qemu", VCPUS), start=1)
        }

    times = [timed(all_digests) * 1000 for _ in range(MATRIX_RUNS)]
    digests = all_digests()
    points = random.Random(1).sample(sorted(digests), SAMPLED)  # noqa: S311 - a sample, no secret
    for name, features, count in points:
        if tool(inputs, count, name, features) != digests[name, features, count]:
            raise PortalError(f"sev-snp-measure disagrees at {name}, {features:#x}, {count} vCPUs", where="matrix")
    once = timed(lambda: tool(inputs, VCPUS, names[0], 1)) * 1000
    return Matrix(statistics.median(times), len(digests), SAMPLED, once)
