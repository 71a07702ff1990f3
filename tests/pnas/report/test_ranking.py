"""Quality of the surrogate's predictions, on tables that can be checked by eye."""

import math

import pytest

from pnas.child import Child
from pnas.report.ranking import in_words, judge, rank_correlation, ranking_quality


def test_perfect_order_with_a_constant_error():
    quality = ranking_quality([0.2, 0.4, 0.6, 0.8], [0.1, 0.3, 0.5, 0.7])
    assert quality == {"spearman": pytest.approx(1), "mean_absolute_error": pytest.approx(0.1), "top_5_recall": 1}


def test_reversed_order_of_ten_finds_none_of_the_best_five():
    quality = ranking_quality(range(10), range(10, 0, -1))
    assert quality["spearman"] == pytest.approx(-1) and quality["top_5_recall"] == 0


def test_recall_counts_the_best_five_among_the_five_highest_predictions():
    predicted = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]  # children 1 to 5 are the highest
    rewards = [0, 1, 2, 3, 9, 8, 7, 6, 5, 4]  # children 5 to 9 are the best
    assert ranking_quality(predicted, rewards)["top_5_recall"] == 1 / 5


def test_the_mean_absolute_error_is_no_root_mean_square():
    assert ranking_quality([0.5, 0.5], [0.4, 0.8])["mean_absolute_error"] == pytest.approx(0.2)  # of 0.1 and 0.3


def test_two_children_have_a_rank_correlation_and_one_has_none():
    assert rank_correlation([0.1, 0.2], [0.5, 0.3]) == pytest.approx(-1)
    assert math.isnan(rank_correlation([0.1], [0.5]))


def test_one_swap_among_three_by_spearmans_formula():
    # rho = 1 - 6 * sum(d^2) / (n (n^2 - 1)) = 1 - 6 * 2 / 24
    assert ranking_quality([1, 2, 3], [1, 3, 2])["spearman"] == pytest.approx(0.5)


def test_constant_predictions_rank_nothing():
    assert math.isnan(ranking_quality([0.5, 0.5, 0.5], [0.1, 0.2, 0.3])["spearman"])


def child(number, predicted, reward, macs=0):
    return Child(number, [0, "linear", 0, "linear"], predicted, 0, reward, macs=macs)


def test_fewer_than_six_children_are_too_few_to_judge():
    six = [child(number, number / 10, number / 5, macs=number) for number in range(1, 7)]
    assert judge(six)["spearman"] == pytest.approx(1) and judge(six)["top_5_recall"] == 1
    assert set(judge(six[:5]).values()) == {"too few to judge"}
    assert set(judge([*six[:5], six[5].failed("it failed")]).values()) == {"too few to judge"}
    assert list(judge(six)) == list(judge(six[:5]))


def test_macs_are_judged_beside_the_surrogate():
    # Rewards rise. Predictions swap two neighbours: 1 - 6 * 2 / (6 * 35); MACs two such pairs: 1 - 6 * 4 / (6 * 35).
    table = [(0.1, 0.2, 20), (0.2, 0.3, 10), (0.3, 0.4, 40), (0.4, 0.5, 30), (0.6, 0.6, 50), (0.5, 0.7, 60)]
    children = [child(n, predicted, reward, macs) for n, (predicted, reward, macs) in enumerate(table, start=1)]
    failed = child(7, 0.9, 0.0, 100)._replace(error="OSError: full")
    for judged in (judge(children), judge([failed, *children])):
        assert judged["spearman"] == pytest.approx(1 - 12 / 210)
        assert judged["spearman_of_macs"] == pytest.approx(1 - 24 / 210)
        assert judged["mean_absolute_error"] == pytest.approx((4 * 0.1 + 0 + 0.2) / 6)


def test_a_correlation_is_put_into_words():
    assert [in_words(value) for value in (0.847, -1.0, math.nan, "too few to judge")] == [
        *("0.85", "-1.00", "not defined", "too few to judge")
    ]
