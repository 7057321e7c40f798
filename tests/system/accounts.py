"""What devices computed, what was applied and what they remember, added up from a bench's files.

Updates are computed here once more, from the parameters that each round began with; what a device
claims to have computed has to be that.
"""

from collections import defaultdict

import numpy as np

from fl_core import server
from testbed import experiment_file
from testbed.experiment import Experiment

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def load(path):
    with np.load(path) as data:
        return dict(data)


def versions(path):
    """All that a file has ever held, in order."""
    copies = sorted((path.parent / ".journal").glob(f"{path.name}.*"))
    return [load(copy) for copy in copies]


class Accounts:
    """Of a run: compare them with `assert_exact`.

    Attributes:
        computed: by device, sum of all updates.
        applied: by device, sum of what the server applied.
        remembered: by device, what is on its disk, the last update settled as the server says.
        rounds: by device, the rounds in which it computed.
    """

    def __init__(self, lab):
        half_written = [p for p in lab.folder.glob("**/.*.npz.*") if p.parent.name != ".journal"]
        assert half_written == []
        config = experiment_file.read(str(lab.folder / "experiment.yaml")).config([])
        self.experiment = Experiment(config)
        self.checkpoints = versions(lab.run / "checkpoint.npz")
        self.checkpoints[-1:] = [load(lab.run / "checkpoint.npz")]
        # The last of a number is what counted: a round that was not committed was begun anew.
        self.begun = {int(c["round_index"]): c for c in self.checkpoints}
        dim = len(self.checkpoints[0]["params"])
        self.begun[0] = {"params": self.experiment.initial_state().params}
        self.computed, self.applied, self.remembered, self.rounds = {}, {}, {}, {}
        self.sparse = defaultdict(dict)  # by round and device
        for number, _ in enumerate(lab.devices):
            self.computed[number] = self.applied[number] = np.zeros(dim)
            self.remembered[number], self.rounds[number] = np.zeros(dim), []
            for path in lab.folder.glob(f"**/memory-{number}.npz"):
                self._add(number, path)

    def is_applied(self, number, index):
        """Whether the server says so."""
        after = self.begun.get(index + 1)
        return after is not None and int(after["last_applied"][number]) == index

    def _add(self, number, path):
        settled = np.zeros_like(self.computed[number])
        kept = versions(path)
        kept[-1:] = [load(path)]
        pending = -1
        for state in kept:
            index = int(state["pending"])
            if index >= 0:
                assert pending < 0, "an update was overwritten that nobody had settled"
                owed = state["sparse"].astype(np.float64) + state["left"]
                self._compute(number, index, owed - settled)
                self.sparse[index][number] = state["sparse"]
                if self.is_applied(number, index):
                    self.applied[number] = self.applied[number] + state["sparse"]
            settled, pending = state["memory"], index
        if pending >= 0:
            settled = state["left"] + (0 if self.is_applied(number, pending) else state["sparse"])
        self.remembered[number] = settled

    def _compute(self, number, index, claimed):
        params = self.begun[index]["params"].copy()
        rate = self.experiment.meta_lr(index)
        update = self.experiment.desk.update(params, index, [number], rate)[0][0]
        np.testing.assert_allclose(claimed, update, **CLOSE)
        self.computed[number] = self.computed[number] + update
        self.rounds[number].append(index)

    def assert_exact(self):
        """Applied and remembered are what was computed; applied is what moved the parameters."""
        for number, computed in self.computed.items():
            total = self.applied[number] + self.remembered[number]
            np.testing.assert_allclose(total, computed, **CLOSE, err_msg=f"device {number}")
        for index, updates in self.sparse.items():
            named = [number for number in updates if self.is_applied(number, index)]
            if index + 1 in self.begun:
                before, after = self.begun[index]["params"], self.begun[index + 1]["params"]
                if not named:
                    np.testing.assert_array_equal(after, before)
                    continue
                mean = np.mean([updates[number] for number in named], axis=0)
                error = np.linalg.norm(server.step(before, mean) - after) / np.linalg.norm(mean)
                if self.experiment.config.channel.fading != "awgn":
                    error = self.error(index)
                assert error < 0.1, f"round {index} is not the mean of {named}: {error:.2f}"

    def error(self, index):
        """Of the step of a round, relative to what was applied, for the best weights."""
        named = [number for number in self.sparse[index] if self.is_applied(number, index)]
        updates = np.stack([self.sparse[index][number] for number in named]).astype(float)
        step = (self.begun[index]["params"] - self.begun[index + 1]["params"]).astype(float)
        truth = np.linalg.lstsq(updates.T, step, rcond=None)[0] @ updates
        return np.linalg.norm(step - truth) / np.linalg.norm(truth)
