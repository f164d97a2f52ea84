class SevHashes:
    kernel_hash: bytes
    initrd_hash: bytes
    cmdline_hash: bytes
    def __init__(self, kernel: str, initrd: str, append: str) -> None: ...
