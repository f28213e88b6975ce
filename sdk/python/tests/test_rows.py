"""Rows and batches through a plugin."""

import subprocess
import sys
import unittest

from support import Opened, mistakes, table
from sluice import ABSENT, DROP, Reject, parse_integer
from sluice._component import told
from sluice._values import Misuse

PEOPLE = table(id="int64", name="text", email="text", amount="text")


def person(email, amount="1"):
    return (1, "Ann", email, amount)


class Normalise:
    """The plugin of the contract's measurements."""

    def open(self, table, config):
        if config.flag("select", False):
            table.selects()
        self.email, self.amount = table.edit(config.text("column")), table.read("amount", at="/amount")
        self.out, self.vip = table.add("amount_int", "int64"), table.route("vip")
        table.rename("name", "full_name")

    def row(self, row):
        amount, email = row[self.amount], row[self.email]
        if isinstance(amount, str):
            number = parse_integer(amount)
            if number is None:
                raise Reject("not a number", self.amount)
            amount = number
        row[self.out] = amount
        if not isinstance(email, str):
            return None
        row[self.email] = email = email.lower()
        if "+vip" in email:
            row.route = self.vip
        if email == "":
            return DROP
        if email.startswith("dup"):
            return [row, row]
        return None


class Split:
    """One row per word."""

    def open(self, table, config):
        table.selects()
        self.name = table.edit("name")

    def row(self, row):
        for word in (row[self.name] or "").split(" "):
            row[self.name] = word
            yield row


class Whole:
    """By columns."""

    def open(self, table, config):
        table.selects()
        self.email, self.twice = table.edit("email"), table.add("twice", "int64")
        self.id = table.read("id")

    def rows(self, batch):
        kept = [at for at, email in enumerate(batch[self.email]) if email]
        batch.select(kept)
        batch[self.twice] = [batch[self.id][at] * 2 for at in kept]
        batch[self.email] = [batch[self.email][at].upper() for at in kept]
        batch.reject(0, "the first", self.email)


class Rows(unittest.TestCase):
    def test_null_and_absent_pass_and_stay_apart(self):
        opened = Opened(Normalise, PEOPLE, {"column": "email"})
        output = opened.transform([person("Ä@X", "12"), person(ABSENT, ABSENT), person(None, None)], ["insert", "before", "after"])
        self.assertEqual(opened.written(output, "email"), ["ä@x", ABSENT, None])
        self.assertEqual(opened.written(output, "amount_int"), [12, ABSENT, None])
        self.assertEqual((output.select, output.routes), (None, [0, 0, 0]))
        self.assertEqual(opened.plan.rename, [(1, "full_name")])

    def test_rows_are_dropped_copied_routed_and_refused(self):
        opened = Opened(Normalise, PEOPLE, {"column": "email", "select": True})
        output = opened.transform([person(""), person("DUP+vip"), person("B", "x"), person("C")])
        self.assertEqual(output.select, [1, 1, 2, 3])
        self.assertEqual(output.routes, [1, 1, 0, 0])
        emails = opened.written(output, "email")
        self.assertEqual((emails[0], emails[1], emails[3]), ("dup+vip", "dup+vip", "c"))
        self.assertEqual([(reject.row, reject.column, reject.message) for reject in output.rejects], [(2, 3, "not a number")])

    def test_one_row_becomes_several(self):
        opened = Opened(Split, PEOPLE)
        output = opened.transform([(1, "a bc", "", ""), (2, "d", "", "")])
        self.assertEqual(output.select, [0, 0, 1])
        self.assertEqual(opened.written(output, "name"), ["a", "bc", "d"])

    def test_all_rows_may_be_dropped(self):
        opened = Opened(Normalise, PEOPLE, {"column": "email", "select": True})
        output = opened.transform([person("")])
        self.assertEqual((output.select, opened.written(output, "email")), ([], []))

    def test_by_columns(self):
        opened = Opened(Whole, PEOPLE)
        output = opened.transform([person("a"), person(""), person("é")])
        self.assertEqual((output.select, opened.written(output, "email")), ([0, 2], ["A", "É"]))
        self.assertEqual(opened.written(output, "twice"), [2, 2])
        self.assertEqual(output.rejects[0].message, "the first")

    def test_an_added_column_that_is_not_set_is_null_or_absent(self):
        class Adds:
            def open(self, table, config):
                table.read("email")
                table.add("a")

            def row(self, row):
                pass

        opened = Opened(Adds, PEOPLE)
        output = opened.transform([person("x"), person(ABSENT), person(None)])
        self.assertEqual(opened.written(output, "a"), [None, ABSENT, None])

    def test_what_open_did_not_announce_is_said(self):
        class Careless:
            def open(self, table, config):
                self.id = table.edit("id", to="text") if config.flag("retype", False) else table.read("id")

            def row(self, row):
                return DROP if row[self.id] == 0 else 7 if row[self.id] == 1 else None

        opened = Opened(Careless, PEOPLE)
        for row, said in [((0, "", "", ""), "didn't call table.selects()"), ((1, "", "", ""), "didn't call table.selects()")]:
            with self.assertRaisesRegex(Misuse, said.replace("(", r"\(").replace(")", r"\)")):
                opened.transform([row])
        with self.assertRaisesRegex(Misuse, "column `id` is text and can't be set to int"):
            Opened(Careless, PEOPLE, {"retype": True}).transform([(5, "", "", "")])

    def test_what_the_host_would_not_take_is_said_or_cut(self):
        class Refuses:
            def open(self, table, config):
                self.id, self.vip = table.edit("id"), table.route("vip")

            def row(self, row):
                if row[self.id] == 0:
                    raise Reject("é" * 1000 + "\ud800")
                if row[self.id] == 1:
                    raise Reject("why", "id")
                row.route = "vip"

        opened = Opened(Refuses, PEOPLE)
        message = opened.transform([(0, "", "", "")]).rejects[0].message
        self.assertEqual(len(message.encode()), 1024)
        with self.assertRaisesRegex(Misuse, "takes what open.. got from the table, not 'id'"):
            opened.transform([(1, "", "", "")])
        with self.assertRaisesRegex(Misuse, "routes are integers from 0 to 1"):
            opened.transform([(2, "", "", "")])

    def test_an_exception_is_told_with_its_way(self):
        def tidy(values):
            return values["boom é"]

        try:
            tidy({})
        except KeyError as error:
            said = told(error)
        self.assertRegex(said, r"^KeyError: 'boom é' < tidy \(test_rows.py:\d+\) < test_an_exception_is_told_with_its_way \(test_rows.py:\d+\)$")


