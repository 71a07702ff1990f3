"""What a search says while it runs."""

import time


class Progress:
    """Prints a line a child, with the best so far and the time left.

    The time left is the wall time a child of this run took, times the children still to come: those of this block size and
    at most K for each later one.

    Args:
        K: most children of a block size after the first.
        B: largest number of blocks.
    """

    def __init__(self, K, B):
        self.K, self.B = K, B
        self.trained = 0
        self.started = time.monotonic()

    def start(self, blocks, children, known):
        """Begins a block size of so many children, `known` of which an earlier run has trained."""
        self.blocks, self.children, self.done = blocks, children, known
        print(f"{blocks} block{'s' * (blocks > 1)} a cell: {children} children" + f", {known} of them known" * bool(known))

    def show(self, child, best):
        """Prints a trained child."""
        self.trained += 1
        self.done += 1
        per_child = (time.monotonic() - self.started) / self.trained
        left = self.children - self.done + (self.B - self.blocks) * self.K
        bound = "at most " if self.blocks < self.B else ""
        result = f"failed: {child.error}" if child.error else f"reward {child.reward:.4f}"
        best_reward = f"{best.reward:.4f}" if best else "none"
        print(
            f"{self.done:4d}/{self.children}  {result}  best {best_reward}  {child.seconds:5.0f} s  "
            f"{bound}{duration(per_child * left)} left  {child.cell}",
            flush=True,
        )

    def show_quality(self, quality):
        """Prints how well the surrogate had predicted the children of this block size."""
        print(
            f"Predicted before training: Spearman {quality['spearman']:.2f}, mean absolute error "
            f"{quality['mean_absolute_error']:.4f}, top-5 recall {quality['top_5_recall']:.1f}"
        )


def duration(seconds):
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
