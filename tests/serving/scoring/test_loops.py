"""Whichever loop sums a forest, the same bits: against a walk in plain Python, on trees of any shape."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.contract import Matrix
from serving.scoring import kernels, quick_kernels
from serving.scoring.quick import MOST_LEAVES, quick_form
from serving.scoring.trees import AT_ONCE, Forest, Grown, plant

WIDTH = 3


def tree(leaves: int, random: np.random.Generator) -> Grown:
    """Of any shape with so many leaves; thresholds repeat, and are met exactly by cells of ``table``."""
    children: dict[int, tuple[int, int]] = {}
    ends, known = [0], 1
    while len(ends) < leaves:
        at = ends.pop(int(random.integers(len(ends))) if random.random() < 0.7 else -1)
        children[at] = (known, known + 1)
        ends += [known, known + 1]
        known += 2
    leaf = np.array([at not in children for at in range(known)])
    sides = np.array([children.get(at, (0, 0)) for at in range(known)])
    cuts = random.integers(-20, 20, known) / 4
    missing = (random.random(known) < 0.5) & ~leaf
    return Grown(
        sides[:, 0], sides[:, 1], random.integers(0, WIDTH, known), cuts, missing, leaf, random.normal(size=(known, 1))
    )


def table(rows: int, random: np.random.Generator) -> Matrix:
    cells = random.integers(-24, 24, (rows, WIDTH)) / 4
    cells[random.random(cells.shape) < 0.1] = np.nan
    return cells


def plainly(forest: Forest, features: Matrix) -> Matrix:
    """The sums of ``Forest.raw``, tree by tree."""
    told = []
    for row in features:
        sums = [np.float32(one) if forest.single else float(one) for one in forest.base]
        for number, root in enumerate(forest.roots[:-1]):
            at = int(root)
            while (test := int(forest.nodes[at]["test"])) >= 0:
                value = row[test >> 1]
                left = bool(test & 1) if np.isnan(value) else value <= forest.nodes[at]["threshold"]
                at = at + 1 if left else int(forest.nodes[at]["right"])
            value = forest.values[at, 0]
            sums[number % len(sums)] += np.float32(value) if forest.single else value
        told.append(sums)
    return np.array(told, np.float64)


@settings(max_examples=40)
@given(
    leaves=st.lists(st.integers(1, 40) | st.sampled_from([64, 65, 200, 255, MOST_LEAVES, 300]), min_size=1, max_size=9),
    outputs=st.sampled_from([1, 1, 3]),
    single=st.booleans(),
    seed=st.integers(0, 1 << 30),
)
def test_every_loop_sums_as_plain_python_does(leaves: list[int], outputs: int, single: bool, seed: int) -> None:
    """Missing cells and cells that equal a threshold included, for any number of rows and of trees."""
    random = np.random.default_rng(seed)
    forest = plant([tree(one, random) for one in leaves], random.normal(size=outputs).round(2).tolist(), single=single)
    if single:
        forest = Forest(
            forest.nodes, forest.values.astype(np.float32).astype(np.float64), forest.roots,
            forest.base.astype(np.float32).astype(np.float64), 1.0, single=True,
        )  # fmt: skip
    assert forest.fault(WIDTH) is None
    features = table(25, random)
    truth = plainly(forest, features)
    for loop in (kernels.walk, kernels.blocked_walk):
        out = np.empty_like(truth)
        loop(features, forest.nodes, forest.values, forest.roots, forest.base, forest.single, out)
        assert np.array_equal(out, truth)

    quick = quick_form(forest.nodes, forest.values, forest.roots, forest.single)
    assert (quick is None) == (max(leaves) > MOST_LEAVES or max(leaves) == 1)
    sizes = (1, 25, quick_kernels.FEW + 3, 2 * quick_kernels.SOME + 3, quick_kernels.MANY + 3)
    for size in sizes:
        many = np.resize(features, (size, WIDTH))
        expected = np.resize(truth, (size, outputs))
        assert np.array_equal(forest.raw(many), expected)
        if quick is not None:
            out = np.empty((size, outputs))
            quick.score(many, forest.base, out)
            assert np.array_equal(out, expected)


def test_larger_trees_are_walked_up_to_more_rows() -> None:
    """A block of tests costs by the tests, a walk by the rows; all are scored as blocks where these are full."""
    random = np.random.default_rng(0)
    forms = [plant([tree(leaves, random) for _ in range(5)], [0.0]).quick for leaves in (2, 31, 64, 256)]
    least = [form.least_rows for form in forms if form is not None]
    assert len(least) == 4
    assert least == sorted(set(least))
    assert least[0] > AT_ONCE
    assert least[-1] <= quick_kernels.FEW
