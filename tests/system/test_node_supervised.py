"""`airmeta up` when processes are killed, itself included."""

import contextlib
import os
import signal
from pathlib import Path

from accounts import Accounts
from benches import Lab, session, wait_for


def pids(lab):
    """Processes of the nodes, by the log each of them holds open."""
    found = {}
    for pid in session(lab.commands[-1].pid):
        with contextlib.suppress(FileNotFoundError):  # it closes some meanwhile
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                path = handle.readlink()
                if path.suffix == ".log":
                    found[path.stem] = pid
    return found


def test_the_supervisor_starts_again_whoever_is_killed(tmp_path):
    with Lab(tmp_path, {"rounds": 12}) as lab:
        up = lab.up()
        for victim, rounds in (("d1", 2), ("coordinator", 5), ("rx", 8)):
            wait_for(lambda rounds=rounds: len(lab.rounds()) >= rounds)
            os.kill(wait_for(lambda victim=victim: pids(lab).get(victim)), signal.SIGKILL)
        assert up.ended() == 0
        lab.assert_nothing_left()
        for victim in ("d1", "coordinator", "rx"):
            assert up.said.count(f"{victim} died and was started again") == 1
        assert [row["round"] for row in lab.rounds()] == list(range(12))
        Accounts(lab).assert_exact()


def test_nobody_outlives_the_supervisor_and_a_resumed_run_goes_on(tmp_path):
    with Lab(tmp_path, {"workers": 2}) as lab:
        up = lab.up()
        wait_for(lambda: len(lab.rounds()) >= 2)
        up.kill()
        assert up.ended() == -signal.SIGKILL
        wait_for(lambda: not session(up.pid), 10)
        assert not (lab.run / "summary.json").exists()
        lab.assert_nothing_left()
        assert lab.up("--resume", "workers=1").ended() == 0
        lab.assert_nothing_left()
        assert [row["round"] for row in lab.rounds()] == list(range(6))
        Accounts(lab).assert_exact()
