"""Firmware as a process that has just begun knows it: not at all."""

from __future__ import annotations

from builds.services import configurations, kept_firmware


def forget_firmware() -> None:
    """Forget what the import of a release has read, so that the next question reads the store."""
    configurations.calculator_of.cache_clear()
    configurations._measured.cache_clear()
    kept_firmware._read.cache_clear()
