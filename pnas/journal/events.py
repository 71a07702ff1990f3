"""TensorBoard event files of a search: learning curves, and a table of the children by operators and reward."""

import io
import math
import os
import time

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from pnas.child import in_short
from pnas.journal.files import write_atomically


class Events:
    """The event files of one search. Each folder is a run in TensorBoard. Existing files are not written again.

    - `children/NUMBER`: `child/loss` and the rest of a child's history, over epochs from 1; `child/reward` and
      `child/predicted`, the reward predicted before training, over the child's number; `child/cell`, a text; and, as
      hyperparameters, the number of blocks and the count of each operator.
    - `surrogate/after_N_blocks`: `surrogate/training_loss`, over the epochs of the fit to all children of up to N
      blocks.
    - `surrogate/quality`: `surrogate/spearman` and other measures (see `pnas.report.ranking`), over block sizes.

    There is no list of the hyperparameters: TensorBoard would read that of one search only, and hide the columns of
    others. Without one, it shows all that the children have.

    Args:
        folder: of the search, in TensorBoard's `--logdir`.
        operators: of the search space.
    """

    def __init__(self, folder, operators):
        self.folder, self.operators = folder, operators

    def write_child(self, child):
        """Writes the events of a trained child. A failed child has none."""
        if child.error:
            return
        name = f"{child.number:04d}"
        facts = {"blocks": child.blocks, **{operator: child.cell.count(operator) for operator in self.operators}}
        cell = in_short(child.cell)
        trial = f"{os.path.basename(self.folder)}/{name}: {cell}"  # TensorBoard averages trials of the same name
        events = [(0, hparams_pb(facts, trial_id=trial)), (0, text_pb("child/cell", f"`{cell}`"))]
        events.append((child.number, scalar_pb("child/reward", child.reward)))
        if not math.isnan(child.predicted):
            events.append((child.number, scalar_pb("child/predicted", child.predicted)))
        self._write(os.path.join("children", name), events + _curves("child", child.history))

    def learning_curve(self, number):
        """The validation accuracies of a trained child after each epoch, as they were written.

        Raises:
            ValueError: its event file is gone or damaged.
        """
        return read_curve(self.folder, number)[0]

    def write_surrogate(self, blocks, losses):
        """Writes the surrogate's loss over the epochs of its fit after a block size."""
        self._write(
            os.path.join("surrogate", f"after_{blocks}_blocks"), _curves("surrogate", {"training_loss": losses})
        )

    def write_quality(self, blocks, quality):
        """Writes how well the surrogate predicted the children of a block size."""
        events = [
            (blocks, scalar_pb(f"surrogate/{name}", value))
            for name, value in quality.items()
            if not isinstance(value, str)  # too few to judge
        ]
        self._write(os.path.join("surrogate", "quality"), events, f".{blocks}_blocks")

    def _write(self, run, events, ending=""):
        path = os.path.join(self.folder, run, f"events.out.tfevents{ending}")
        if os.path.exists(path):
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, file_version() + records(events))


def read_curve(folder, number):
    """The validation accuracies of a child, from its event file.

    Args:
        folder: of the search, `logs/NAME`.
        number: of the child.
    Returns:
        (list of the accuracy after each epoch, when they were written in seconds since 1970).
    Raises:
        ValueError: the file is gone or damaged.
    """
    from tensorboard.backend.event_processing.directory_watcher import DirectoryDeletedError
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    path = os.path.join(folder, "children", f"{number:04d}")
    try:
        run = EventAccumulator(path, size_guidance={"tensors": 0}).Reload()  # 0: all events, not a sample
        events = sorted(run.Tensors("child/val_accuracy"), key=lambda event: event.step)
    except (DirectoryDeletedError, KeyError, ValueError) as error:
        raise ValueError(f"{path} has no learning curve any more ({error}). Put its event file back") from None
    return [make_ndarray(event.tensor_proto).item() for event in events], events[0].wall_time


def file_version():
    """The bytes that an event file starts with."""
    return _encoded([Event(wall_time=time.time(), file_version="brain.Event:2")])


def records(events):
    """The bytes of events in an event file.

    Args:
        events: list of (step, summary).
    """
    return _encoded([Event(wall_time=time.time(), step=step, summary=summary) for step, summary in events])


def _encoded(events):
    content = io.BytesIO()
    writer = RecordWriter(content)
    for event in events:
        writer.write(event.SerializeToString())
    return content.getvalue()


def _curves(group, history):
    """Events of a dict, name -> list of one number an epoch."""
    return [
        (epoch, scalar_pb(f"{group}/{name}", value))
        for name, values in history.items()
        for epoch, value in enumerate(values, start=1)
    ]
