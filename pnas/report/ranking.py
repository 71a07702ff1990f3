"""How well rewards were predicted. Needs no Keras, so that a report starts at once."""

import math
from collections.abc import Sequence

import numpy as np

from pnas.child import Child

FEWEST = 6  # children; of fewer, a rank correlation says nothing (two give 1 or -1)
TOO_FEW = "too few to judge"


def rank_correlation(predicted: Sequence[float], rewards: Sequence[float]) -> float:
    """Spearman's rank correlation, or NaN where it is not defined.

    Args:
        predicted, rewards: numbers, one per child. The correlation is not defined for fewer than two children, or if
            all numbers of either are equal.
    """
    from scipy.stats import spearmanr  # imported late, because it takes a second

    defined = min(len(set(predicted)), len(set(rewards))) > 1
    return float(spearmanr(predicted, rewards).statistic) if defined else math.nan


def ranking_quality(predicted: Sequence[float], rewards: Sequence[float]) -> dict[str, float]:
    """How well rewards were predicted before the children were trained.

    Args:
        predicted, rewards: numbers, one per child, at least two.
    Returns:
        dict of `spearman` (see `rank_correlation`), `mean_absolute_error` and `top_5_recall`: the share of the five
        best children (or of all, if fewer) that are among the five with the highest predictions.
    """
    predicted, rewards = np.asarray(predicted), np.asarray(rewards)
    best = min(5, len(rewards))
    found = np.intersect1d(np.argsort(-predicted, kind="stable")[:best], np.argsort(-rewards, kind="stable")[:best])
    return {
        "spearman": rank_correlation(predicted, rewards),
        "mean_absolute_error": float(np.mean(np.abs(predicted - rewards))),
        "top_5_recall": len(found) / best,
    }


def judge(children: list[Child]) -> dict[str, float | str]:
    """`ranking_quality` of children, and `spearman_of_macs`: the rank correlation that a count of multiply-accumulates,
    with nothing trained or learned, has with their rewards.

    A child that was stopped early counts with the reward that it had by then. This flatters predictions: the children
    of the highest ones are never stopped.

    Args:
        children: those of one block size. Those that failed are left out.
    Returns:
        dict of numbers, or of TOO_FEW if there are fewer than FEWEST children.
    """
    judged = [child for child in children if not child.error]
    if len(judged) < FEWEST:
        return dict.fromkeys(("spearman", "mean_absolute_error", "top_5_recall", "spearman_of_macs"), TOO_FEW)
    rewards = [child.reward for child in judged]
    quality = ranking_quality([child.predicted for child in judged], rewards)
    return quality | {"spearman_of_macs": rank_correlation([child.macs for child in judged], rewards)}


def in_words(correlation: float | str) -> str:
    """A rank correlation of `judge`, for people."""
    if correlation == TOO_FEW:
        return TOO_FEW
    return "not defined" if math.isnan(correlation) else f"{correlation:.2f}"
