"""Progressive search of cells over binarized networks (Liu et al. 2018, arXiv:1712.00559).

encoder (cells and the surrogate that ranks them; lstm), model (operators and networks), costs (of networks), search
(the algorithm), manager (trains children), constants and command_line (of train.py); child, backend; the packages
store (what is kept), training and report.
"""


class UsageError(ValueError):
    """Something that the user gave, a constant, a file, an array or a string, cannot be used; one line says why."""
