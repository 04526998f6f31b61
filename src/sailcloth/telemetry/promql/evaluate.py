"""Evaluates a tree over the steps of a query. Reads samples from the store; otherwise pure.

Each kind of node is one method. The cost of a query is bounded by samples, cells (series times steps) and time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import promql_parser as parser

from sailcloth.lib import regex

from ..metrics.chunks import MISSING
from ..metrics.labels import NAME, Ints, Matcher
from ..metrics.store import Batch, Store, TooManySamples
from . import aggregation, binary, functions, parsing, windows
from .errors import BadQuery, QueryError, QueryTimeout
from .vectors import Floats, Labels, QueryStrings, Scalar, Vector, empty_labels

Steps = npt.NDArray[np.int64]
Value = Vector | Scalar | str
LOOKBACK_MS = 300_000
_SUBQUERY_STEP_MS = 60_000  # where a subquery names none
_MAX_STEPS = 100_000  # of a subquery
_KEEP_NAME = frozenset(("last_over_time",))


@dataclass(slots=True)
class Limits:
    """Of one query. deadline: by time.monotonic()."""

    samples: int = 200_000_000
    cells: int = 30_000_000
    deadline: float = field(default_factory=lambda: time.monotonic() + 60)


@dataclass(frozen=True, slots=True)
class RangeVector:
    """Windows of raw samples, series by series; what a range selector alone gives."""

    labels: Labels
    samples: list[tuple[Steps, Floats]]  # times in ms, values


def evaluate(store: Store, tree: Any, steps: Steps, limits: Limits | None = None) -> Value:
    """The value of an expression at the steps (ms, ascending). Raises QueryError."""
    with np.errstate(all="ignore"):
        try:
            return Evaluation(store, steps, limits or Limits()).value(tree)
        except RecursionError:
            raise QueryError("the query is nested too deeply") from None


def raw_samples(store: Store, tree: Any, at_ms: int, limits: Limits | None = None) -> RangeVector:
    """The samples of a range selector or subquery at one time. Raises QueryError."""
    with np.errstate(all="ignore"):
        evaluation = Evaluation(store, np.array([at_ms], np.int64), limits or Limits())
        labels, groups = evaluation.range(tree)
        rows, samples = [], []
        for w in groups:
            spans = zip(w.series.tolist(), w.first[:, 0].tolist(), w.last[:, 0].tolist(), strict=True)
            for row, first, last in spans:
                if last > first:
                    rows.append(row)
                    samples.append((w.times[first:last], w.values[first:last]))
        return RangeVector(labels.take(np.array(rows, np.int64)), samples)


def newest_samples(
    store: Store, selectors: Iterable[Iterable[Matcher]], at_ms: int
) -> Iterator[tuple[dict[str, str], int, float]]:
    """(labels, ms, value) of the newest sample of each series that any of the selectors matches. Raises QueryError."""
    seen: set[tuple[tuple[str, str], ...]] = set()
    ends = np.array([at_ms], np.int64)
    for matchers in selectors:
        try:
            index, _, batches = store.select(matchers, at_ms - LOOKBACK_MS, at_ms)
        except regex.BadRegex as error:
            raise BadQuery(f'invalid parameter "match[]": error parsing regexp: {error}') from None
        for w in windows.build(batches, ends, LOOKBACK_MS, stale=True):
            values, there = windows.newest(w)
            for row in np.flatnonzero(there[:, 0]).tolist():
                labels = dict(sorted(index.labels(int(w.series[row])).items()))
                if (key := tuple(labels.items())) not in seen:
                    seen.add(key)
                    yield labels, int(w.times[w.last[row, 0] - 1]), float(values[row, 0])


class Evaluation:
    """One query at its steps; a subquery has an evaluation of its own."""

    def __init__(self, store: Store, steps: Steps, limits: Limits, parent: Evaluation | None = None) -> None:
        self.store, self.steps, self.limits = store, steps, limits
        self.strings: QueryStrings = parent.strings if parent else QueryStrings(store.index.strings)
        self.outer: Steps = parent.outer if parent else steps

    # -- nodes ----------------------------------------------------------------------------------

    def value(self, node: Any) -> Value:
        """The value of a node."""
        if time.monotonic() > self.limits.deadline:
            raise QueryTimeout("query timed out in expression evaluation")
        method: Callable[[Any], Value] | None = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise QueryError(f"unsupported expression: {type(node).__name__}")
        out = method(node)
        if isinstance(out, Vector) and out.values.size > self.limits.cells:
            raise QueryError("query processing would load too many samples into memory in query execution")
        return out

    def vector(self, node: Any) -> Vector:
        value = self.value(node)
        if not isinstance(value, Vector):
            raise BadQuery("expected an instant vector")
        return value

    def scalar(self, node: Any) -> Scalar:
        value = self.value(node)
        if not isinstance(value, np.ndarray):
            raise BadQuery("expected a scalar")
        return value

    def text(self, node: Any) -> str:
        value = self.value(node)
        if not isinstance(value, str):
            raise BadQuery("expected a string")
        return value

    def _NumberLiteral(self, node: Any) -> Value:
        return np.full(len(self.steps), node.val)

    def _StringLiteral(self, node: Any) -> Value:
        return str(node.val)

    def _ParenExpr(self, node: Any) -> Value:
        return self.value(node.expr)

    def _UnaryExpr(self, node: Any) -> Value:
        value = self.value(node.expr)
        if isinstance(value, Vector):
            return Vector(value.labels, -value.values, value.present).nameless()
        assert isinstance(value, np.ndarray)
        return -value

    def _VectorSelector(self, node: Any) -> Value:
        return self._selected(node, windows.newest)

    def _MatrixSelector(self, node: Any) -> Value:
        raise BadQuery('invalid expression type "range vector", must be Scalar or instant Vector')

    _SubqueryExpr = _MatrixSelector

    def _AggregateExpr(self, node: Any) -> Value:
        op = str(node.op)
        vector = self.vector(node.expr)
        modifier = node.modifier
        by = modifier is None or str(modifier.type).endswith("By")
        labels = aggregation.grouping(vector.labels, by, modifier.labels if modifier is not None else ())
        if op in aggregation.SIMPLE:
            return aggregation.simple(op, vector, labels)
        if op in ("topk", "bottomk"):
            return aggregation.top(op, vector, labels, self.scalar(node.param))
        if op == "quantile":
            return aggregation.quantile(vector, labels, self.scalar(node.param))
        if op == "count_values":
            return aggregation.count_values(vector, labels, self.text(node.param))
        raise QueryError(f"unsupported aggregation: {op}")

    def _BinaryExpr(self, node: Any) -> Value:
        op, modifier = str(node.op), node.modifier
        left, right = self.value(node.lhs), self.value(node.rhs)
        as_bool = modifier is not None and modifier.return_bool
        if op not in binary.ARITHMETIC and op not in binary.COMPARISON and op not in binary.SETS:
            raise QueryError(f"unsupported operator: {op}")
        if isinstance(left, Vector) and isinstance(right, Vector):
            matching = _matching(modifier)
            if op in binary.SETS:
                return binary.sets(op, left, right, matching)
            return binary.vectors(op, left, right, matching, as_bool)
        if isinstance(left, str) or isinstance(right, str):
            raise BadQuery("a string has no operators")
        if isinstance(left, Vector):
            assert isinstance(right, np.ndarray)
            return binary.with_scalar(op, left, right, False, as_bool)
        if isinstance(right, Vector):
            return binary.with_scalar(op, right, left, True, as_bool)
        return binary.scalars(op, left, right)

    def _Call(self, node: Any) -> Value:
        name, arguments = node.func.name, node.args
        if name in windows.FUNCTIONS:
            return self._over_range(name, arguments[0], windows.FUNCTIONS[name])
        if name in functions.MATH:
            vector, more = self.vector(arguments[0]), [self.scalar(a) for a in arguments[1:]]
            values = functions.MATH[name](vector.values, *more)
            return Vector(vector.labels, values, vector.present).nameless()
        if name in functions.DATES:
            if not arguments:
                return self._single(functions.DATES[name](self.steps / 1000.0).astype(np.float64))
            vector = self.vector(arguments[0])
            values = functions.DATES[name](vector.values).astype(np.float64)
            return Vector(vector.labels, values, vector.present).nameless()
        method: Callable[..., Value] | None = getattr(self, f"_call_{name}", None)
        if method is None:
            raise QueryError(f"unsupported function: {name}")
        return method(*arguments)

    # -- functions that are more than arithmetic ------------------------------------------------

    def _call_time(self) -> Value:
        return self.steps / 1000.0

    def _call_pi(self) -> Value:
        return np.full(len(self.steps), np.pi)

    def _call_vector(self, argument: Any) -> Value:
        return self._single(self.scalar(argument))

    def _call_scalar(self, argument: Any) -> Value:
        return functions.scalar(self.vector(argument))

    def _call_clamp(self, vector: Any, low: Any, high: Any) -> Value:
        return functions.clamp(self.vector(vector), self.scalar(low), self.scalar(high)).compact()

    def _call_sort(self, argument: Any) -> Value:
        return functions.ordered(self.vector(argument), descending=False)

    def _call_sort_desc(self, argument: Any) -> Value:
        return functions.ordered(self.vector(argument), descending=True)

    def _call_timestamp(self, argument: Any) -> Value:
        while isinstance(argument, parser.ParenExpr):
            argument = argument.expr
        if isinstance(argument, parser.VectorSelector):
            return self._selected(argument, windows.newest_time).nameless()
        vector = self.vector(argument)
        times = np.broadcast_to(self.steps / 1000.0, vector.values.shape)
        return Vector(vector.labels, times, vector.present).nameless()

    def _call_label_replace(self, vector: Any, *texts: Any) -> Value:
        target, template, source, pattern = map(self.text, texts)
        return functions.label_replace(self.vector(vector), target, template, source, pattern)

    def _call_label_join(self, vector: Any, target: Any, separator: Any, *sources: Any) -> Value:
        names = [self.text(s) for s in sources]
        return functions.label_join(self.vector(vector), self.text(target), self.text(separator), names)

    def _call_histogram_quantile(self, q: Any, vector: Any) -> Value:
        return functions.histogram_quantile(self.scalar(q), self.vector(vector))

    def _call_quantile_over_time(self, q: Any, argument: Any) -> Value:
        wanted = self.scalar(q)
        return self._over_range("quantile_over_time", argument, lambda w: windows.quantile(w, wanted))

    def _call_predict_linear(self, argument: Any, seconds: Any) -> Value:
        ahead = self.scalar(seconds)
        return self._over_range("predict_linear", argument, lambda w: windows.predicted(w, ahead, self.steps))

    def _call_absent(self, argument: Any) -> Value:
        return self._absence(argument, self.vector(argument))

    def _call_absent_over_time(self, argument: Any) -> Value:
        vector = self._over_range("present_over_time", argument, windows.FUNCTIONS["present_over_time"])
        return self._absence(argument, vector)

    def _absence(self, argument: Any, vector: Vector) -> Vector:
        while isinstance(argument, parser.ParenExpr):
            argument = argument.expr
        selector = argument.vector_selector if isinstance(argument, parser.MatrixSelector) else argument
        labels = empty_labels(self.strings, 1)
        if isinstance(selector, parser.VectorSelector):
            conditions = [m for m in parsing.matchers(selector) if m.name != NAME]
            for m in conditions:
                if m.op == "=" and sum(other.name == m.name for other in conditions) == 1:
                    labels = labels.replaced(m.name, np.array([self.strings.id(m.value)], np.int32))
        gone = functions.absent(vector.present)
        return Vector(labels, np.ones((1, len(self.steps))), gone[None]).compact()

    def _single(self, values: Scalar) -> Vector:
        return Vector(empty_labels(self.strings, 1), values[None], np.ones((1, len(self.steps)), np.bool_))

    # -- samples --------------------------------------------------------------------------------

    def _ends(self, node: Any) -> Steps:
        """The times at which a selector is evaluated: `@` and `offset` applied to the steps."""
        ends = self.steps
        if node.at is not None:
            kind = str(node.at.type).rpartition(".")[2]
            if kind == "At":
                fixed = round(parsing.guarded(lambda: node.at.at.timestamp()) * 1000)
            else:
                fixed = int(self.outer[0] if kind == "Start" else self.outer[-1])
            ends = np.full(len(ends), fixed, np.int64)
        return ends - parsing.milliseconds(node.offset)

    def _windows(self, selector: Any, range_ms: int, stale: bool) -> tuple[Labels, Iterator[windows.Windows]]:
        """Labels and windows of a vector selector; a series of a window is a row of the labels."""
        ends = self._ends(selector)
        low, high = int(ends.min()) - range_ms, int(ends.max())
        try:
            index, refs, batches = self.store.select(parsing.matchers(selector), low, high, self.limits.samples)
        except regex.BadRegex as error:
            raise BadQuery(f"parse error: error parsing regexp: {error}") from None
        labels = Labels(self.strings, len(refs), {}, (index, refs))
        row = np.zeros(len(index), np.int32)
        row[refs] = np.arange(len(refs))
        return labels, self._bounded(windows.build(self._counted(batches, row), ends, range_ms, stale))

    def _counted(self, batches: Iterable[Batch], row: Ints) -> Iterator[Batch]:
        """The batches, with rows instead of references."""
        try:
            for batch in batches:
                self.limits.samples -= batch.values.size
                yield Batch(row[batch.refs], batch.times, batch.values)
        except TooManySamples as error:
            raise QueryError(str(error)) from None

    def _bounded(self, groups: Iterable[windows.Windows]) -> Iterator[windows.Windows]:
        cells = 0
        for w in groups:
            cells += w.first.size
            if cells > self.limits.cells:
                raise QueryError("query processing would load too many samples into memory in query execution")
            if time.monotonic() > self.limits.deadline:
                raise QueryTimeout("query timed out in query execution")
            yield w

    def range(self, node: Any) -> tuple[Labels, Iterator[windows.Windows]]:
        """Labels and windows of a range selector or a subquery."""
        while isinstance(node, parser.ParenExpr):
            node = node.expr
        if isinstance(node, parser.MatrixSelector):
            return self._windows(node.vector_selector, parsing.milliseconds(node.range), stale=False)
        if not isinstance(node, parser.SubqueryExpr):
            raise BadQuery("expected a range vector")
        range_ms, step = parsing.milliseconds(node.range), parsing.milliseconds(node.step) or _SUBQUERY_STEP_MS
        ends = self._ends(node)
        low, high = int(ends.min()) - range_ms, int(ends.max())
        begin = -(-low // step) * step
        if (high - begin) // step > _MAX_STEPS:
            raise QueryError(f"a subquery has more than {_MAX_STEPS} steps")
        steps = np.arange(begin, high + 1, step, dtype=np.int64)
        if not len(steps):
            return empty_labels(self.strings, 0), iter(())
        vector = Evaluation(self.store, steps, self.limits, self).vector(node.expr)
        return vector.labels, self._bounded(_inner_windows(vector, steps, ends, range_ms))

    def _over_range(self, name: str, argument: Any, function: Callable[[windows.Windows], windows.Result]) -> Vector:
        labels, groups = self.range(argument)
        vector = self._gathered(labels, groups, function)
        return vector if name in _KEEP_NAME else vector.nameless()

    def _selected(self, node: Any, function: Callable[[windows.Windows], windows.Result]) -> Vector:
        labels, groups = self._windows(node, LOOKBACK_MS, stale=True)
        return self._gathered(labels, groups, function)

    def _gathered(
        self,
        labels: Labels,
        groups: Iterator[windows.Windows],
        function: Callable[[windows.Windows], windows.Result],
    ) -> Vector:
        parts = [(w.series, *function(w)) for w in groups]
        if not parts:
            shape = (0, len(self.steps))
            return Vector(labels.take(np.zeros(0, np.int64)), np.zeros(shape), np.zeros(shape, np.bool_))
        rows, values, there = (np.concatenate([p[i] for p in parts]) for i in range(3))
        back = np.argsort(rows, kind="stable")  # in order of appearance
        return Vector(labels.take(rows[back]), values[back], there[back].astype(np.bool_)).compact()


def _inner_windows(vector: Vector, steps: Steps, ends: Steps, range_ms: int) -> Iterator[windows.Windows]:
    """Windows over the values of a subquery."""
    values = np.where(vector.present, vector.values, MISSING)
    refs = np.arange(len(values), dtype=np.int32)
    return windows.build([Batch(refs, steps, values)] if len(values) else [], ends, range_ms)


def _matching(modifier: Any) -> binary.Matching:
    if modifier is None:
        return binary.Matching(False, ())
    on = modifier.matching is not None and str(modifier.matching.type).endswith("Include")
    labels = tuple(modifier.matching.labels) if modifier.matching is not None else ()
    card = str(modifier.card).rpartition(".")[2]
    many = {"ManyToOne": "left", "OneToMany": "right"}.get(card, "")
    fill = modifier.fill_values
    if fill is not None and (fill.lhs is not None or fill.rhs is not None):
        raise QueryError("unsupported modifier: fill")
    return binary.Matching(on, labels, many, tuple(modifier.group_labels or ()))
