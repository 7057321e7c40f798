"""Few-shot task families, each a population of training devices and one of new devices."""

from __future__ import annotations

import difflib
from pathlib import Path

from fl_core.errors import InputError
from fl_core.streams import stream
from fl_core.tasks import characters, glyphs, omniglot, sinusoid
from fl_core.tasks.characters import Partition
from fl_core.tasks.episode import Episode, Population, TaskFamily, stack

__all__ = ["FAMILIES", "Episode", "Partition", "Population", "TaskFamily", "build_family", "stack"]

FAMILIES = ("omniglot", "glyphs", "sinusoid")


def build_family(
    name: str,
    *,
    num_devices: int,
    num_new_devices: int,
    ways: int,
    shots: int,
    queries: int,
    seed: int,
    data: str | Path | None = None,
    rotations: bool = True,
    partition: Partition = "random",
) -> TaskFamily:
    """A task family by name; the same arguments give the same devices.

    Args:
        name: one of `FAMILIES`.
        num_devices: training devices.
        num_new_devices: devices that pre-training never sees.
        ways: classes of a task; a sinusoid has none.
        shots: support examples, per class where there are classes.
        queries: query examples, likewise.
        seed: decides what each device owns, >= 0.
        data: folder of the Omniglot archives; see `omniglot.locate`.
        rotations: count quarter turns of a character as classes of their own.
        partition: how characters are shared out; see `characters.populate`.

    Raises:
        InputError: an unknown name, data that is not there, or numbers that do not fit it.
    """
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, FAMILIES, n=1, cutoff=0.3)
        hint = f", did you mean {near[0]!r}?" if near else "."
        raise InputError(f"task {name!r} is unknown{hint} There are: {', '.join(FAMILIES)}")
    if name == "sinusoid":
        train, heldout = sinusoid.populate(
            num_devices=num_devices,
            num_new_devices=num_new_devices,
            shots=shots,
            queries=queries,
            rng=stream(seed, "devices"),
        )
        return TaskFamily(name, train, heldout, (1,), 1, "regression")
    background, evaluation = omniglot.load(data) if name == "omniglot" else glyphs.load()
    known, new = (
        characters.populate(
            drawn,
            num_devices=count,
            ways=ways,
            shots=shots,
            queries=queries,
            rotations=rotations,
            partition=partition,
            rng=stream(seed, purpose),
        )
        for drawn, count, purpose in (
            (background, num_devices, "devices"),
            (evaluation, num_new_devices, "new devices"),
        )
    )
    return TaskFamily(name, known, new, (1, 28, 28), ways, "classification")
