"""Models that must not serve, and healthy ones that must: what the gates say of each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from components.data.tables import matrix_and_target
from components.judging.gates import Gate, GateReport
from serving.contract import Contract
from tests.bench.worlds import Score, World, calls, fit, homes, series, verdict


@dataclass(frozen=True)
class Planted:
    """A model that must not serve.

    Attributes:
        meant: words of the check that is there for it.
        make: the world, the model, and the champion if there is one.
    """

    name: str
    meant: str
    make: Callable[[], tuple[World, Score, Score | None]]

    def found(self) -> GateReport:
        return verdict(*self.make())

    def caught(self) -> bool:
        """Whether the check that is meant for it refuses."""
        seen = self.found()
        return any(self.meant in one.sentence for one in (*seen.checks, *seen.guards) if not one.passed)


def leaking(world: World, column: Callable[[Any], Any]) -> World:
    """The *world* with a column that is made of its target."""
    target = world.contract.target

    def wider(rows: pl.DataFrame) -> pl.DataFrame:
        truth = matrix_and_target(rows, world.contract)[1]
        return rows.with_columns(fee=pl.Series(column(truth)))

    columns = {"fee": {"type": "float"}, **world.contract.model_dump()["columns"]}
    contract = Contract.model_validate({"columns": columns, "target": target.model_dump(), "event_time": "at"})
    return replace(world, contract=contract, train=wider(world.train), holdout=wider(world.holdout))


def dated(world: World) -> tuple[World, Score, None]:
    """Three classes by a number in which they do not follow each other."""
    return plain(leaking(world, lambda y: (y * 2) % 3), trees=True)


def in_feet(world: World) -> World:
    """Held-out rows in which somebody has written another unit."""
    return replace(world, holdout=world.holdout.with_columns(pl.col("size") * 10.76))


def plain(world: World, *, trees: bool = False) -> tuple[World, Score, None]:
    return world, world.fitted(trees=trees), None


def changed(world: World, change: Callable[[Any, Any], Any], *, against: bool = False) -> tuple[World, Score, Any]:
    """A healthy model of which *change* makes (answers, rows) something else; beside itself as champion if asked."""
    model = world.fitted()
    return world, lambda rows: change(model(rows), rows), model if against else None


def shuffled(world: World) -> tuple[World, Score, None]:
    matrix, target = matrix_and_target(world.train, world.contract)
    target = np.random.default_rng(1).permutation(target)
    return world, fit(matrix, target, classes=len(world.contract.target.classes), trees=True), None


def peeking(world: World) -> tuple[World, Score, None]:
    whole = replace(world, trained=pl.concat([world.train, world.holdout]))
    return whole, whole.fitted(trees=True), None


def relabelled(world: World) -> tuple[World, Score, None]:
    """Prices of a training table that somebody has taken times 1.3."""
    rows = world.train.with_columns(pl.col("price") * 1.3)
    matrix, target = matrix_and_target(rows, world.contract)
    return world, fit(matrix, target, classes=0), None


def balanced(world: World) -> tuple[World, Score, None]:
    """Trained on as many of the rare class as of the other, as recipes for rare classes have it."""
    few = world.train.filter(pl.col("said") == "yes")
    often = pl.concat([world.train, *[few] * 3])
    return world, replace(world, trained=often).fitted(), None


def old(world: World) -> tuple[World, Score, Score]:
    """A model of before a change of the market beside one of after."""
    train = world.train.with_columns(
        pl.when(pl.int_range(pl.len()) < 2_000).then(pl.col("price") * 0.8).otherwise("price")
    )
    matrix, target = matrix_and_target(train, world.contract)
    return world, fit(matrix[:2_000], target[:2_000], classes=0), fit(matrix[2_000:], target[2_000:], classes=0)


def noisy(part: float) -> Callable[[Any, Any], Any]:
    """Answers with an error more, of *part* of what is between them."""
    return lambda answers, rows: answers + np.random.default_rng(3).normal(0, part * answers.std(), answers.shape)


def where(region: int, value: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Another answer for the rows of a region."""

    def change(answers: Any, rows: Any) -> Any:
        chosen = (rows[:, -1] == region).reshape(-1, *[1] * (answers.ndim - 1))
        return np.where(chosen, value(answers), answers)

    return change


def tempered(power: float) -> Callable[[Any, Any], Any]:
    """Probabilities that are surer than they should be: the order is kept, and so is AUC."""

    def change(answers: Any, rows: Any) -> Any:
        raised = answers**power
        return raised / raised.sum(axis=1, keepdims=True)

    return change


def silent(code: int) -> Callable[[Any, Any], Any]:
    """A class that is never the most probable."""

    def change(answers: Any, rows: Any) -> Any:
        low = answers.copy()
        low[:, code] = np.minimum(low[:, code], 0.9 * np.delete(answers, code, axis=1).max(axis=1))
        return low / low.sum(axis=1, keepdims=True)

    return change


def short(world: World, rows: int) -> World:
    return replace(world, holdout=world.holdout[:rows])