class Sandbox(unittest.TestCase):
    def test_what_is_not_there_is_an_exception(self):
        script = """
import sluice._component as component
component._seal()
component._seal()
import time
for ask in (lambda: open("plugin.py"), time.time, lambda: time.sleep(1), lambda: __import__("colorsys")):
    try:
        ask()
    except (OSError, ImportError) as error:
        print(error)
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.splitlines(), [
            "there is no file where rows flow",
            "there is no clock where rows flow",
            "there is no clock where rows flow",
            "`colorsys` is not in the plugin: import it at the top of the plugin, not while it runs",
        ])


class Mistakes(unittest.TestCase):
    def test_all_come_at_once_with_their_place(self):
        self.assertEqual(mistakes(Normalise, table(id="int64", emial="text"), {"column": "email"}), [
            "/column: table `t` has no column `email`; did you mean `emial`?",
            "/amount: table `t` has no column `amount`; it has: id, emial",
            ": table `t` has no column `name`; it has: id, emial",
        ])

    def test_what_is_missing_unknown_or_of_another_type(self):
        self.assertEqual(mistakes(Normalise, PEOPLE, {}), [": `column` is missing"])
        self.assertEqual(mistakes(Normalise, PEOPLE, {"column": 7}), ["/column: write text here, not a number"])
        self.assertEqual(mistakes(Normalise, PEOPLE, {"column": "email", "slect": True}), [
            "/slect: unknown key `slect`; did you mean `select`? allowed: column, select"])
        self.assertEqual(mistakes(Normalise, PEOPLE, {"column": "email", "select": 1}), ["/select: write true or false here, not a number"])

    def test_what_broke_is_a_mistake_too(self):
        class Breaks:
            def open(self, table, config):
                raise ValueError("why")

            def row(self, row):
                pass

        self.assertRegex(mistakes(Breaks, PEOPLE, {})[0], r"^: the plugin broke: ValueError: why < open \(test_rows.py:\d+\)$")

    def test_two_columns_of_one_name(self):
        class Twice:
            def open(self, table, config):
                table.add("id", at="/a")
                table.rename("name", "email", at="/b")
                table.edit("amount", to="integer", at="/c")

            def row(self, row):
                pass

        self.assertEqual(mistakes(Twice, PEOPLE, {}), [
            "/c: there is no type `integer`; there are: boolean, int64, uint64, float32, float64, decimal, text, bytes, date, time, "
            "timestamp, timestamptz, interval, uuid, json, array, document, object-id, enumeration, extended",
            "/a: there would be two columns `id`: the table has already one of that name",
            "/b: there would be two columns `email`: the table has already one of that name",
        ])


if __name__ == "__main__":
    unittest.main()
