"""The figures of a report against SciPy's, scikit-learn's and counting every case."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from mpl_tf.report import statistics


@pytest.mark.parametrize("right, count", [(0, 7), (7, 7), (87, 100), (1, 2), (431, 500), (1, 100_000)])
def test_wilsons_interval_is_scipys(right, count):
    share = statistics.share(right, count)
    expected = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert share.value == right / count and share.low <= share.value <= share.high


def test_no_examples_leave_everything_open():
    share = statistics.share(0, 0)
    assert (share.low, share.high) == (0.0, 1.0) and np.isnan(share.value)


@pytest.mark.parametrize("b, c", [(0, 0), (1, 0), (3, 9), (9, 3), (5, 5), (40, 21), (2000, 1900)])
def test_exact_mcnemar_is_the_binomial_test(b, c):
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert statistics.mcnemar(b, c) == pytest.approx(expected, rel=1e-9)


def test_exact_mcnemar_counts_every_case():
    """Of all ways in which 7 images that one alone gets right could fall on the two."""
    cases = [sum(case) for case in itertools.product((0, 1), repeat=7)]
    unlikely = sum(abs(2 * k - 7) >= abs(2 * 1 - 7) for k in cases) / len(cases)
    assert statistics.mcnemar(1, 6) == pytest.approx(unlikely)


def test_pairs_are_of_the_same_examples():
    first = np.array([1, 1, 1, 0, 1, 0, 1, 1], bool)
    second = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    found = statistics.paired(first, second)
    assert (found.count, found.first_only, found.second_only) == (8, 3, 1)
    assert found.difference == first.mean() - second.mean()
    assert found.low < found.difference < found.high
    swapped = statistics.paired(second, first)
    assert (swapped.difference, swapped.low, swapped.high, swapped.p_value) == pytest.approx(
        (-found.difference, -found.high, -found.low, found.p_value))
    with pytest.raises(ValueError, match="the same ones"):
        statistics.paired(first, second[:3])


def test_the_paired_interval_holds_what_it_says():
    """95 % of intervals hold the true difference, with 60 images and unequal, dependent classifiers."""
    generator, held = np.random.default_rng(0), 0
    for _ in range(1000):
        hard, coin = generator.random(60), generator.random(60)
        first, second = hard < 0.9, np.where(coin < 0.8, hard < 0.8, generator.random(60) < 0.8)
        found = statistics.paired(first, second)
        held += found.low <= 0.1 <= found.high
    assert 0.93 <= held / 1000 <= 0.98


def test_over_seeds_the_interval_is_students():
    values = [0.01, 0.03, -0.005, 0.02]
    found = statistics.mean(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert (found.count, found.above) == (4, 3)
    one = statistics.mean([0.5])
    assert one.low == -np.inf and one.high == np.inf


def test_classes_are_scikit_learns():
    generator = np.random.default_rng(1)
    labels, predicted = generator.integers(0, 4, [2, 200])
    labels[labels == 3] = 2         # a class without test images
    shares = statistics.by_class(labels, labels == predicted, 4)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert statistics.balanced(shares) == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    recalls = metrics.recall_score(labels, predicted, labels=[0, 1, 2], average=None)
    assert [each.value for each in shares[:3]] == pytest.approx(list(recalls))
    assert shares[3].count == 0


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.95, 0.61, 0.7, 1.0])     # 0.7 lies on an edge, and so in 0.6..0.7
    right = np.array([1, 0, 1, 1, 1], bool)
    bins = statistics.reliability(confidence, right)
    assert [(each.count, round(each.low, 1)) for each in bins] == [(2, 0.6), (3, 0.9)]
    assert statistics.calibration_error(bins) == pytest.approx(
        (2 * abs(0.655 - 1) + 3 * abs((0.95 * 2 + 1) / 3 - 2 / 3)) / 5)
    sure = statistics.reliability(np.ones(4), np.ones(4, bool))
    assert statistics.calibration_error(sure) == 0 and sure[0].count == 4


def test_probabilities_and_entropy_are_scipys():
    from scipy import special
    logits = np.random.default_rng(2).normal(size=[5, 3]) * 300
    found = statistics.probabilities(logits.astype(np.float32))
    np.testing.assert_allclose(found, special.softmax(logits.astype(np.float32).astype(float), axis=1))
    np.testing.assert_allclose(statistics.entropy(found), stats.entropy(found, axis=1), atol=1e-12)


def test_over_seeds_and_images_the_interval_holds_both():
    numbers = np.random.default_rng(0)
    first, second = (numbers.random([5, 300]) < share for share in (0.8, 0.7))
    one = statistics.mean_difference(first[:1], second[:1], same=True)
    pair = statistics.paired(first[0], second[0])       # of one seed: the interval over images, and an endless one
    assert one.low == -np.inf and one.value == pytest.approx(pair.difference)
    alike = statistics.mean_difference([first[0]] * 3, [second[0]] * 3, same=True)
    half = (pair.high - pair.low) / 2
    assert (alike.low, alike.high) == pytest.approx((pair.difference - half, pair.difference + half), rel=1e-9)
    apart = statistics.mean_difference(first, second, same=False)
    pooled = statistics.paired(first.ravel(), second.ravel())
    seeds = statistics.mean((first.mean(1) - second.mean(1)).tolist())
    half = ((pooled.high - pooled.low) ** 2 + (seeds.high - seeds.low) ** 2) ** 0.5 / 2
    assert (apart.low, apart.high) == pytest.approx((seeds.value - half, seeds.value + half), rel=1e-9)
    far = statistics.mean_difference(np.eye(2, 4, dtype=bool), ~np.eye(2, 4, dtype=bool), same=True)
    assert (far.low, far.high) == (-1.0, pytest.approx(-0.5 + 1.959964 * ((4 / 6 - 1 / 9) / 6) ** 0.5, rel=1e-6))


@pytest.mark.parametrize("count", [3, 20])
def test_the_interval_holds_where_seeds_and_images_vary_alike(count):
    """Nothing is gained; 20 of 400 draws are expected outside. The wider of both intervals has 31 with 20 seeds."""
    numbers, outside = np.random.default_rng(4), 0
    for _ in range(400):
        easy, gain = numbers.normal(0.8, 1.2, 360), numbers.normal(0, 0.6, 360)
        shift, noise = numbers.normal(0, 0.15, [count, 1]), numbers.normal(size=[2, count, 360])
        other = 0.5 * noise[0] + 0.75 ** 0.5 * noise[1]
        found = statistics.mean_difference(easy + gain / 2 + shift / 2 + noise[0] > 0,
                                           easy - gain / 2 - shift / 2 + other > 0, same=True)
        outside += not found.low <= 0 <= found.high
    assert outside <= 24


def test_the_interval_over_seeds_and_images_holds_what_it_says():
    """Images of which each has its own gain, and seeds that flip some: the mean gain is within, 95 % of the time."""
    numbers, within = np.random.default_rng(1), 0
    for _ in range(300):
        gain = numbers.choice([-0.3, 0.0, 0.4], 80, p=[0.2, 0.5, 0.3])      # 0.06 on average
        base = numbers.random([4, 80])
        first, second = base < 0.5 + gain / 2, base < 0.5 - gain / 2
        found = statistics.mean_difference(first, second, same=True)
        within += found.low <= 0.06 <= found.high
    assert within >= 280        # 285 are expected of an exact one; it is no narrower
