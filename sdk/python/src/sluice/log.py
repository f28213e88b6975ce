"""Lines for the engine's log, with pipeline and plugin. The plugin says `imports = ["log"]` under `[tool.sluice]` in its pyproject.toml, and the
step needs `grant: { log: {} }`. A line is cut after 1 KiB, and of more than 10 a second only their number is told."""

try:
    from wit_world.imports import log as _host
except ImportError:
    raise ImportError('this plugin may not log: write imports = ["log"] under [tool.sluice] in pyproject.toml') from None


def debug(message):
    """For those who look for a fault of the plugin."""
    _host.log(_host.Level.DEBUG, str(message))


def info(message):
    """Worth knowing."""
    _host.log(_host.Level.INFO, str(message))


def warn(message):
    """Something is odd."""
    _host.log(_host.Level.WARN, str(message))


def error(message):
    """Something is wrong."""
    _host.log(_host.Level.ERROR, str(message))
