"""How well rewards were predicted before they were known. Needs no Keras, so that a report starts at once."""

import math

import numpy as np


def rank_correlation(predicted, rewards):
    """Spearman's rank correlation, or NaN where it is not defined.

    Args:
        predicted, rewards: numbers, one a child. With less than two, or where all of either are equal, there is no
            rank.
    """
    from scipy.stats import spearmanr  # takes a second, and is not needed before there are predictions

    defined = min(len(set(predicted)), len(set(rewards))) > 1
    return float(spearmanr(predicted, rewards).statistic) if defined else math.nan


def ranking_quality(predicted, rewards):
    """How well rewards were predicted before the children were trained.

    Args:
        predicted, rewards: numbers, one a child, at least two.
    Returns:
        dict of `spearman` (see `rank_correlation`), `mean_absolute_error` and `top_5_recall`, the
        share of the five best children (or of all, if fewer) among the five of the highest predictions.
    """
    predicted, rewards = np.asarray(predicted), np.asarray(rewards)
    best = min(5, len(rewards))
    found = np.intersect1d(np.argsort(-predicted, kind="stable")[:best], np.argsort(-rewards, kind="stable")[:best])
    return {
        "spearman": rank_correlation(predicted, rewards),
        "mean_absolute_error": float(np.mean(np.abs(predicted - rewards))),
        "top_5_recall": len(found) / best,
    }
