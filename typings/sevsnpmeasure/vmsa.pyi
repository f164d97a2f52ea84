from collections.abc import Iterator

from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

class VMSA:
    def __init__(
        self, sev_mode: SevMode, ap_eip: int, vcpu_sig: int, guest_features: int, vmm_type: VMMType = ...
    ) -> None: ...
    def pages(self, vcpus: int) -> Iterator[bytes]: ...
