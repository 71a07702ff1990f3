"""TensorBoard event files of a search: learning curves, and a table of the children by operators and reward."""

import io
import math
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from pnas.child import Child, in_short
from pnas.store.atomic import write_atomically


class Events:
    """The event files of one search. Each folder is a run in TensorBoard.

    - `children/NUMBER`: `child/loss` and the rest of a child's history, over epochs from 1; `child/reward` and
      `child/predicted`, the reward predicted before training, over the child's number; `child/cell`, a text; and, as
      hyperparameters, the number of blocks and the count of each operator.
    - `surrogate/after_N_children`: `surrogate/training_loss`, over the epochs of the fit to the first N children.
    - `surrogate/quality`: `surrogate/spearman` and other measures (see `pnas.report.ranking`), over block sizes.

    There is no list of the hyperparameters: TensorBoard would read that of one search only, and hide the columns of
    others. Without one, it shows all that the children have.

    Args:
        folder: of the search, in TensorBoard's `--logdir`.
        operators: of the search space.
    """

    def __init__(self, folder: str | Path, operators: list[str]):
        self.folder, self.operators = Path(folder), operators

    def has_child(self, number: int) -> bool:
        """Whether the events of a child have been written."""
        return self._path(f"children/{number:04d}").exists()

    def write_child(self, child: Child):
        """Writes the events of a trained child with its history."""
        name, cell = f"{child.number:04d}", in_short(child.cell)
        facts = {"blocks": child.blocks, **{operator: child.cell.count(operator) for operator in self.operators}}
        trial = f"{self.folder.name}/{name}: {cell}"  # TensorBoard averages trials of the same name
        events = [(0, hparams_pb(facts, trial_id=trial)), (0, text_pb("child/cell", f"`{cell}`"))]
        events.append((child.number, scalar_pb("child/reward", child.reward)))
        if not math.isnan(child.predicted):
            events.append((child.number, scalar_pb("child/predicted", child.predicted)))
        self._write(self._path(f"children/{name}"), events + curves("child", child.history))

    def write_fit(self, children: int, losses: list[float]):
        """Writes the surrogate's loss over the epochs of its fit to so many children."""
        self._write(self._path(f"surrogate/after_{children}_children"), curves("surrogate", {"training_loss": losses}))

    def write_quality(self, blocks: int, quality: dict):
        """Writes how well the surrogate predicted the children of a block size; no texts, such as too few."""
        numbers = {name: value for name, value in quality.items() if not isinstance(value, str)}
        events = [(blocks, scalar_pb(f"surrogate/{name}", value)) for name, value in numbers.items()]
        self._write(self._path("surrogate/quality", f".{blocks}_blocks"), events)

    def _path(self, run, ending=""):
        return self.folder / run / f"events.out.tfevents{ending}"

    def _write(self, path, events):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, file_version() + records(events))


def file_version() -> bytes:
    """The bytes that an event file starts with."""
    return _encoded([Event(wall_time=time.time(), file_version="brain.Event:2")])


def records(events: list[tuple]) -> bytes:
    """The bytes of (step, summary) events in an event file."""
    return _encoded([Event(wall_time=time.time(), step=step, summary=summary) for step, summary in events])


def curves(group: str, history: dict[str, list[float]]) -> list[tuple]:
    """Events of a dict, name -> list of one number an epoch."""
    return [
        (epoch, scalar_pb(f"{group}/{name}", value))
        for name, values in history.items()
        for epoch, value in enumerate(values, start=1)
    ]


def _encoded(events):
    content = io.BytesIO()
    writer = RecordWriter(content)
    for event in events:
        writer.write(event.SerializeToString())
    return content.getvalue()
