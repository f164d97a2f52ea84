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


@dataclass(slots=True)
class Count:
    """Answers of readers, those that failed, and bytes read."""

    live: int = 0
    stored: int = 0
    failed: int = 0
    read: int = 0


async def _ask(port: int, path: str, count: Count) -> bytes | None:
    """The body of one answer on a connection of its own; None when it is no success."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        body = await reader.read(-1)
        writer.close()
    except (OSError, IndexError, ValueError):
        status, body = 0, b""
    count.read += len(body)
    if status not in {200, 204}:
        count.failed += 1
        return None
    return body


async def _live(port: int, path: str, count: Count) -> None:
    """Asks for what came after the last answer, as the page does."""
    await asyncio.sleep(random.uniform(0, _POLL_SECONDS))  # noqa: S311 - readers do not come at once
    after = 0
    while True:
        began = time.monotonic()
        body = await _ask(port, f"{path}?after={after}", count)
        if body is not None:
            count.live += 1
            found = _NEXT.search(body)
            after = int(found[1]) if found is not None else after
        await asyncio.sleep(max(0.0, _POLL_SECONDS - (time.monotonic() - began)))


async def _stored(port: int, path: str, count: Count) -> None:
    await asyncio.sleep(random.uniform(0, _STORED_PAUSE))  # noqa: S311
    while True:
        if await _ask(port, path, count) is not None:
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
