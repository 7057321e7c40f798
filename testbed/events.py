"""TensorBoard events of a run, written as it goes."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from testbed.experiment import Progress

ROUND_SCALARS = ("loss", "nmse_db", "nmse_predicted_db", "snr_db", "union_density", "papr_db")


class TensorBoardEvents:
    """Writes `<run>/tensorboard`; call it with each event."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def close(self) -> None:
        """Write what is still in buffers."""
        for writer in self._writers.values():
            writer.close()

    def __call__(self, event: Progress) -> None:
        """Write what the event brings."""
        step = event.round_index
        if event.scheme not in self._writers:
            # A resumed run goes on behind its checkpoint: what came later is purged.
            self._writers[event.scheme] = SummaryWriter(
                str(self._folder / "tensorboard" / event.scheme), purge_step=step
            )
        writer = self._writers[event.scheme]
        for name in ROUND_SCALARS:
            value = None if event.row is None else event.row.get(name)
            if value is not None:
                writer.add_scalar(f"round/{name}", value, step)
        if event.evaluation is not None:
            for population in ("train", "heldout"):
                for name in ("accuracy", "loss"):
                    value = event.evaluation[population][name]
                    if value is not None:
                        writer.add_scalar(f"{population}/{name}", value, step)
