"""The component: what the host calls, in the plugin's name."""

import builtins
import importlib
import inspect
import io
import json
import sys
import time

# What Python would load only when it is first needed, and then from files, of which there are none where rows flow.
import _strptime  # noqa: F401
import encodings.ascii  # noqa: F401
import encodings.cp1252  # noqa: F401
import encodings.idna  # noqa: F401
import encodings.latin_1  # noqa: F401
import encodings.utf_16  # noqa: F401
import encodings.utf_32  # noqa: F401
import encodings.utf_8_sig  # noqa: F401
import unicodedata  # noqa: F401

from componentize_py_types import Err
from wit_world.imports import types as wit

from sluice import _plugin
from sluice._config import Config, Mistake
from sluice._rows import Opened, printable
from sluice._table import Table
from sluice._values import Misuse

_SDK = __file__.rsplit("/", 1)[0]


def told(error):
    """An exception in one line, with the way that it took: `KeyError: 'x' < tidy (plugin.py:44)`. Python's own traceback would look for the
    source's files, of which there are none, and end the instance."""
    if isinstance(error, (Misuse, Mistake)):
        return str(error)
    way, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(_SDK):
            way.append(f" < {code.co_name} ({code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno})")
        trace = trace.tb_next
    try:
        said = str(error)
    except Exception as worse:
        said = f"(and its text can't be had: {type(worse).__name__})"
    return f"{type(error).__name__}{': ' if said else ''}{said}{''.join(reversed(way))}"


class _NoFiles:
    """Stands where Python looks for modules in files."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        raise ModuleNotFoundError(f"`{name}` is not in the plugin: import it at the top of the plugin, not while it runs", name=name)


def _absent(what):
    """Stands where Python would end the instance over what isn't there."""

    def absent(*arguments, **named):
        raise OSError(f"there is no {what} where rows flow")

    return absent


_ABSENT = [(builtins, "open", "file"), (io, "open", "file")]
_ABSENT += [(time, name, "clock") for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")]


def _seal():
    """Where rows flow there are no files: an import is an exception with words, not the end of the instance."""
    if sys.meta_path[-1] is _NoFiles:
        return
    keep = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") in ("BuiltinImporter", "FrozenImporter")]
    sys.meta_path[:] = [*keep, _NoFiles]
    for module, name, what in _ABSENT:
        setattr(module, name, _absent(what))


def of(module, name, version):
    """What the host calls, for the class that the module says is its plugin."""
    importlib.import_module(module)
    found = _plugin._plugins
    if len(found) != 1:
        raise SystemExit(f"{module}.py has {len(found)} classes marked by @sluice.plugin; it needs one")
    cls = found[0]
    schema = getattr(cls, "config_schema", {})
    schema = schema if isinstance(schema, str) else json.dumps(schema)
    summary = (inspect.getdoc(cls) or "").split("\n")[0]
    info = wit.Info(name, version, summary, schema)

    # The host's calls come to an instance each.
    tables = {}

    class Transformer:
        def describe(self):
            _seal()
            return info

        def open(self, handle, table, config):
            _seal()
            opened, mistakes = open_table(cls, table, config)
            if mistakes:
                raise Err([wit.ConfigError(mistake.at, printable(mistake.message)) for mistake in mistakes])
            if opened is None:
                return None
            tables[handle] = opened
            return opened.plan

        def close(self, handle):
            tables.pop(handle, None)

        def transform(self, handle, batch):
            try:
                return tables[handle].transform(batch)
            except BaseException as error:  # whatever the plugin does
                raise Err(printable(told(error))) from None

    return Transformer


def open_table(cls, info, config):
    """An opened table (or None, if the plugin isn't interested) and the mistakes."""
    table = Table(info)
    try:
        config = json.loads(config) if config.strip() else {}
        if not isinstance(config, (dict, type(None))):
            return None, [Mistake("write a mapping here")]
        config = Config(config or {})
        plugin = cls()
        plugin.open(table, config)
    except Mistake as mistake:
        table.mistakes.append(mistake)
    except BaseException as error:  # whatever the plugin does
        return None, [*table.mistakes, Mistake(f"the plugin broke: {told(error)}")]
    if not table.mistakes:
        # After other mistakes, a key may not have been reached.
        table.mistakes.extend(config.unseen())
    plan = table.finish()
    if table.mistakes or plan is None:
        return None, table.mistakes
    return Opened(plugin, table, plan), []
