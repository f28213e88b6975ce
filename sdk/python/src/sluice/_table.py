"""What a plugin says of a table when it is opened: its plan."""

from wit_world.exports import transformer as contract
from wit_world.imports import types as wit

from sluice._config import Mistake, did_you_mean
from sluice._values import KINDS, WORDS

# Where the first column stands in a row: its kind and its route come before.
FIRST = 2


class Column(int):
    """A column that the plugin reads, writes, or both: `row[column]`. `name` and `type` (`int64`, `timestamptz`, ...: of what is read; of an
    added column, of what is written) can be asked for."""

    def __repr__(self):
        return f"<column {self.name}: {self.type}>"


class Slot:
    """A place of a row."""

    __slots__ = ("index", "name", "type", "reads", "written")

    def __init__(self, index, name, reads):
        self.index, self.name, self.reads = index, name, reads
        # What is written: its type, and its part of the plan.
        self.type, self.written = reads, None

    @property
    def writes(self):
        return self.written is not None


class Table:
    """The table that is being opened: what it has, and what the plugin wants of it.

    Every mistake is collected, so that the user sees all of them at once. A column's name that comes from the configuration knows its place
    there; `at` (a JSON Pointer, see `pointer`) says it where it doesn't."""

    def __init__(self, info):
        self.name, self.schema, self.database, self.version = info.name, info.schema, info.database, info.version
        self._columns = info.columns
        self._names = {column.name: index for index, column in enumerate(info.columns)}
        self._slots, self._of = [], {}
        self._added, self._from, self._made = 0, {}, []
        self._rename, self._drop, self._routes = {}, [], []
        self._selects = self._changes_kinds = self._skipped = False
        self._before_images = True
        self.mistakes = []

    @property
    def columns(self):
        """The names of its columns, in order."""
        return [column.name for column in self._columns]

    @property
    def key(self):
        """The names of its key's columns."""
        return [column.name for column in self._columns if column.key]

    def type_of(self, name):
        """The type of a column, or None if there is none of that name."""
        index = self._names.get(name)
        return None if index is None else WORDS[self._columns[index].type]

    def mistake(self, message, at=""):
        """Something is wrong with the configuration at that place. Say what is allowed."""
        self.mistakes.append(Mistake(message, at))

    def _find(self, name, at):
        at = getattr(name, "at", "") if at is None else at
        if not isinstance(name, str):
            self.mistake("write the name of a column here", at)
            return None, at
        index = self._names.get(name)
        if index is None:
            hint = did_you_mean(name, self._names) or f"it has: {', '.join(self._names)}"
            self.mistake(f"table `{self.name}` has no column `{name}`; {hint}", at)
        return index, at

    def _column(self, place, slot):
        column = Column(place)
        column.name, column.type, column.index = slot.name, slot.type, slot.index
        return column

    def _slot(self, index):
        place = self._of.get(index)
        if place is None:
            info = self._columns[index]
            place = self._of[index] = len(self._slots)
            self._slots.append(Slot(index, info.name, WORDS[info.type]))
        return place

    def read(self, name, types=(), at=None):
        """Reads a column; of one of these types, if any is named."""
        index, at = self._find(name, at)
        if index is None:
            # Never used: `open` fails.
            return self._column(FIRST, Slot(0, str(name), "text"))
        place = self._slot(index)
        slot = self._slots[place]
        if types and slot.reads not in types:
            self.mistake(f"column `{name}` is {slot.reads}, but must be {' or '.join(types)}", at)
        column = self._column(place + FIRST, slot)
        column.type = slot.reads
        return column

    def edit(self, name, types=(), to=None, at=None):
        """Reads a column (of one of these types, if any is named) and writes it in place. A row that doesn't set it keeps its value. `to`:
        as another type; then every row that has a value must set it, null and absent stay."""
        known = len(self.mistakes)
        column = self.read(name, types, at)
        if len(self.mistakes) > known:
            return column
        at = getattr(name, "at", "") if at is None else at
        slot, info = self._slots[column - FIRST], self._columns[column.index]
        if slot.writes:
            self.mistake(f"column `{name}` is written twice", at)
            return column
        slot.type = self._known_type(to, at) if to else slot.reads
        native = info.native if slot.type == slot.reads else ""
        made = wit.ColumnInfo(info.name, KINDS[slot.type], native, info.nullable, info.key)
        slot.written = contract.Written(column.index, made, [], True)
        return column

    def add(self, name, type="text", at=None):
        """Adds a column. A row that doesn't set it has null there, or nothing if a column that it is computed from is absent."""
        at = getattr(name, "at", "") if at is None else at
        slot = Slot(len(self._columns) + self._added, str(name), None)
        self._added += 1
        slot.type = self._known_type(type, at)
        slot.written = contract.Written(slot.index, wit.ColumnInfo(slot.name, KINDS[slot.type], "", True, False), [], True)
        self._slots.append(slot)
        self._made.append((slot.name, at))
        return self._column(len(self._slots) - 1 + FIRST, slot)

    def _known_type(self, type, at):
        if type in KINDS:
            return str(type)
        self.mistake(f"there is no type `{type}`; {did_you_mean(str(type), KINDS) or 'there are: ' + ', '.join(KINDS)}", at)
        return "text"

    def computed_from(self, written, *columns):
        """Says what a written column is computed from, where that isn't everything that the plugin reads. Keys, lineage and verification
        rest on it: leave nothing out."""
        self._from[written.index] = [column.index for column in columns]

    def never_null(self, written):
        """Says that a written column never holds null."""
        self._slots[written - FIRST].written.column.nullable = False

    def native(self, written, native):
        """Gives a written column the source's own type name (`numeric(18,4)`), for a target of the same kind."""
        self._slots[written - FIRST].written.column.native = native

    def not_deterministic(self, written):
        """Says that the same input may give another output: no key, route or verification may rest on this column."""
        self._slots[written - FIRST].written.deterministic = False

    def rename(self, name, to, at=None):
        """Renames a column. Moves no data."""
        index, at = self._find(name, at)
        if index is None:
            return
        if index in self._rename:
            self.mistake(f"column `{name}` is renamed twice", at)
        elif not isinstance(to, str) or not to:
            self.mistake("a column needs a name", at)
        else:
            self._rename[index] = str(to)
            self._made.append((to, getattr(to, "at", at)))

    def drop(self, name, at=None):
        """Drops a column. Moves no data."""
        index, _ = self._find(name, at)
        if index is not None and index not in self._drop:
            self._drop.append(index)

    def route(self, name):
        """Adds a target that rows may be sent to: `row.route = table.route("vip")`. 0 is the default one."""
        if name not in self._routes:
            self._routes.append(str(name))
        return self._routes.index(name) + 1

    def selects(self):
        """Announces that rows may be dropped or copied."""
        self._selects = True

    def changes_kinds(self):
        """Announces that rows may change their kind."""
        self._changes_kinds = True

    def no_before_images(self):
        """Does without the images of updated rows as they were. Refused by the host where both sides are needed."""
        self._before_images = False

    def skip(self):
        """Isn't interested in this table: it passes by untouched."""
        self._skipped = True

    def _collisions(self):
        """Two columns of one name, at least one of which the plugin made."""
        gone = {*self._drop, *self._rename}
        taken = {column.name: "the table has already" for index, column in enumerate(self._columns) if index not in gone}
        for name, at in self._made:
            if name in taken:
                self.mistake(f"there would be two columns `{name}`: {taken[name]} one of that name", at)
            taken.setdefault(name, f"{at} makes")

    def finish(self):
        """The plan, or None where the plugin isn't interested. Mistakes are left to be looked at."""
        self._collisions()
        read = [slot.index for slot in self._slots if slot.reads]
        written = [slot.written for slot in self._slots if slot.writes]
        # New columns are numbered in the order in which they were added; those in place come first.
        written.sort(key=lambda written: written.index)
        for one in written:
            one.from_ = self._from.get(one.index, read)
        if self._skipped:
            return None
        return contract.Plan(
            read=read, write=written, rename=list(self._rename.items()), drop=self._drop, before_images=self._before_images,
            selects=self._selects, changes_kinds=self._changes_kinds, joined_text=True, routes=self._routes,
        )

