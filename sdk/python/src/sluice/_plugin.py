"""Which class is the plugin."""

_plugins = []


def plugin(cls):
    """Says that this class is the plugin. It has `open(self, table, config)`, and `row(self, row)` or `rows(self, batch)`. Its docstring's
    first line says what it does; `config_schema`, if there is one, is a JSON Schema of the configuration (a dict)."""
    if not callable(getattr(cls, "open", None)):
        raise TypeError(f"{cls.__name__} needs a method open(self, table, config)")
    if callable(getattr(cls, "row", None)) == callable(getattr(cls, "rows", None)):
        raise TypeError(f"{cls.__name__} needs either a method row(self, row) or a method rows(self, batch)")
    _plugins.append(cls)
    return cls
