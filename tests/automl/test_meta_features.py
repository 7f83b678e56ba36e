"""Meta-features against independent computations."""

import numpy as np
from scipy.stats import kurtosis, skew
from sklearn.datasets import load_iris, load_wine
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from metarun.automl import meta_features as features
from metarun.automl.cross_validation import splits
from metarun.automl.tabular import of_arrays


def test_simple_ones_are_counts() -> None:
    x = np.array([[1.0, "a", ""], [2.0, "b", "c"], [3.0, "", "c"], [4.0, "b", "d"]] * 5, object)
    found = features.simple(of_arrays(x, [0, 1, 1, 1] * 5, "classification"))
    assert found["log_rows"] == np.log(20)
    assert found["log_columns"] == np.log(3)
    assert (found["classes"], found["smallest_class"], found["largest_class"]) == (2, 0.25, 0.75)
    assert (found["number_share"], found["category_share"]) == (1 / 3, 2 / 3)
    np.testing.assert_allclose(found["missing_share"], 2 / 12)


def test_moments_are_scipys() -> None:
    x = StandardScaler().fit_transform(load_wine().data)
    found = features.statistical(x)
    np.testing.assert_allclose(found["skewness_mean"], np.abs(skew(x)).mean())
    np.testing.assert_allclose(found["kurtosis_mean"], kurtosis(x).mean())
    correlation = np.abs(np.corrcoef(x.T))[np.triu_indices(13, 1)]
    np.testing.assert_allclose(found["correlation_mean"], correlation.mean())
    variance = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    needed = next(count for count in range(1, 14) if variance[:count].sum() >= 0.95 * variance.sum())
    np.testing.assert_allclose(found["components_share"], needed / 13)


def test_mutual_information_is_scikit_learns() -> None:
    x, y = load_iris(return_X_y=True)
    found = features.information(x, of_arrays(x, y, "classification"))
    bins = [np.digitize(column, np.unique(np.quantile(column, np.linspace(0.1, 0.9, 9)))) for column in x.T]
    mutual = [mutual_info_score(y, column) / np.log(2) for column in bins]
    np.testing.assert_allclose(found["mutual_information_mean"], np.mean(mutual))
    np.testing.assert_allclose(found["mutual_information_max"], np.max(mutual))
    np.testing.assert_allclose(found["target_entropy"], np.log2(3))
    continuous = mutual_info_classif(x, y, random_state=0) / np.log(2)
    assert np.argsort(mutual)[:2].tolist() == np.argsort(continuous)[:2].tolist()


def test_landmarkers_are_cross_validated() -> None:
    x, y = load_iris(return_X_y=True)
    data = of_arrays(x, y, "classification")
    scaled = StandardScaler().fit_transform(x)
    found = features.meta_features(data, 0)
    tree = DecisionTreeClassifier(max_depth=5, random_state=0)
    expected = cross_val_score(tree, scaled, y, cv=list(splits(data, 3, 0))).mean() - 1 / 3
    np.testing.assert_allclose(found["landmark_tree"], expected, atol=1e-6)


def test_both_kinds_of_target_have_the_same_names_and_all_are_finite() -> None:
    random = np.random.default_rng(0)
    x = np.hstack([random.normal(size=(40, 3)), np.full((40, 1), np.nan), np.ones((40, 1))])
    x[:5, 0] = np.nan
    one = features.meta_features(of_arrays(x, random.integers(3, size=40), "classification"), 0)
    two = features.meta_features(of_arrays(x, random.normal(size=40), "regression"), 0)
    assert list(one) == list(two)
    assert np.isfinite([*one.values(), *two.values()]).all()
