"""The ways in which code is changed at random: each operator says what else could stand in the place of a node."""

import ast
import copy
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
}
_PAIRS = (
    "any all, min max, startswith endswith, union intersection, is_ is_not, and_ or_, lstrip rstrip, "
    "partition rpartition"
)
CALLED = {a: b for pair in _PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
WITH_DEFAULTS = {"get", "next", "getattr", "pop", "fromkeys", "strip", "lstrip", "rstrip", "islice", "split", "sum"}
"""What means something else, and no error, without its last argument."""

_one_at_a_time = threading.Lock()


class Change(NamedTuple):
    """One change that can be made: in `holder`, under `name` (and number `at` of a list), `new` stands for `old`."""

    operator: str
    where: str
    """The qualified name of the function or class that it is in; empty at the top of the module."""
    old: ast.AST
    new: ast.AST | None
    line: int
    statement: int
    """The line on which the statement begins."""
    holder: ast.AST
    name: str
    at: int | None

    def applied_to(self, tree: ast.Module) -> str:
        """The source of `tree`, which the change was found in, with it made."""
        with _one_at_a_time:  # the changes of a file have the tree in common, and mutants are tried side by side
            before = getattr(self.holder, self.name)
            after: Any = self.new
            if self.at is not None:
                after = [*before[: self.at], *([] if self.new is None else [self.new]), *before[self.at + 1 :]]
            setattr(self.holder, self.name, after)
            try:
                return ast.unparse(ast.fix_missing_locations(tree))
            finally:
                setattr(self.holder, self.name, before)


def changes_in(tree: ast.Module) -> Iterator[Change]:
    """All changes that the operators can make of a module, but for what only people and type checkers read."""
    yield from _within(tree, "", 0, Counter())


def _within(holder: ast.AST, where: str, statement: int, assigned: Counter[str]) -> Iterator[Change]:
    for name, value in ast.iter_fields(holder):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or _is_for_people(node, holder):
                continue
            inner, names = where, assigned
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                inner = f"{where}.{node.name}".lstrip(".")
                names = _assigned_in(node) if isinstance(node, ast.FunctionDef) else Counter()
            begin = node.lineno if isinstance(node, ast.stmt) else statement
            line = begin if isinstance(holder, ast.JoinedStr | ast.FormattedValue) else getattr(node, "lineno", begin)
            for operator, new in _alternatives(node, holder, names):
                yield Change(operator, inner, node, new, line, begin, holder, name, at)
            if not isinstance(node, ast.Raise):  # what it says is for people
                yield from _within(node, inner, begin, names)


def _is_for_people(node: ast.AST, holder: ast.AST) -> bool:
    """Whether only people or type checkers read it: docstrings, sentences, checks of types, imports."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(value=ast.Subscript()):
            return isinstance(holder, ast.Module)  # the name of a type
        case ast.keyword(arg="strict"):
            return True  # it asserts something
        case ast.Constant(value=str() as text):
            return " " in text.strip() or isinstance(holder, ast.FormattedValue)
    return False


def _assigned_in(function: ast.FunctionDef) -> Counter[str]:
    """How often each name gets a value."""
    stored = (node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return Counter([*stored, *(each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg))])


def _alternatives(node: ast.AST, holder: ast.AST, assigned: Counter[str]) -> Iterator[tuple[str, ast.AST | None]]:
    """What else could stand here, each with the operator's name."""
    yield from _other_conditions(node, holder)
    yield from _other_values(node)
    yield from _other_statements(node, assigned)
    yield from _other_handlers(node)
    yield from _other_calls(node)


def _but(node: ast.AST, **fields: Any) -> ast.AST:
    """`node`, but for some of its fields."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _other_conditions(node: ast.AST, holder: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                yield "comparison", _but(node, ops=[*ops[:at], COMPARISONS[type(op)](), *ops[at + 1 :]])
        case ast.BoolOp(op=op, values=values):
            yield "and/or", _but(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for at in range(len(values)):
                rest = [*values[:at], *values[at + 1 :]]
                yield f"operand {at + 1} dropped", _but(node, values=rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not dropped", operand
        case ast.If() | ast.IfExp():
            yield "if True", _but(node, test=ast.Constant(value=True))
            yield "if False", _but(node, test=ast.Constant(value=False))
    if isinstance(holder, ast.comprehension) and node in holder.ifs:
        yield "condition dropped", ast.Constant(value=True)


def _other_values(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.Constant(value=bool() as value):
            yield "boolean", _but(node, value=not value)
        case ast.Constant(value=int() | float() as value):
            yield "one more", _but(node, value=value + 1)
            yield "one less", _but(node, value=value - 1)
        case ast.Constant(value=str() as text):
            yield "text", _but(node, value=f"{text}~")
        case ast.Constant(value=bytes() as data):
            yield "text", _but(node, value=data + b"~")
        case ast.BinOp(left=left, op=op) if type(op) in ARITHMETIC:
            yield "arithmetic", _but(node, op=ARITHMETIC[type(op)]())
            yield "left operand alone", left
        case ast.Slice(lower=lower, upper=upper):
            if lower:
                yield "lower bound dropped", _but(node, lower=None)
            if upper:
                yield "upper bound dropped", _but(node, upper=None)


def _other_statements(node: ast.AST, assigned: Counter[str]) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "returns None", _but(node, value=ast.Constant(value=None))
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
            yield "statement dropped", ast.parse("yield from ()").body[0]  # a generator all the same
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete():
            yield "statement dropped", ast.Pass()
        case ast.Assign(targets=[ast.Name(id=name)]) if assigned[name] > 1:
            yield "statement dropped", ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "statement dropped", ast.Pass()
        case ast.Break():
            yield "break/continue", ast.Continue()
        case ast.Continue():
            yield "break/continue", ast.Break()


def _other_handlers(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.ExceptHandler(type=ast.Tuple(elts=types)):
            for at in range(len(types)):
                yield "exception let go", _but(node, type=ast.Tuple([*types[:at], *types[at + 1 :]], ast.Load()))
        case ast.ExceptHandler(type=ast.expr()):
            yield "exception let go", _but(node, type=ast.Tuple([], ast.Load()))


def _other_calls(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called) as func, args=args, keywords=keywords):
            if called in CALLED:
                yield (
                    "call",
                    _but(node, func=_but(func, **{"id" if isinstance(func, ast.Name) else "attr": CALLED[called]})),
                )
            for at, keyword in enumerate(keywords):
                if keyword.arg and keyword.arg != "strict":  # which asserts something
                    yield f"{keyword.arg} dropped", _but(node, keywords=[*keywords[:at], *keywords[at + 1 :]])
            if called in WITH_DEFAULTS and args:
                yield "argument dropped", _but(node, args=args[:-1])
