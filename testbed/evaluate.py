"""Scoring the parameters that a run left, on as many tasks as wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fl_core.errors import InputError
from fl_core.evaluation import Adaptation
from testbed import experiment_file
from testbed.experiment import Experiment, generalization_gap
from testbed.run_folder import config_hash, load_checkpoint
from testbed.workers import Workers


def evaluate_run(folder: Path, tasks: int, adapt_steps: int | None) -> dict[str, Any]:
    """Scores of a run folder's last checkpoint, as a row of evaluations.jsonl plus its scheme."""
    state, owner = load_checkpoint(folder / "checkpoint.npz")
    config = experiment_file.read(str(folder / "config.yaml")).config()
    if owner != config_hash(config):
        raise InputError(f"{folder}: config.yaml is not the configuration of checkpoint.npz")
    experiment = Experiment(config)
    adaptation = experiment.adaptation()
    if adapt_steps is not None:
        adaptation = Adaptation(adaptation.lr, adapt_steps)
    with Workers(experiment.desk, config.workers, config.devices.num_active) as workers:
        train, heldout = workers.scores(state.params, tasks, adaptation)
    return {
        "scheme": config.scheme,
        "round": state.round_index,
        "channel_uses": state.channel_uses,
        "train": train.as_dict(),
        "heldout": heldout.as_dict(),
        "gap": generalization_gap(train, heldout),
    }
