"""A guest that does, on command, everything a guest may do and much that it may not: the host is tested with it. The commands are those of
the Rust SDK's probe (`sdk/rust/probe/src/config.rs`). What is right goes through the SDK; what is wrong is done to what the SDK has made."""

import os

import sluice._component
from sluice import DROP, Reject, plugin
from sluice._rows import Opened

import misbehave


@plugin
class Probe:
    """Does what its configuration says, right or wrong"""

    config_schema = {"type": "object", "required": ["do"]}

    def open(self, table, config):
        known = misbehave.PLANS.keys() | misbehave.ANSWERS.keys() | self.ROWS.keys()
        self.action = config.word("do", sorted(known | {"config-errors", "decline", "trap-at-open", "spin-at-open"}))
        self.times = config.integer("times", 2)
        read = config.texts("read", table.columns)
        when = config.mapping("when", None)
        self.equals = when.text("equals") if when else None
        self.version = config.text("version", None)
        config.flag("joined", True)  # text always comes joined
        if self.action == "config-errors":
            table.mistake("told to refuse this", "/do")
            table.mistake("and this", "/version")
            return
        if self.action == "decline":
            return table.skip()
        if self.action == "trap-at-open":
            os.abort()
        if self.action == "spin-at-open":
            spin()
        writes = self.action != "nothing" and self.version is None
        columns = []
        for name in read:
            columns.append(table.edit(name) if writes else table.read(name))
            if writes:
                table.computed_from(columns[-1], columns[-1])
        self.first = columns[0] if columns else None
        self.when = next((column for column in columns if when and column.name == when.text("column")), None)
        self.always = when is None
        if when is not None:
            when.text("column")
        self.added = None
        if self.version is not None:
            self.added = table.add("version", "text")
            table.never_null(self.added)
            table.computed_from(self.added)
        for name, to in config.get("rename", []):
            table.rename(name, to)
        for name in config.texts("drop", []):
            table.drop(name)
        if config.flag("no-before-images", False):
            table.no_before_images()
        if config.flag("selects", False) or self.action in misbehave.SELECTS:
            table.selects()
        if self.action in misbehave.CHANGES_KINDS:
            table.changes_kinds()
        if self.action in misbehave.ROUTES:
            table.route("side")
        self.do = self.ROWS.get(self.action, echo)

    def is_meant(self, row):
        """Whether the command is about this row."""
        return self.always or self.when is not None and str(row[self.when]) == self.equals

    def row(self, row):
        if self.added is not None:
            row[self.added] = str(self.version)
        return self.do(self, row, self.is_meant(row))


def echo(probe, row, meant):
    """Every value as it came."""


def drop(probe, row, meant):
    return DROP if meant else None


def reject(probe, row, meant):
    if meant:
        raise Reject("told to reject", probe.first)


def fan_out(probe, row, meant):
    return [row] * probe.times if meant else None


def route(probe, row, meant):
    row.route = 1 if meant else 0


def soft_delete(probe, row, meant):
    if meant and row.kind == "delete":
        row.kind = "after"


def history(probe, row, meant):
    if row.kind == "before":
        return DROP
    if row.kind != "snapshot":
        row.kind = "insert"


def fail(probe, row, meant):
    if meant:
        raise RuntimeError("told to fail the batch")


def trap(probe, row, meant):
    if meant:
        os.abort()


def spin(*probe):
    if not probe or probe[-1]:
        while True:
            pass


def allocate(probe, row, meant):
    held = []
    while meant:
        held.append(bytearray(1 << 20))


def recurse(probe, row, meant):
    if meant:
        recurse(probe, row, meant)


Probe.ROWS = {
    "nothing": echo, "echo": echo, "drop": drop, "reject": reject, "fan-out": fan_out, "route": route, "soft-delete": soft_delete,
    "history": history, "fail": fail, "trap": trap, "spin": spin, "allocate": allocate, "recurse": recurse,
}


class Misbehaving(Opened):
    """An opened table whose plan and answers are spoilt on command."""

    def __init__(self, probe, table, plan):
        super().__init__(probe, table, plan)
        self.probe = probe
        if probe.action in misbehave.PLANS:
            misbehave.PLANS[probe.action](plan, len(table.columns) + 7, table.columns)
        answer = self.transform

        def transform(batch):
            output = answer(batch)
            if probe.action in misbehave.ANSWERS and self.is_meant(batch):
                misbehave.ANSWERS[probe.action](output, batch, plan, probe.times)
            return output

        self.transform = transform

    def is_meant(self, batch):
        """Whether the command is about a row of this batch."""
        if self.probe.when is None:
            return self.probe.always
        at = self.plan.read.index(self.probe.when.index)
        value = batch.columns[at].data.value
        texts = value.data.split("\0") if hasattr(value, "data") else map(str, value)
        return self.probe.equals in texts


sluice._component.Opened = Misbehaving
