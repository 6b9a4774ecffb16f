"""Expressions of a project, compiled: each checked against the columns it names, all together one program."""

import ast
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from serving.contract import Column
from serving.errors import ConfigError
from serving.features import functions, operations, syntax
from serving.features import kernel as k
from serving.features.functions import CYCLIC, FUNCTIONS
from serving.features.operands import Builder, Group, Mistake, Operand, finite
from serving.features.program import Derivation

WHERE = "features.columns"
MOST_COLUMNS = 1_000
LONGEST_NAME = 100  # characters
_CONSTANTS: Mapping[str, float] = {"pi": 3.141592653589793, "missing": float("nan")}


class ColumnMistakes(ConfigError):
    """What is wrong with derived columns.

    Attributes:
        mistakes: one sentence each, beginning with its key.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True)
class Compiled:
    """The derived columns of a project.

    Attributes:
        program: computes them all.
        groups: what of its table training has to learn first.
        columns: by name what each holds.
    """

    program: Derivation
    groups: tuple[Group, ...]
    columns: Mapping[str, Operand]


@dataclass
class _Scope:
    """What names mean: columns of the coded matrix, and derived ones before.

    Attributes:
        absent: why a name that somebody may expect is none, by name.
    """

    build: Builder
    known: dict[str, Operand]
    absent: Mapping[str, str] = field(default_factory=dict)

    def lookup(self, name: str) -> Operand:
        if name in self.known:
            return self.known[name]
        if name in _CONSTANTS:
            return Operand("number", self.build.constant(_CONSTANTS[name]))
        if name in self.absent:
            raise Mistake(f"{name!r} {self.absent[name]}")
        close = difflib.get_close_matches(name, self.known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(self.known)}"
        raise Mistake(f"no column {name!r}; {hint}")


def compile_columns(
    expressions: Mapping[str, str], slots: Mapping[str, Column], absent: Mapping[str, str] | None = None
) -> Compiled:
    """The program of *expressions* over *slots*, the columns of the coded matrix.

    An expression may use columns of other expressions, wherever those stand. *absent* says by name why something that
    is no slot is none, such as the target.

    Raises:
        ColumnMistakes: every mistake, by its key and place.
        ConfigError: too many columns, or a circle of them.
    """
    if len(expressions) > MOST_COLUMNS:
        raise ConfigError(f"{WHERE}: expected at most {MOST_COLUMNS:,} columns, seen {len(expressions):,}")
    trees, mistakes = _trees(expressions, slots, absent or {})
    build = Builder(len(slots))
    known = {name: _operand(build, column, place) for place, (name, column) in enumerate(slots.items())}
    scope, made = _Scope(build, known, absent or {}), dict[str, dict[str, Operand]]()
    for name in _ordered(trees):
        try:
            made[name] = _columns(scope, name, trees[name])
            known.update(made[name])
        except Mistake as mistake:
            mistakes.append(f"{WHERE}.{name}: {mistake}")
            known[name] = Operand("number")  # so that the columns after it are looked at too
    if mistakes:
        raise ColumnMistakes(mistakes)
    columns = {name: operand for source in expressions for name, operand in made[source].items()}
    return Compiled(build.finish(list(columns), list(columns.values())), build.groups(), columns)


def _trees(
    expressions: Mapping[str, str], slots: Mapping[str, Column], absent: Mapping[str, str]
) -> tuple[dict[str, ast.expr], list[str]]:
    trees, mistakes = dict[str, ast.expr](), list[str]()
    for name, text in expressions.items():
        try:
            _check_name(name, name in slots or name in absent or name in _CONSTANTS)
            trees[name] = syntax.parse(text)
        except Mistake as mistake:
            mistakes.append(f"{WHERE}.{name}: {mistake}")
    return trees, mistakes


def _check_name(name: str, taken: bool) -> None:
    if taken:
        raise Mistake("there is something of this name already; choose another")
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise Mistake(f"expected a name of 1 to {LONGEST_NAME} characters")


def _ordered(trees: Mapping[str, ast.expr]) -> list[str]:
    """The names of *trees*, each behind those it uses."""
    makes = {made: name for name in trees for made in (name, f"{name}.sin", f"{name}.cos")}
    needs = {name: {makes[one] for one in syntax.names(tree) if one in makes} for name, tree in trees.items()}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        path = " from ".join(error.args[1][::-1])
        raise ConfigError(f"{WHERE}.{error.args[1][0]}: it would be computed from itself, {path}") from None


def _operand(build: Builder, column: Column, place: int) -> Operand:
    """A column of the coded matrix as an operand."""
    if column.type == "category":
        code = place
        if "?" in column.values:  # which is how scikit-learn is shown an unknown category, that thereby is this one
            odd = build.step(k.AT_MOST, build.constant(len(column.values)), place)
            code = build.step(k.CHOOSE, odd, build.constant(column.values.index("?")), place)
        closed = bool(column.values) and column.unknown != "other"
        return Operand("category", code, values=column.values, closed=closed)
    if column.type == "datetime":
        return Operand("moment", place, zone=column.zone)
    return Operand("truth" if column.type == "bool" else "number", place)


def _columns(scope: _Scope, name: str, tree: ast.expr) -> dict[str, Operand]:
    """What the expression called *name* makes: one column, or two."""
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == CYCLIC:
        if taken := {f"{name}.sin", f"{name}.cos"} & scope.known.keys():
            raise Mistake(f"it makes {min(taken)!r}, which there is already; choose another name")
        sine, cosine = functions.cyclic(scope.build, [_compiled(scope, one) for one in tree.args])
        return {f"{name}.sin": sine, f"{name}.cos": cosine}
    found = _compiled(scope, tree)
    if found.kind in ("text", "list"):
        raise Mistake(f"expected an expression that gives a number, a category or a moment, got {found.noun}")
    return {name: found}


def _compiled(scope: _Scope, node: ast.expr) -> Operand:
    try:
        return _part(scope, node)
    except Mistake as mistake:
        if mistake.__cause__ is not None:  # placed already, at the innermost part
            raise
        raise Mistake(f"{mistake}, at {ast.unparse(node)[:60]!r}") from mistake


def _part(scope: _Scope, node: ast.expr) -> Operand:
    if (name := syntax.dotted(node)) is not None:
        return scope.lookup(name)
    match node:
        case ast.Constant():
            return _literal(scope, node.value)
        case ast.List() | ast.Tuple():
            return Operand("list", literal=tuple(_compiled(scope, one) for one in node.elts))
        case ast.BinOp():
            left, right = _compiled(scope, node.left), _compiled(scope, node.right)
            return operations.arithmetic(scope.build, node.op, left, right)
        case ast.UnaryOp():
            return _signed(scope, node)
        case ast.BoolOp():
            op = k.AND if isinstance(node.op, ast.And) else k.OR
            truths = [operations.truth(scope.build, _compiled(scope, one)) for one in node.values]
            return _folded(scope.build, op, truths)
        case ast.Compare():
            sides = [_compiled(scope, one) for one in (node.left, *node.comparators)]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return _folded(scope.build, k.AND, [operations.compare(scope.build, *pair) for pair in pairs])
        case ast.Call():
            return _called(scope, node)
    raise Mistake("expected a column, a number or a function of these")


def _literal(scope: _Scope, value: object) -> Operand:
    if isinstance(value, str):
        return Operand("text", literal=value)
    if isinstance(value, bool):
        return Operand("truth", scope.build.constant(value))
    if not isinstance(value, int | float):
        raise Mistake("expected a number or a text in quotes; a missing value is written 'missing'")
    number = finite(value)
    return Operand("number", scope.build.constant(number), literal=number)


def _signed(scope: _Scope, node: ast.UnaryOp) -> Operand:
    operand = _compiled(scope, node.operand)
    if isinstance(node.op, ast.Not):
        return scope.build.truth(k.NOT, operations.truth(scope.build, operand))
    value = operations.number(operand)
    if isinstance(node.op, ast.UAdd):
        return value
    if value.literal is not None:
        return Operand("number", scope.build.constant(-value.literal), literal=-value.literal)
    return scope.build.number(k.NEGATIVE, value)


def _folded(build: Builder, op: int, truths: list[Operand]) -> Operand:
    found = truths[0]
    for one in truths[1:]:
        found = build.truth(op, found, one)
    return found


def _called(scope: _Scope, node: ast.Call) -> Operand:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name == CYCLIC:
        raise Mistake("cyclic makes two columns: give it a name of its own, whose .sin and .cos others may use")
    if name not in FUNCTIONS or node.keywords:
        close = difflib.get_close_matches(name, [*FUNCTIONS, CYCLIC], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted([*FUNCTIONS, CYCLIC, 'col']))}"
        raise Mistake(f"no function {ast.unparse(node.func)[:40]!r}; {hint}")
    FUNCTIONS[name].check(name, len(node.args))
    return FUNCTIONS[name].emit(scope.build, *(_compiled(scope, one) for one in node.args))
