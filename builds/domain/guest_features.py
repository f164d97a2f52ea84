"""SEV_FEATURES of a guest: which bits there are, and which values a release is known to run with.

The features are in the launch measurement, which makes none of them a good one: with virtual top of memory or reflected
exceptions a host reaches what it does not without, and an image is made for those that its publisher starts it with.
"""

from __future__ import annotations

from collections.abc import Collection

_SNP_ACTIVE = 0x1
_LAST_BIT = 63
# AMD64 Architecture Programmer's Manual volume 2, table B-4 (SEV_FEATURES), and Linux, arch/x86/include/asm/msr-index.h
# (MSR_AMD64_SNP_*, two bits higher): SNP, vTOM, ReflectVC, restricted and alternate injection, debug virtualization,
# PreventHostIBS, BTB isolation, VMPL SSS, secure TSC, VMGEXIT parameter, PMC and IBS virtualization; VMSA register
# protection, SMT protection, secure AVIC; IBPB on entry.
_DEFINED_BITS = frozenset({*range(13), 14, 15, 16, 21})


def why_unusable(value: int) -> str:
    """Why no SEV-SNP guest starts with this value, to follow it in a sentence; "" for one that may be."""
    if not value & _SNP_ACTIVE:
        return "leaves bit 0 off, which is SEV-SNP itself: no such guest starts"
    reserved = [str(bit) for bit in range(_LAST_BIT + 1) if value >> bit & 1 and bit not in _DEFINED_BITS]
    if reserved:
        bits = f"bit {reserved[0]}" if len(reserved) == 1 else f"bits {', '.join(reserved)}"
        return f"sets {bits}, reserved in AMD's manual: no such guest starts"
    return ""


def objection_to_features(value: int, published: Collection[int]) -> str | None:
    """What stands against a value that nobody published, as a sentence; None for a published one.

    Where nothing is published SEV-SNP alone is known, without which there is no such guest.
    """
    known = sorted({*published}) or [_SNP_ACTIVE]
    if value in known:
        return None
    listed = ", ".join(f"{entry:#x}" for entry in known)
    return f"Nobody published this release with guest features {value:#x}, but with {listed}."
