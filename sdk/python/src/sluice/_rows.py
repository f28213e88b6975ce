"""A plugin as a function of one row, or of the columns of many."""

from itertools import repeat

from wit_world.exports import transformer as contract
from wit_world.imports import types as wit

from sluice._table import FIRST, Column
from sluice._values import ABSENT, UNSET, Misuse, decode, encode

# The host takes no longer message with an event.
MESSAGE_BYTES = 1 << 10

KINDS = ("snapshot", "insert", "before", "after", "delete")


def printable(text):
    """Text as the host takes it. What it doesn't take would end the instance: half of a surrogate pair, or too much."""
    return text.encode("utf-8", "replace")[:MESSAGE_BYTES].decode("utf-8", "ignore")


def numbers(what, values, most):
    """Numbers as the host takes them."""
    values = list(values)
    if not set(map(type, values)) <= {int} or values and (min(values) < 0 or max(values) > most):
        raise Misuse(f"{what} are integers from 0 to {most}")
    return values


class Reject(Exception):
    """The event is refused: it becomes a dead letter with the values that it came with. `why` is kept with it, never logged. `column` is the
    one that is to blame."""

    def __init__(self, why, column=None):
        super().__init__(why)
        self.why, self.column = str(why), column

    def at(self, row):
        if self.column is not None and not isinstance(self.column, Column):
            raise Misuse(f"Reject(why, column) takes what open() got from the table, not {self.column!r:.100}")
        return contract.RowError(row, None if self.column is None else self.column.index, printable(self.why))


class _Drop:
    """The row goes no further."""

    __slots__ = ()

    def __repr__(self):
        return "DROP"

    def __iter__(self):
        return iter(())


DROP = _Drop()
"""What `row` answers for a row that goes no further. Needs `table.selects()`."""


class Row(list):
    """One row image. `row[column]` is a value, `None` (null) or `ABSENT` (the log did not carry it); setting it writes a column that `open` asked
    for by `edit` or `add`. (A list, whose first two items are its kind and its route: nothing is faster.)"""

    __slots__ = ()

    @property
    def kind(self):
        """What the image is: `snapshot`, `insert`, `before` and `after` (of an update), `delete`."""
        return KINDS[self[0]]

    @kind.setter
    def kind(self, kind):
        self[0] = KINDS.index(kind)

    @property
    def route(self):
        """The target: 0, or what `table.route(name)` gave."""
        return self[1]

    @route.setter
    def route(self, route):
        self[1] = route

    def copy(self):
        """Another row with the same values: `return [row, other]`."""
        return Row(self)


