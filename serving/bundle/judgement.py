"""What a model was judged by, kept in its bundle and signed with it."""

from serving.frozen import Frozen


class Learned(Frozen):
    """What the training rows say without any model.

    Attributes:
        rows: how many there were.
        constant: the mean of the target; or the share of each class, in the contract's order.
        sketch: the smallest hashes of the rows with their targets, ascending (bottom-k: Cohen and Kaplan 2007), by
            which it is told of other rows how many of them are among these.
    """

    rows: int
    constant: tuple[float, ...]
    sketch: tuple[int, ...] = ()


class Judgement(Frozen):
    """All of it; what a bundle does not know stays open."""

    learned: Learned | None = None
