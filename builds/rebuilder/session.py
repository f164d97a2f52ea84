"""One run of the agent's program: options become a home, tools and a client; signals become a clean stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from builds.domain.printable import on_terminal
from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import Limits
from builds.pipeline.rebuild import Reach
from builds.pipeline.signing import Signer
from builds.rebuilder.agent import Agent, Tools
from builds.rebuilder.home import AgentHome
from builds.rebuilder.portal_client import PortalClient

_GIB = 1024**3
_MIB = 1024**2
_STOP_SECONDS = 60
DEFAULT_ENGINE = "unix:///var/run/docker.sock"
DEFAULT_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said; sizes in GiB, ``minutes`` bounds one build stage."""

    portal: str
    data: Path
    materials: Path | None
    docker_host: str
    mirror: str | None
    keyring: Path
    memory_gib: float
    disk_gib: float
    minutes: float
    allow_network: bool
    allow_registry: bool

    @property
    def home(self) -> AgentHome:
        return AgentHome(self.data, self.materials)

    @property
    def tools(self) -> Tools:
        limits = Limits(
            stage_seconds=self.minutes * 60,
            memory_bytes=int(self.memory_gib * _GIB),
            cpus="",
            log_bytes=16 * _MIB,
            disk_bytes=int(self.disk_gib * _GIB),
            min_free_disk_bytes=2 * _GIB,
            output_bytes=4 * _GIB,
        )
        reach = Reach(network=self.allow_network, registry=self.allow_registry)
        return Tools(self.docker_host, limits, reach, self.mirror, self.keyring)


def default_data() -> Path:
    """``$XDG_DATA_HOME`` (XDG base directory specification), or what stands for it, and our name."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "tee-portal-rebuilder"


def complain(text: str) -> None:
    """A line on standard error, cleaned as ``say`` cleans."""
    _write(sys.stderr, text)


def say(text: str) -> None:
    """A line on the terminal, at once also where the output is a pipe; whatever is said was cleaned here."""
    _write(sys.stdout, text)


def _write(stream: TextIO, text: str) -> None:
    """A terminal that has not every character gets a question mark: no text from elsewhere may end the program."""
    encoding = stream.encoding or "utf-8"
    stream.write(f"{on_terminal(text).encode(encoding, 'replace').decode(encoding)}\n")
    stream.flush()


@contextmanager
def agent_of(options: Options, signer: Signer) -> Iterator[tuple[Agent, PortalClient]]:
    """An agent that holds its home, with what killed runs left removed; SIGTERM and SIGINT stop it cleanly."""
    with ExitStack() as stack:
        client = stack.enter_context(PortalClient(options.portal))
        stack.enter_context(options.home.occupied())
        with closing(DockerEngine(options.docker_host)) as engine:
            removed = options.home.reap(engine)
        if removed:
            say(f"removed {removed} things that an earlier run left")
        agent = Agent(client, signer, options.home, options.tools, say)

        def stop(*_: object) -> None:
            agent.stop()
            # What a portal or an engine holds up then ends with the process; the next run tidies up.
            signal.alarm(_STOP_SECONDS)

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        stack.callback(lambda: [signal.signal(number, handler) for number, handler in before.items()])
        stack.callback(signal.alarm, 0)
        yield agent, client
