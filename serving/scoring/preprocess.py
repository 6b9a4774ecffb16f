"""Fitted scikit-learn transformers, compiled into symbols.

Numeric transformers become the steps that scikit-learn's own ``transform`` performs, in its order, with its fitted
numbers. Encoders are not imitated at all: they are called on every value a category can have.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.scoring import kernels
from serving.scoring.symbols import CannotCompile, Number, Step, Symbol, Table

MOST_CELLS = (
    1 << 24
)  # of what a transformer makes of all categories; beyond, 4,000 in one-hot columns, a table costs more than a call
_NOT_INFINITE: Step = (kernels.NOT_INFINITE, 0.0)


def transform(transformer: Any, symbols: Sequence[Symbol]) -> list[Symbol]:
    """What a fitted *transformer* makes of *symbols*.

    Raises:
        CannotCompile: a transformer, or a setting of one, without an exact fast form.
    """
    if transformer is None or transformer == "passthrough":
        return list(symbols)
    name = type(transformer).__name__
    if type(transformer).__module__.startswith(("sklearn.", "serving.features.")) and name in _COMPILERS:
        return _COMPILERS[name](transformer, symbols)
    raise CannotCompile(f"{name} has no fast form")


def transform_all(steps: Iterable[tuple[str, Any]], symbols: Sequence[Symbol]) -> list[Symbol]:
    """The steps of a Pipeline one after the other."""
    done = list(symbols)
    for _, step in steps:
        done = transform(step, done)
    return done


def _columns(transformer: Any, symbols: Sequence[Symbol]) -> list[Symbol]:
    indices: Mapping[str, Sequence[int]] = transformer._transformer_to_input_indices
    done: list[Symbol] = []
    for name, part, _ in transformer.transformers_:
        if part != "drop" and len(indices[name]):
            done += transform(part, [symbols[index] for index in indices[name]])
    weights = transformer.transformer_weights
    if weights:
        raise CannotCompile("ColumnTransformer with transformer_weights has no fast form")
    return done


def _imputer(transformer: Any, symbols: Sequence[Symbol]) -> list[Symbol]:
    if transformer.add_indicator:
        raise CannotCompile("SimpleImputer with add_indicator has no fast form")
    if any(isinstance(symbol, Table) and not symbol.numeric for symbol in symbols):
        return _tabulate(transformer, symbols, [1] * len(symbols))
    if not (isinstance(transformer.missing_values, float) and np.isnan(transformer.missing_values)):
        raise CannotCompile("SimpleImputer of something else than NaN has no fast form")
    statistics = np.asarray(transformer.statistics_, dtype=np.float64)
    keep = np.ones(len(statistics), np.bool_) if transformer.keep_empty_features else ~np.isnan(statistics)
    return [
        symbol.then(_NOT_INFINITE, (kernels.FILL, float(value)))
        for symbol, value, kept in zip(symbols, statistics, keep, strict=True)
        if kept
    ]


def _minmax(transformer: Any, symbols: Sequence[Symbol]) -> list[Symbol]:
    done = _scaled(symbols, (kernels.MULTIPLY, transformer.scale_), (kernels.ADD, transformer.min_))
    if not transformer.clip:
        return done
    low, high = map(float, transformer.feature_range)
    return [symbol.then((kernels.AT_LEAST, low), (kernels.AT_MOST, high)) for symbol in done]


def _scaled(symbols: Sequence[Symbol], *parts: tuple[int, npt.NDArray[np.float64] | None]) -> list[Symbol]:
    """One step for each of *parts*, with an operand per column; a part without operands is left out."""
    done = []
    for place, symbol in enumerate(symbols):
        if isinstance(symbol, Table) and not symbol.numeric:
            raise CannotCompile("a scaler over text has no fast form")
        steps = [(code, float(values[place])) for code, values in parts if values is not None]
        done.append(symbol.then(_NOT_INFINITE, *steps))
    return done


def _function(transformer: Any, symbols: Sequence[Symbol]) -> list[Symbol]:
    function = transformer.func
    if function is None and not transformer.validate:
        return list(symbols)
    name = {np.log: "log", np.log1p: "log1p", np.sqrt: "sqrt"}.get(function)
    if name is None or transformer.validate or transformer.kw_args:
        raise CannotCompile("FunctionTransformer of something else than numpy's log, log1p or sqrt has no fast form")
    if any(isinstance(symbol, Table) and not symbol.numeric for symbol in symbols):
        raise CannotCompile(f"{name} of text has no fast form")
    return [symbol.then((name, 0.0)) for symbol in symbols]


def _tabulate(transformer: Any, symbols: Sequence[Symbol], outputs: Sequence[int]) -> list[Symbol]:
    """Call a column-wise *transformer* on every value of each column; column i makes ``outputs[i]`` columns."""
    tables = [symbol for symbol in symbols if isinstance(symbol, Table)]
    if len(tables) < len(symbols):
        raise CannotCompile(f"{type(transformer).__name__} over numbers has no fast form")
    usual = _usual_values(transformer, tables)
    firsts = np.concatenate([[0], np.cumsum(outputs)])
    if max(len(table.values) for table in tables) * int(firsts[-1]) > MOST_CELLS:
        raise CannotCompile(f"{type(transformer).__name__} with {firsts[-1]:,} columns has no fast form")
    done: list[Symbol] = []
    for place, table in enumerate(tables):
        rows = [[*usual[:place], value, *usual[place + 1 :]] for value in table.values]
        answer, refused = _answers(transformer, rows, table)
        if answer.shape[1] != firsts[-1] or answer.dtype == np.float32:
            raise CannotCompile(f"{type(transformer).__name__} with dropped or float32 columns has no fast form")
        for output in range(firsts[place], firsts[place + 1]):
            done.append(Table(table.source, answer[:, output], table.refused | refused))
    return done


def _usual_values(transformer: Any, tables: Sequence[Table]) -> list[Any]:
    """Per column a value that the transformer takes, to stand beside the one that is asked about."""
    if hasattr(transformer, "categories_"):
        return [categories[0] for categories in transformer.categories_]
    return [table.values[0] for table in tables]


def _answers(transformer: Any, rows: list[list[Any]], table: Table) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The transformer's rows, and which of them it refuses; those hold zeros."""
    try:
        return _call(transformer, rows, table), np.zeros(len(rows), np.bool_)
    except ValueError:
        answers: list[npt.NDArray[Any] | None] = []
        for row in rows:
            try:
                answers.append(_call(transformer, [row], table)[0])
            except ValueError:
                answers.append(None)
    known = next((answer for answer in answers if answer is not None), None)
    if known is None:
        raise CannotCompile(f"{type(transformer).__name__} refuses every value of a column")
    filled = np.array([np.zeros_like(known) if answer is None else answer for answer in answers])
    return filled, np.array([answer is None for answer in answers])


