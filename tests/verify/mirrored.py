"""A mirror of the one allowed release, as a portal would publish it; a test changes a part, honest or not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attestations.domain.mirror import (
    CHECKPOINT_FILE,
    CHECKPOINT_PAYLOAD,
    KEY_DIGITS,
    ChangeFeed,
    ChangePage,
    Checkpoint,
    EvidenceEntry,
    MeasurementsDocument,
    MeasurementShard,
    Ref,
    ReleaseDocument,
    ReleaseEntry,
    ReleaseShard,
    Root,
    Series,
    Tree,
    release_key,
)
from attestations.mirror_tree import MirrorTree, mirror_tree
from builds.domain.roles import BootMode
from builds.pipeline.measurement import names_of_signature, signature_of
from builds.pipeline.signing import FileSigner
from builds.verify.cli import main
from builds.verify.evidence import Evidence, Kind
from tests.support.mirrors import served
from tests.verify.world import COMMAND_LINE, COMMIT, TAG, World

UNSIGNED = "7" * 96
"""What the portal computed for five vCPUs, and nobody signed."""
FIRMWARE_ONLY = "8" * 96
BORROWED = {
    "9" * 96: "console=ttyS0 init=/bin/sh",
    "b" * 96: "console=ttyS0 trust=all",
    "c" * 96: "console=ttyS0 quiet",
}
"""What the portal computed with command lines of the project's other releases, for one vCPU."""
WITH_DEBUG_SWAP = "d" * 96
"""What it computed with guest features of another release."""
PORTAL = "https://portal.example/"


@dataclass
class Mirrored:
    """A directory that ``tree`` was last written to, and the parts that a checkpoint is made of."""

    world: World
    directory: Path
    state: Path
    sequence: int = 100
    issued: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1))
    holds: timedelta = timedelta(hours=6)
    judged: bool = True
    evidence: Evidence | None = None
    """As it was published; the portal's signature is another each time."""
    asked: list[str] = field(default_factory=list)

    def copied_to(self, world: World) -> Mirrored:
        """The same mirror of a copy of its release, seen by nobody yet."""
        root = world.root
        shutil.copytree(self.directory, root / "mirror")
        return replace(self, world=world, directory=root / "mirror", state=root / "state" / "seen.json", asked=[])

    def publish(
        self,
        *,
        signer: FileSigner | None = None,
        portal: str = PORTAL,
        change: Callable[[Root, MirrorTree], Root] = lambda root, _: root,
        payload_type: str = CHECKPOINT_PAYLOAD,
        evidence: Evidence | None = None,
    ) -> None:
        self.evidence = evidence or self.world.evidence()
        with mirror_tree(self.directory, lambda _: True) as tree:
            root = change(self.root(tree), tree)
            checkpoint = Checkpoint(
                portal=portal,
                sequence=self.sequence,
                issued_at=self.issued,
                expires_at=self.issued + self.holds,
                root=tree.put_index(root.encode()),
            )
            tree.conclude((signer or self.world.portal).sign(payload_type, checkpoint.encode()).as_bytes())

    def root(self, tree: MirrorTree) -> Root:
        page = tree.put_index(ChangePage(number=0, changes=()).encode())
        return Root(
            portal=PORTAL,
            releases=Tree(digits=0, entries=1, top=tree.put_index(self.shard(tree).encode())),
            measurements=Tree(digits=0, entries=4 + len(BORROWED), top=tree.put_index(self.values().encode())),
            changes=tree.put_index(ChangeFeed(first=0, pages=(page,)).encode()),
        )

    def shard(self, tree: MirrorTree, prefix: str = "") -> ReleaseShard:
        entry = ReleaseEntry(
            key=release_key("enclave", TAG),
            project="enclave",
            tag=TAG,
            judged=self.judged,
            document=tree.put_index(self.document(tree).encode()),
        )
        return ReleaseShard(prefix=prefix, releases=(entry,))

    def document(self, tree: MirrorTree) -> ReleaseDocument:
        assert self.evidence is not None
        files = tuple(
            EvidenceEntry(
                kind=file.kind.value,  # type: ignore[arg-type]
                address=file.address,
                ref=tree.put_blob(file.data),
                operator=file.operator,
            )
            for file in self.evidence.files
        )
        measurements = tree.put_index(self.series().encode())
        return ReleaseDocument(project="enclave", tag=TAG, commit=COMMIT, files=files, measurements=measurements)

    def values(self) -> MeasurementShard:
        name = f"enclave/{TAG}"
        keys = sorted(
            value[:KEY_DIGITS] for value in (self.world.value, UNSIGNED, FIRMWARE_ONLY, WITH_DEBUG_SWAP, *BORROWED)
        )
        return MeasurementShard(prefix="", values=tuple((key, (name,)) for key in keys))

    def series(self) -> MeasurementsDocument:
        signature = signature_of("EPYC-v4")
        assert signature is not None

        def series(boot_mode: BootMode, digests: list[str], line: str = COMMAND_LINE) -> Series:
            return Series(
                boot_mode=boot_mode,
                cpu_signature=signature,
                vcpu_types=names_of_signature("EPYC-v4"),
                guest_features=1,
                vmm="qemu",
                command_line=line if boot_mode is BootMode.DIRECT_KERNEL else "",
                digests="".join(digests),
            )

        direct = [*(str(number) * 96 for number in (1, 2, 3)), self.world.value, UNSIGNED]
        firmware = series(BootMode.UEFI_DISK, [FIRMWARE_ONLY])
        borrowed = [series(BootMode.DIRECT_KERNEL, [value], line) for value, line in BORROWED.items()]
        debug = series(BootMode.DIRECT_KERNEL, [WITH_DEBUG_SWAP]).model_copy(update={"guest_features": 0x21})
        made = (series(BootMode.DIRECT_KERNEL, direct), firmware, *borrowed, debug)
        return MeasurementsDocument(project="enclave", tag=TAG, series=made)

    def run(self, *arguments: str, key: FileSigner | None = None) -> int:
        """The program against the directory as it is served; what it asked for is kept."""
        with served(self.directory) as server:
            given = ["--portal-key", self.world.key_file(key or self.world.portal), "--state", str(self.state)]
            try:
                return main([*arguments, "--mirror", server.address, *given])
            finally:
                self.asked = server.asked

    def release(self, *arguments: str, key: FileSigner | None = None) -> int:
        return self.run("release", f"enclave/{TAG}", "--files", str(self.world.files), *arguments, key=key)

    def measurement(self, value: str, *arguments: str) -> int:
        """About a value of any release of the project."""
        return self.run("measurement", value, "--project", "enclave", *arguments)

    def blob(self, kind: Kind) -> Path:
        """Where the first file of a kind lies."""
        assert self.evidence is not None
        data = self.evidence.of_kind(kind)[0].data
        return self.directory / Ref.to(data).blob_path

    @property
    def checkpoint(self) -> Path:
        return self.directory / CHECKPOINT_FILE
