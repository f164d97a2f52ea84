CPU_SIGS: dict[str, int]
