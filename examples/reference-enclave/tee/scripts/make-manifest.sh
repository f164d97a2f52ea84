#!/bin/sh
# Write manifest.json for a release.
#
#   make-manifest.sh TAG GIT_COMMIT DIRECTORY
#
# DIRECTORY holds katana, disk.raw, vmlinuz, initrd.img, ovmf.fd and expected-measurement.json; manifest.json goes
# there too. The digest of the disk is that of the raw disk, not of the compressed file that is published.
#
# Needs: python3. Environment: SOURCE_DATE_EPOCH (required).
set -eu

[ $# -eq 3 ] || { echo "usage: make-manifest.sh TAG GIT_COMMIT DIRECTORY" >&2; exit 2; }
: "${SOURCE_DATE_EPOCH:?make-manifest: SOURCE_DATE_EPOCH is not set}"

python3 - "$@" "$SOURCE_DATE_EPOCH" <<'PYTHON'
import hashlib, json, pathlib, re, sys

tag, commit, directory, epoch = sys.argv[1:]
directory = pathlib.Path(directory)
if not re.fullmatch(r"[0-9a-f]{40}", commit):
    sys.exit(f"make-manifest: not a full commit id: {commit}")


def digest(algorithm, name):
    with open(directory / name, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


expected = json.loads((directory / "expected-measurement.json").read_text(encoding="utf-8"))
manifest = {
    "version": "1.0",
    "katana_version": tag,
    "source_date_epoch": int(epoch),
    "git_commit": commit,
    "components": {
        "katana_binary_sha384": digest("sha384", "katana"),
        "disk_image_sha256": digest("sha256", "disk.raw"),
        "kernel_sha256": digest("sha256", "vmlinuz"),
        "initrd_sha256": digest("sha256", "initrd.img"),
        "ovmf_sha256": digest("sha256", "ovmf.fd"),
    },
    "measurement": {"sev_snp_hex": expected["measurement"], **expected["vm_config"]},
}
(directory / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
PYTHON