def _call(transformer: Any, rows: list[list[Any]], table: Table) -> npt.NDArray[Any]:
    cells: Any = np.array(rows, dtype=object if not table.numeric else np.float64)
    if hasattr(transformer, "feature_names_in_"):
        import pandas as pd  # a server that reads a fast form compiles none, and starts without it

        cells = pd.DataFrame(cells, columns=list(transformer.feature_names_in_))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a category is unknown is what is being asked
        answer = transformer.transform(cells)
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    return np.asarray(answer)


_COMPILERS: dict[str, Callable[[Any, Sequence[Symbol]], list[Symbol]]] = {
    "Pipeline": lambda pipeline, symbols: transform_all(pipeline.steps, symbols),
    "ColumnTransformer": _columns,
    "SimpleImputer": _imputer,
    "StandardScaler": lambda one, symbols: _scaled(
        symbols,
        (kernels.SUBTRACT, one.mean_ if one.with_mean else None),
        (kernels.DIVIDE, one.scale_ if one.with_std else None),
    ),
    "MinMaxScaler": _minmax,
    "RobustScaler": lambda one, symbols: _scaled(
        symbols,
        (kernels.SUBTRACT, one.center_ if one.with_centering else None),
        (kernels.DIVIDE, one.scale_ if one.with_scaling else None),
    ),
    "FunctionTransformer": _function,
    "OneHotEncoder": lambda one, symbols: _tabulate(one, symbols, [int(count) for count in one._n_features_outs]),
    "OrdinalEncoder": lambda one, symbols: _tabulate(one, symbols, [1] * len(symbols)),
    "Frequency": lambda one, symbols: _tabulate(one, symbols, [1] * len(symbols)),
    "TargetEncoder": lambda one, symbols: _tabulate(
        one, symbols, [len(one.classes_) if one.target_type_ == "multiclass" else 1] * len(symbols)
    ),
}

__all__ = ["Number", "transform", "transform_all"]
