"""The files of the finalists, the cells of a search that are trained again with further seeds."""

import json
import os

from pnas.journal.children import header, read_table, row
from pnas.journal.files import read_json, write_atomically

WINNER = "winner.json"


class FinalistsJournal:
    """Files in `logs/NAME/finalists/`, so that a search that is stopped among its finalists resumes there.

    - `chosen.json`: the numbers of the finalists.
    - `seed_1.csv`, `seed_2.csv`, ...: a table for each further seed, in the format of children.csv. A finalist keeps
      the number of its first training.
    - `winner.json`: the number of the winner and its rewards, at the end of the search. See `read_winner`.

    Args:
        logs: folder of the experiment, `logs/NAME`.
        dataset: name of the data set.
        state_space: StateSpace, which writes the representation strings.
    Attributes:
        chosen: list of the numbers of the finalists, or None if they have not been chosen yet.
    Raises:
        ValueError: a file is damaged.
        OSError: a file cannot be read.
    """

    def __init__(self, logs, dataset, state_space):
        self.folder, self.dataset, self.state_space = os.path.join(logs, "finalists"), dataset, state_space
        self._chosen_path = os.path.join(self.folder, "chosen.json")
        self.chosen = None
        if os.path.exists(self._chosen_path):
            self.chosen = read_json(self._chosen_path).get("numbers")
            if not isinstance(self.chosen, list) or not all(type(number) is int for number in self.chosen):
                raise ValueError(
                    f"{self._chosen_path} is damaged: it has no list of numbers. Remove it to choose again"
                )

    def choose(self, numbers):
        """Keeps which children are finalists."""
        self.chosen = numbers
        os.makedirs(self.folder, exist_ok=True)
        write_atomically(self._chosen_path, json.dumps({"numbers": numbers}).encode())

    def read(self, seed):
        """The finalists that have been trained with a further seed, counted from 1, without those that failed.

        Returns:
            List of Child.
        """
        return [child for child in self._read(seed) if not child.is_failed]

    def write(self, seed, child):
        """Keeps a finalist that was trained with a further seed."""
        children = [*(other for other in self._read(seed) if other.number != child.number), child]
        rows = [row(child, self.dataset, self.state_space.encode(child.cell)) for child in children]
        write_atomically(self._table_path(seed), "".join([header(), *rows]).encode())

    def write_winner(self, number, rewards):
        """Keeps the number of the child that won the search, and the rewards of all its trainings, for the report."""
        os.makedirs(self.folder, exist_ok=True)
        content = json.dumps({"number": number, "rewards": rewards})
        write_atomically(os.path.join(self.folder, WINNER), content.encode())

    def _read(self, seed):
        path = self._table_path(seed)
        return read_table(path)[1] if os.path.exists(path) else []

    def _table_path(self, seed):
        return os.path.join(self.folder, f"seed_{seed}.csv")


def read_winner(logs):
    """The child that won a search, as `FinalistsJournal.write_winner` keeps it.

    Args:
        logs: folder of the experiment, `logs/NAME`.
    Returns:
        (number of the child, list of the rewards of its trainings), or None if the search has not ended.
    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    path = os.path.join(logs, "finalists", WINNER)
    if not os.path.exists(path):
        return None
    kept = read_json(path)
    number, rewards = kept.get("number"), kept.get("rewards")
    is_list = isinstance(rewards, list) and len(rewards) > 0 and all(type(reward) is float for reward in rewards)
    if type(number) is not int or not is_list:
        raise ValueError(f"{path} is damaged: it has no number of a child with its rewards. Remove it to do without")
    return number, rewards