def lucky() -> tuple[World, Score, Score]:
    """As good as the champion, and by luck better on sixty rows, where it has to be surely better."""
    gate = Gate(metric="rmse", against="champion", confidence=0.95)
    world = short(replace(homes(), gates=(gate,)), 60)
    model, noise = world.fitted(), 0.5
    matrix, truth = matrix_and_target(world.holdout, world.contract)
    usual = ((model(matrix) - truth) ** 2).mean()

    def guess(rows: Any, seed: int) -> Any:
        return model(rows) + np.random.default_rng(seed).normal(0, noise, len(rows))

    lucky = next(seed for seed in range(1_000) if ((guess(matrix, seed) - truth) ** 2).mean() < usual)
    return world, lambda rows: guess(rows, lucky), model


def one_for_all(answers: Any, rows: Any) -> Any:
    return np.broadcast_to(answers.mean(axis=0), answers.shape).copy()


def gaps(answers: Any, rows: Any) -> Any:
    holes = answers.copy()
    holes[::50] = np.nan
    return holes


LEAK, BASE, TIE = "by itself has", "always saying", "a tie keeps the champion"
SEEN, WORSE, LOST = "are training rows", "worse than the champion", "cannot be computed"
PLANTED = (
    Planted("target leak: the target in another unit", LEAK, lambda: plain(leaking(homes(), lambda y: y * 0.0254))),
    Planted("target leak: its logarithm", LEAK, lambda: plain(leaking(homes(), lambda y: np.log(y + 500)), trees=True)),
    Planted("target leak: a fee that falls with it", LEAK, lambda: plain(leaking(homes(), lambda y: 1 / (y + 500)))),
    Planted("target leak: a code that stands for it", LEAK, lambda: plain(leaking(homes(), lambda y: (y * 7) // 1))),
    Planted("target leak: the class by another name", LEAK, lambda: plain(leaking(calls(), lambda y: 5 - 3 * y))),
    Planted("target leak: one of three classes by a date", LEAK, lambda: dated(calls(classes=3))),
    Planted("trained on the holdout", SEEN, lambda: peeking(homes())),
    Planted("trained on the holdout, classes", SEEN, lambda: peeking(calls())),
    Planted("judged on training rows", SEEN, lambda: plain(replace(homes(), holdout=homes().train[:800]))),
    Planted("shuffled labels", BASE, lambda: shuffled(homes())),
    Planted("shuffled labels, classes", BASE, lambda: shuffled(calls())),
    Planted("sign flipped", BASE, lambda: changed(homes(), lambda a, rows: -a)),
    Planted("classes swapped", BASE, lambda: changed(calls(), lambda a, rows: a[:, ::-1].copy())),
    Planted("answers in another unit", BASE, lambda: changed(homes(), lambda a, rows: a * 1_000)),
    Planted("an input in another unit", BASE, lambda: plain(in_feet(homes()))),
    Planted("constant: the mean", BASE, lambda: changed(homes(), one_for_all)),
    Planted("constant: zero", BASE, lambda: changed(homes(), lambda a, rows: a * 0)),
    Planted("constant: the classes' shares", BASE, lambda: changed(calls(), one_for_all)),
    Planted("worse than the value before", "the value before", lambda: plain(series())),
    Planted("stale: of before the market changed", WORSE, lambda: old(homes())),
    Planted("noise on each answer", WORSE, lambda: changed(homes(), noisy(0.1), against=True)),
    Planted("surer than the champion, and wrong", "worse than", lambda: changed(calls(), tempered(1.6), against=True)),
    Planted("tie: the champion's own answers", TIE, lambda: changed(homes(), lambda a, rows: a, against=True)),
    Planted("tie, classes", TIE, lambda: changed(calls(), lambda a, rows: a, against=True)),
    Planted("better by luck on sixty rows", "not better than the champion", lucky),
    Planted("slice collapsed", "worst slice, region hills", lambda: changed(homes(), where(2, lambda a: a * 0 + 250))),
    Planted("slice collapsed, classes", "worst slice, region city", lambda: changed(calls(), where(1, np.fliplr))),
    Planted("answers that are no numbers", LOST, lambda: changed(homes(), gaps)),
    Planted("probabilities that are no numbers", LOST, lambda: changed(calls(), gaps)),
    Planted("tiny holdout", "too few to judge by", lambda: plain(short(homes(), 12))),
    Planted("all answers too high", "bias", lambda: changed(homes(), lambda a, rows: a * 1.1)),
    Planted("labels shifted in training", "bias", lambda: relabelled(homes())),
    Planted("labels balanced in training", "calibration error", lambda: balanced(calls())),
    Planted("calibration broken", "calibration error", lambda: changed(calls(), tempered(4))),
    Planted("one class never told", "lowest recall 0 %", lambda: changed(calls(classes=3), silent(1))),
)  # fmt: skip


def healthy(number: int) -> tuple[World, Score, Score]:
    """A refresh: a model of all training rows beside one of the older three quarters of them, on a table of its own."""
    make = (homes, calls, lambda seed: calls(seed, classes=3), homes)[number % 4]
    world = make(1_000 + number)  # type: ignore[operator]  # mypy joins functions to object
    trees, rows = number % 3 == 0, world.train.height * 3 // 4
    return world, world.fitted(trees=trees), replace(world, trained=world.train[:rows]).fitted(trees=trees)
