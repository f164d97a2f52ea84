from sevsnpmeasure.gctx import GCTX
from sevsnpmeasure.ovmf import OVMF
from sevsnpmeasure.sev_hashes import SevHashes
from sevsnpmeasure.vmm_types import VMMType

def snp_update_metadata_pages(gctx: GCTX, ovmf: OVMF, sev_hashes: SevHashes | None, vmm_type: VMMType) -> None: ...
def snp_calc_launch_digest(
    vcpus: int,
    vcpu_sig: int,
    ovmf_file: str,
    kernel: str,
    initrd: str,
    append: str,
    guest_features: int,
    ovmf_hash_str: str,
    vmm_type: VMMType = ...,
) -> bytes: ...
