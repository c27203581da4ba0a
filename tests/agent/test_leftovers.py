"""What a single command leaves behind is killed, also where one ends at the worst moment."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from agent_on_pipes import WITHIN_S, AgentOnPipes, frame

# An agent under whose eyes the first process that it asks about ends: a child when children were listed,
# dead when its state is read; and its own child is the agent's since, which the list does not have.
UNLUCKY = """
import os, signal
from cloister.agent import core

state_of = core.state_of
met = []

def too_late(pid):
    if not met:
        met.append(pid)
        os.kill(pid, signal.SIGKILL)
        while state_of(pid) not in b"ZX":
            pass
    return state_of(pid)

core.state_of = too_late
core.main()
"""


def test_the_child_of_what_ends_while_it_is_looked_at_is_killed(tmp_path: Path) -> None:
    left = tmp_path / "left"
    os.mkfifo(left)
    script = f"""setsid sh -c "sh -c 'exec sleep 300 >{left}'; :" & cat"""
    with AgentOnPipes(command=[sys.executable, "-c", UNLUCKY], first_message=b"") as agent:
        agent.call("configure", env={}, silence_s=0.0, folder=str(tmp_path))
        identity = next(agent.numbers)
        agent.write(agent.call_frame(identity, "start", command=script, stdin=True, once=True))
        # Opens when the grandchild is there; at its end when that is killed.
        pipe = os.open(left, os.O_RDONLY)
        try:
            agent.write(frame("z", identity))
            ended, _, _ = select.select([pipe], [], [], WITHIN_S)
            assert ended, "the grandchild lives"
            assert os.read(pipe, 1) == b""
        finally:
            os.close(pipe)
