"""A child of a search: its cell, before and after its training, and how it is written in short."""

import typing

import numpy as np

FEWEST_IN_ROUND = 4  # children; of fewer, a surrogate learns little that it did not know
LIMITS = {"macs": "MAX_MACS", "binary_weights": "MAX_BINARY_WEIGHTS"}  # cost of a child -> the constant that limits it


class Child(typing.NamedTuple):
    """A child, before and after its training.

    `number` counts the children of a search from 1. `predicted` is the reward that the surrogate predicted before
    training, or NaN. `history` holds lists of one number an epoch: loss, accuracy, val_loss, val_accuracy,
    learning_rate and sign_flips, the share of binary weights whose signs the epoch flipped. `network` is the content of
    a .keras file. `error` is the reason why training failed (the reward is then 0), or empty. `epochs` is the number of
    epochs that were trained. `repeat` is 0, or 1, 2, ... for the further trainings of a finalist, which keeps its
    number. `traceback` is that of a failed training. `reused` is the name of the experiment that the training was taken
    from, or empty.
    """

    number: int
    cell: list
    predicted: float
    seed: int = 0
    reward: float = 0.0
    seconds: float = 0.0
    parameters: int = 0
    binary_weights: int = 0
    macs: int = 0
    epochs: int = 0
    history: dict = {}
    network: bytes = b""
    error: str = ""
    traceback: str = ""
    repeat: int = 0
    reused: str = ""

    @property
    def blocks(self):
        return len(self.cell) // 4

    def was_stopped(self, epochs: int) -> bool:
        """Whether it was stopped early, before so many epochs; a failed child was not."""
        return 0 < self.epochs < epochs

    def failed(self, reason: str, traceback: str = "") -> "Child":
        """This child as a failed one.

        Args:
            reason: kept as one line of at most 500 printable characters.
            traceback: kept as text of at most 100,000 characters, from its beginning and its end.
        """
        printable = "".join(character if character.isprintable() else " " for character in reason[:500])
        text = traceback.encode(errors="replace").decode()  # a store takes no half of a character
        if len(text) > 100_000:
            text = f"{text[:50_000]}\n...\n{text[-49_995:]}"
        return self._replace(reward=0.0, error=printable, traceback=text)


def pareto_front(
    children: list[Child], cost: str, reward: typing.Callable[[Child], float] = lambda child: child.reward
) -> list[Child]:
    """The children that no other one beats, with a higher reward at no higher cost or as high a reward at a lower cost.

    Args:
        children: list of Child.
        cost: name of the field to keep low.
        reward: function of a child, to keep high.
    Returns:
        List of Child, cheapest first; of equal ones the first only.
    """
    front = []
    for child in sorted(children, key=lambda child: (getattr(child, cost), -reward(child), child.number)):
        if not front or reward(child) > reward(front[-1]):
            front.append(child)
    return front


def as_fraction(accuracy):
    """The shortest number that is the same float32 as an accuracy: 0.8006, not 0.800599992275238."""
    return float(str(np.float32(accuracy)))


def in_short(cell):
    """A cell on one line, such as `3x3 bconv ×2 | linear + -1:3x3 maxpool | 1:linear + 5x5 bconv`.

    Blocks are separated by ` | ` and the two operators of a block by ` + `. `×2` means the same operator twice on the
    same input. An operator reads the cell's own input unless another one stands before its colon: -k is the cell k
    before that, j is block j.
    """
    halves = [f"{source}:{op}" if source else op for source, op in zip(cell[0::2], cell[1::2])]
    blocks = zip(halves[0::2], halves[1::2])
    return " | ".join(f"{left} ×2" if left == right else f"{left} + {right}" for left, right in blocks)


def counted(number, noun="child", plural="children"):
    """A number with its noun, such as `1 child` or `2 children`."""
    return f"{number} {noun if number == 1 else plural}"


def rounds_of(K: int, rounds: int) -> list[int]:
    """The largest number of children of each round: K in so many parts, each of FEWEST_IN_ROUND or more."""
    return [len(part) for part in np.array_split(range(K), max(1, min(rounds, K // FEWEST_IN_ROUND)))]


def round_in_words(blocks: int, round: tuple[int, int]) -> str:
    """A round of a search, such as `2 blocks a cell` or, of several, `2 blocks a cell, round 1 of 2`."""
    number, rounds = round
    return f"{counted(blocks, 'block', 'blocks')} a cell" + f", round {number} of {rounds}" * (rounds > 1)
