"""The agent's program, which stops at a named moment and says so: where a test wants to kill it.

``python -m tests.support.pausing_agent MOMENT FILE ARGUMENT...``: a stage's name, ``claimed``, ``signed`` or
``handed in``; FILE appears when it is reached. All else is the program as operators run it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from builds.pipeline.reporting import Reporter
from builds.rebuilder.agent import Agent
from builds.rebuilder.cli import main


def pause(reached: Path) -> None:
    reached.touch()
    time.sleep(600)


def pause_at(moment: str, reached: Path) -> None:
    stage_started, claimed, hand_in = Reporter.stage_started, Agent._claimed, Agent.hand_in

    def started(self: Reporter, name: str) -> None:
        stage_started(self, name)
        if name == moment:
            pause(reached)

    def taken(self: Agent, *arguments: Any) -> int:
        if moment == "claimed":
            pause(reached)
        return claimed(self, *arguments)

    def delivered(self: Agent, *arguments: Any) -> Any:
        if moment == "signed":
            pause(reached)
        answer = hand_in(self, *arguments)
        if moment == "handed in":
            pause(reached)
        return answer

    Reporter.stage_started = started  # type: ignore[method-assign]
    Agent._claimed = taken  # type: ignore[method-assign]
    Agent.hand_in = delivered  # type: ignore[method-assign]


if __name__ == "__main__":
    pause_at(sys.argv[1], Path(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