class Opened:
    """An opened table."""

    def __init__(self, plugin, table, plan):
        self.plan = plan
        self.slots = table._slots
        self.reads = [slot for slot in self.slots if slot.reads]
        self.written = [(place, slot) for place, slot in enumerate(self.slots, FIRST) if slot.writes]
        # Where the columns that an added one is computed from stand in a row.
        places = {slot.index: place for place, slot in enumerate(self.slots, FIRST)}
        self.sources = {slot.index: [places[index] for index in slot.written.from_] for _, slot in self.written if not slot.reads}
        self.selects, self.changes_kinds, self.routes = plan.selects, plan.changes_kinds, len(plan.routes)
        by_rows = getattr(plugin, "row", None)
        self.call = by_rows or plugin.rows
        self.transform = self.by_row if by_rows else self.by_column

    def by_row(self, batch):
        rows = batch.rows
        columns = {slot.index: decode(column, slot.reads, rows) for slot, column in zip(self.reads, batch.columns)}
        made = [columns[slot.index] if slot.reads else repeat(UNSET, rows) for slot in self.slots]
        call, rejects, at = self.call, [], -1
        kept = list(map(Row, zip(batch.kinds, repeat(0), *made)))
        select = None
        try:
            if self.selects:
                images, kept, select = kept, [], []
                for at, row in enumerate(images):
                    try:
                        answer = call(row)
                    except Reject as reject:
                        rejects.append(reject.at(at))
                        answer = self.blank(row)
                    if answer is None or answer is row:
                        kept.append(row)
                        select.append(at)
                        continue
                    for copy in answer:
                        if type(copy) is not Row:
                            raise Misuse(f"row() answered with {copy!r:.100} among its rows")
                        # It may be changed before the next one is asked for.
                        kept.append(Row(copy))
                        select.append(at)
            else:
                for at, row in enumerate(kept):
                    try:
                        answer = call(row)
                    except Reject as reject:
                        rejects.append(reject.at(at))
                        self.blank(row)
                    else:
                        if answer is not None and answer is not row:
                            raise Misuse("a row was dropped or copied, but open() didn't call table.selects()")
        except TypeError as error:
            if at >= 0 and error.__traceback__.tb_next is None:
                raise Misuse(f"row() answered with {answer!r:.100}: return nothing, DROP, or rows") from error
            raise
        ended = list(zip(*kept)) or [()] * (len(self.slots) + FIRST)
        output = contract.Output([], select, b"", [], rejects)
        if self.changes_kinds:
            output.kinds = bytes(ended[0])
        if self.routes:
            output.routes = numbers("routes", ended[1], self.routes)
        for place, slot in self.written:
            values = ended[place]
            if slot.reads is None:
                values = self.filled(slot, values, ended)
            state, data = encode(slot, values)
            output.columns.append(wit.Column(slot.index, state, data))
        return output

    def blank(self, row):
        """A refused row: its values are ignored."""
        for place, _ in self.written:
            row[place] = None

    def filled(self, slot, values, ended):
        """Of an added column, null where it was not set, or absent where what it is computed from is."""
        if UNSET not in values:
            return values
        sources = [ended[place] for place in self.sources[slot.index]]
        known = zip(*sources) if sources else repeat(())
        return [(ABSENT if ABSENT in of else None) if value is UNSET else value for value, of in zip(values, known)]

    def by_column(self, batch):
        columns = Batch(self, batch)
        self.call(columns)
        return columns._answer()


class Batch:
    """Row images, column by column. `batch[column]` is a list of values, None and ABSENT; setting it writes a column that `open` asked for by
    `edit` or `add`, with one value per image (after `select`: per image that was selected). One that isn't set stays as it is; an added one
    is null."""

    def __init__(self, opened, batch):
        self._opened, self._batch, self._written, self._rejects = opened, batch, {}, []
        self._decoded = {}
        self.selected = self.new_kinds = self.routes = None

    def __len__(self):
        return self._batch.rows

    @property
    def kinds(self):
        """What each image is: see `Row.kind`."""
        return [KINDS[kind] for kind in self._batch.kinds]

    def __getitem__(self, column):
        place = column - FIRST
        if place not in self._decoded:
            slot = self._opened.slots[place]
            at = next((at for at, read in enumerate(self._opened.reads) if read is slot), None)
            if at is None:
                raise Misuse(f"column `{slot.name}` was only added: there is nothing to be read")
            self._decoded[place] = decode(self._batch.columns[at], slot.reads, self._batch.rows)
        return self._decoded[place]

    def __setitem__(self, column, values):
        slot = self._opened.slots[column - FIRST]
        if not slot.writes:
            raise Misuse(f"column `{slot.name}` was set, but open() only read it: ask for it by edit() or add()")
        self._written[slot.index] = (slot, values)

    def select(self, images):
        """Keeps these images (numbers, never descending; repeated for copies). Needs `table.selects()`."""
        self.selected = numbers("selected images", images, len(self) - 1)

    def send_to(self, routes):
        """The route of each image that is kept: 0, or what `table.route(name)` gave."""
        self.routes = numbers("routes", routes, self._opened.routes)

    def turn_into(self, kinds):
        """The kind of each image that is kept. Needs `table.changes_kinds()`."""
        self.new_kinds = bytes(map(KINDS.index, kinds))

    def reject(self, image, why, column=None):
        """Refuses the event of an image."""
        self._rejects.append(Reject(why, column).at(image))

    def _answer(self):
        output = contract.Output([], self.selected, self.new_kinds or b"", self.routes or [], self._rejects)
        rows = self._batch.rows if self.selected is None else len(self.selected)
        for slot, values in self._written.values():
            values = list(values)
            if len(values) != rows:
                raise Misuse(f"column `{slot.name}` was set to {len(values)} values, where there are {rows} rows")
            state, data = encode(slot, values)
            output.columns.append(wit.Column(slot.index, state, data))
        return output
