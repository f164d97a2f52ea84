"""Locks: files of their own, which harm nothing that was put in their place."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builds.pipeline.regular_files import LockHeld, UnusableLock, held_lock


def test_a_lock_is_held_by_one_and_free_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    for _ in range(2):
        with held_lock(lock), pytest.raises(LockHeld), held_lock(lock):
            pass
    assert lock.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_place_of_a_lock_is_named_and_its_end_untouched(tmp_path: Path, dangling: bool) -> None:
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_text("precious")
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(UnusableLock), held_lock(tmp_path / ".lock"):
        pass
    assert victim.exists() is not dangling
    assert dangling or victim.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_plain_file_is_no_lock_and_nobody_waits_on_it(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".lock")
    with pytest.raises(UnusableLock), held_lock(tmp_path / ".lock"):
        pass


def test_a_file_that_serves_as_lock_keeps_its_bytes(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("precious")
    with held_lock(tmp_path / ".lock"):
        pass
    assert (tmp_path / ".lock").read_text() == "precious"


def test_a_lock_is_waited_for_as_long_as_is_said(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    began = time.monotonic()
    with held_lock(lock), pytest.raises(LockHeld, match=r"longer than 0\.3 seconds"), held_lock(lock, seconds=0.3):
        pass
    assert 0.3 <= time.monotonic() - began < 5
    held = threading.Event()

    def hold_a_moment() -> None:
        with held_lock(lock):
            held.set()
            time.sleep(0.2)

    holder = threading.Thread(target=hold_a_moment)
    holder.start()
    held.wait()
    with held_lock(lock, seconds=30):
        pass
    holder.join()
