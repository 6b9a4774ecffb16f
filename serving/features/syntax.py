"""The text of an expression as a tree: Python's syntax, of which a fixed list of nodes is taken."""

import ast
import warnings

from serving.features.operands import Mistake

LONGEST = 1_000  # characters of an expression
DEEPEST = 60  # operations inside of one another
_NODES = (
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Name, ast.Attribute, ast.Constant, ast.List,
    ast.Tuple, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_HINTS: dict[type[ast.AST], str] = {
    ast.IfExp: "write where(condition, a, b)",
    ast.keyword: "write the arguments by their places",
    ast.BitAnd: "write 'and'",
    ast.BitOr: "write 'or'",
    ast.Invert: "write 'not'",
    ast.BitXor: "write ** for a power",
    ast.Is: "write isnull(x)",
    ast.IsNot: "write not isnull(x)",
}
_REFUSED = (ast.BitAnd, ast.BitOr, ast.Invert, ast.BitXor, ast.Is, ast.IsNot, ast.LShift, ast.RShift, ast.MatMult)


def parse(text: str) -> ast.expr:
    """The tree of *text*, of allowed nodes and bounded depth.

    Raises:
        Mistake: it is too long or deep, no expression, or holds what the language has not.
    """
    if len(text) > LONGEST:
        raise Mistake(f"expected at most {LONGEST:,} characters, seen {len(text):,}; divide it into several columns")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused below
            tree = ast.parse(" ".join(text.split("\n")).strip(), mode="eval").body
    except SyntaxError as error:
        place = f", at character {error.offset}" if error.offset else ""
        raise Mistake(
            f"expected an expression such as 'area / rooms', seen {text[:60]!r} ({error.msg}{place})"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Mistake(f"{text[:60]!r} cannot be read ({error})") from None
    _check(tree)
    names(tree)  # of which each can be read
    return tree


def _check(tree: ast.expr) -> None:
    """Level by level, so that no depth can exhaust the stack."""
    level: list[ast.AST] = [tree]
    for _ in range(DEEPEST):
        for node in level:
            if not isinstance(node, _NODES) or isinstance(node, _REFUSED):
                hint = _HINTS.get(type(node), "see docs/features.md for what there is")
                raise Mistake(f"an expression has no {type(node).__name__}; {hint}")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise Mistake(f"more than {DEEPEST} operations inside of one another; divide it into several columns")


def dotted(node: ast.expr) -> str | None:
    """The name that *node* is: ``area``, ``notes.length``, ``col("living area")``; None if it is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        start = dotted(node.value) if isinstance(node.value, ast.Name | ast.Attribute) else None
        return None if start is None else f"{start}.{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "col":
        if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            return node.args[0].value
        raise Mistake('col takes the name of a column in quotes, such as col("living area")')
    return None


def names(tree: ast.expr) -> set[str]:
    """All names of columns in *tree*, and of what may be one."""
    waiting, found = [tree], set[str]()
    while waiting:
        node = waiting.pop()
        if (name := dotted(node)) is not None:
            found.add(name)
        elif isinstance(node, ast.Call):
            waiting += node.args
        else:
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    return found
