"""Explanations: contributions sum to the prediction, and are exact where exact has a meaning."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.explaining.sampled import explain


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 50))
def test_contributions_sum_to_the_score_minus_the_base(seed: int, width: int, rows: int) -> None:
    """For any model: nothing of a prediction is left unexplained."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(width, width))
    background, row = generator.normal(size=(rows, width)), generator.normal(size=width)

    def score(matrix: np.ndarray) -> np.ndarray:
        return np.einsum("ni,ij,nj->n", matrix, weights, matrix)

    base, found, contributions = explain(row, background, score, seed=1)
    assert base + contributions.sum() == pytest.approx(found)
    assert found == pytest.approx(score(row[None])[0])
    assert base == pytest.approx(score(background).mean())


def test_a_linear_model_is_explained_exactly() -> None:
    """Sampling has no error where order does not matter: coefficient times distance from the mean."""
    generator = np.random.default_rng(0)
    weights, background, row = generator.normal(size=5), generator.normal(size=(20, 5)), generator.normal(size=5)
    _, _, found = explain(row, background, lambda matrix: matrix @ weights, seed=3)
    np.testing.assert_allclose(found, weights * (row - background.mean(axis=0)))


def test_equal_seeds_give_equal_explanations() -> None:
    """Asking twice gives the same answer."""
    generator = np.random.default_rng(0)
    background, row = generator.normal(size=(9, 4)), generator.normal(size=4)
    first, second = (explain(row, background, lambda m: m.prod(axis=1), seed=7) for _ in range(2))
    assert first[2].tolist() == second[2].tolist()


def test_a_column_the_model_ignores_contributes_nothing() -> None:
    """No credit without influence."""
    generator = np.random.default_rng(2)
    background, row = generator.normal(size=(9, 3)), generator.normal(size=3)
    _, _, found = explain(row, background, lambda m: m[:, 0] * m[:, 2], seed=7)
    assert found[1] == 0.0
