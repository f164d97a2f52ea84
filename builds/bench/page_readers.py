"""Readers of logs, many at once, as browsers are: ``python -m builds.bench.page_readers PORT``.

The first line of its input is the plan as JSON: ``live`` addresses are asked every two seconds for what came since,
each by a reader of its own; ``stored`` ones are read to their end, again and again with a second between. It goes on
until its input ends. Prints JSON: answers and failures.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from dataclasses import asdict, dataclass

_POLL_SECONDS = 2.0
_STORED_PAUSE = 1.0
# Where an answer says what to ask for next.
_NEXT = re.compile(rb"after=([0-9]+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)")


@dataclass(slots=True)
class Count:
    """Answers of readers, those that failed, and bytes read."""

    live: int = 0
    stored: int = 0
    failed: int = 0
    read: int = 0


@dataclass(slots=True)
class _Connection:
    """One reader's connection, kept from poll to poll as a browser keeps it, until the server ends it."""

    port: int
    _ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, count: Count) -> bytes | None:
        """The body of one answer; None when it is no success."""
        try:
            if self._ends is None or self._ends[0].at_eof():
                self._ends = await asyncio.open_connection("127.0.0.1", self.port)
            status, body = await self._answer(path, *self._ends)
        except (OSError, IndexError, ValueError, EOFError):
            status, body, self._ends = 0, b"", None
        count.read += len(body)
        if status not in {200, 204}:
            count.failed += 1
            return None
        return body

    async def _answer(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = _LENGTH.search(head)
        kept = (length is not None or head.split()[1] == b"204") and b"\r\nconnection: close" not in head
        # A stream has no length: it ends with its connection.
        body = await reader.readexactly(int(length[1]) if length is not None else 0) if kept else await reader.read(-1)
        if not kept:
            writer.close()
            self._ends = None
        return int(head.split()[1]), body


async def _live(port: int, path: str, count: Count) -> None:
    """Asks for what came after the last answer, as the page does."""
    await asyncio.sleep(random.uniform(0, _POLL_SECONDS))  # noqa: S311 - readers do not come at once
    connection, after = _Connection(port), 0
    while True:
        began = time.monotonic()
        body = await connection.ask(f"{path}?after={after}", count)
        if body is not None:
            count.live += 1
            found = _NEXT.search(body)
            after = int(found[1]) if found is not None else after
        await asyncio.sleep(max(0.0, _POLL_SECONDS - (time.monotonic() - began)))


async def _stored(port: int, path: str, count: Count) -> None:
    await asyncio.sleep(random.uniform(0, _STORED_PAUSE))  # noqa: S311
    connection = _Connection(port)
    while True:
        if await connection.ask(path, count) is not None:
            count.stored += 1
        await asyncio.sleep(_STORED_PAUSE)


async def read(port: int, plan: dict[str, list[str]]) -> Count:
    count = Count()
    readers = [
        *(asyncio.create_task(_live(port, path, count)) for path in plan["live"]),
        *(asyncio.create_task(_stored(port, path, count)) for path in plan["stored"]),
    ]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for reader in readers:
        reader.cancel()
    for ended in await asyncio.gather(*readers, return_exceptions=True):
        # One that came to an end by itself did not read what the figures say it read.
        assert isinstance(ended, asyncio.CancelledError), ended  # noqa: S101
    return count


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(read(int(sys.argv[1]), json.loads(sys.stdin.readline()))))))  # noqa: T201 - its answer
