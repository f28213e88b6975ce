"""Plans and answers that make no sense. Those about a column are about the first written one."""

import dataclasses

from wit_world.exports.transformer import RowError
from wit_world.imports.types import (
    Column, ColumnData_Bools, ColumnData_Floats, ColumnData_Ints, ColumnData_Strings, Strings,
)


def _plan_writes_unknown(plan, beyond, names):
    plan.write[0].index = beyond


PLANS = {
    "plan-reads-unknown": lambda plan, beyond, names: plan.read.append(beyond),
    "plan-reads-twice": lambda plan, beyond, names: plan.read.append(plan.read[0]),
    "plan-writes-unknown": _plan_writes_unknown,
    "plan-writes-twice": lambda plan, beyond, names: plan.write.append(dataclasses.replace(plan.write[0])),
    "plan-renames-to-existing": lambda plan, beyond, names: plan.rename.append((0, names[1])),
    "plan-drops-unknown": lambda plan, beyond, names: plan.drop.append(beyond),
    "plan-from-unknown": lambda plan, beyond, names: plan.write[0].from_.append(beyond),
}

SELECTS = {"drop", "fan-out", "history", "descending-select", "select-beyond-end"}
CHANGES_KINDS = {"soft-delete", "history", "bad-kind", "short-kinds"}
ROUTES = {"route", "bad-route", "short-routes"}


def _texts(output, batch):
    """The first written column, as texts with offsets."""
    column = output.columns[0]
    values = column.data.value.data.split("\0")
    ends = [0]
    for value in values:
        ends.append(ends[-1] + len(value.encode()))
    column.data = ColumnData_Strings(Strings(ends, "".join(values)))
    return column.data.value


def _short_column(output, batch, plan, times):
    text = _texts(output, batch)
    del text.offsets[-2]


def _long_column(output, batch, plan, times):
    text = _texts(output, batch)
    text.offsets.append(text.offsets[-1])


def _wrong_type(output, batch, plan, times):
    column = output.columns[0]
    is_int = isinstance(column.data, ColumnData_Ints)
    column.data = ColumnData_Floats([0.5] * batch.rows) if is_int else ColumnData_Ints([7] * batch.rows)


def _undeclared_column(output, batch, plan, times):
    output.columns[0].index = len(plan.write) + 1000


def _column_twice(output, batch, plan, times):
    output.columns.append(output.columns[0])


def _state(make):
    def spoil(output, batch, plan, times):
        output.columns[0].state = make(batch.rows)
    return spoil


def _bad_bool(output, batch, plan, times):
    output.columns[0].data = ColumnData_Bools(bytes([2]) * batch.rows)


def _offsets(change):
    def spoil(output, batch, plan, times):
        text = _texts(output, batch)
        text.offsets = change(text.offsets)
    return spoil


def _offsets_in_character(output, batch, plan, times):
    rows = batch.rows
    ends = [0, 1] if rows == 1 else [row * 2 if row in (0, rows) else row * 2 - 1 for row in range(rows + 1)]
    output.columns[0].data = ColumnData_Strings(Strings(ends, "é" * rows))


def _joined_count(output, batch, plan, times):
    output.columns[0].data = ColumnData_Strings(Strings([], "\0" * (batch.rows + 3)))


def _descending_select(output, batch, plan, times):
    output.select = [0, 1] if batch.rows == 1 else list(range(batch.rows))[::-1]


def _select_beyond_end(output, batch, plan, times):
    output.select[-1] = batch.rows


def _select_undeclared(output, batch, plan, times):
    output.select = list(range(batch.rows))


def _set(name, make):
    def spoil(output, batch, plan, times):
        setattr(output, name, make(batch))
    return spoil


def _reject(**changes):
    def spoil(output, batch, plan, times):
        fault = RowError(0, None, "told to reject")
        output.rejects.append(dataclasses.replace(fault, **{name: make(batch, times) for name, make in changes.items()}))
    return spoil


def _too_many_rejects(output, batch, plan, times):
    output.rejects = [RowError(0, None, "told to reject")] * times


def _aliased_rejects(output, batch, plan, times):
    output.rejects = [RowError(0, None, "x" * (1 << 20))] * times


def _aliased_columns(output, batch, plan, times):
    text = "x" * (1 << 20)
    output.columns = [Column(plan.write[0].index, b"", ColumnData_Strings(Strings([0, len(text)], text)))] * times


def _huge_output(output, batch, plan, times):
    ends = [row * times for row in range(batch.rows + 1)]
    output.columns[0].data = ColumnData_Strings(Strings(ends, "x" * ends[-1]))


ANSWERS = {
    "short-column": _short_column,
    "long-column": _long_column,
    "wrong-type": _wrong_type,
    "undeclared-column": _undeclared_column,
    "column-twice": _column_twice,
    "bad-state": _state(lambda rows: bytes([7]) * rows),
    "short-state": _state(lambda rows: bytes(max(rows - 1, 1) + 2)),
    "bad-bool": _bad_bool,
    "descending-offsets": _offsets(lambda ends: ends[::-1]),
    "offsets-beyond-end": _offsets(lambda ends: [end + 1_000_000 for end in ends]),
    "first-offset-not-zero": _offsets(lambda ends: [1, *ends[1:]]),
    "offsets-in-character": _offsets_in_character,
    "joined-count": _joined_count,
    "descending-select": _descending_select,
    "select-beyond-end": _select_beyond_end,
    "select-undeclared": _select_undeclared,
    "short-kinds": _set("kinds", lambda batch: bytes([1]) * (batch.rows + 1)),
    "bad-kind": _set("kinds", lambda batch: bytes([9]) * batch.rows),
    "kinds-undeclared": _set("kinds", lambda batch: batch.kinds),
    "short-routes": _set("routes", lambda batch: [0] * (batch.rows + 1)),
    "bad-route": _set("routes", lambda batch: [2] * batch.rows),
    "reject-beyond-end": _reject(row=lambda batch, times: batch.rows),
    "reject-unknown-column": _reject(column=lambda batch, times: 1000),
    "too-many-rejects": _too_many_rejects,
    "long-reject": _reject(message=lambda batch, times: "x" * times),
    "aliased-rejects": _aliased_rejects,
    "aliased-columns": _aliased_columns,
    "huge-output": _huge_output,
}
