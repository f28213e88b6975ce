"""build.py DIR WIT SDK WORK: makes WORK/plugin.wasm of the plugin in DIR. Run by build-guest, with componentize-py on the path."""

import pathlib
import re
import shutil
import sys

import componentize_py

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    from pip._vendor import tomli as tomllib

HOSTED = ("crypto", "log")


def main(folder, wit, sdk, work):
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    about = project.get("project", {})
    ours = project.get("tool", {}).get("sluice", {})
    unknown = sorted(set(ours) - {"module", "imports", "wasi"})
    if unknown:
        sys.exit(f"pyproject.toml: [tool.sluice] has no `{unknown[0]}`; it may have: module, imports")
    for key in ("name", "version"):
        if not isinstance(about.get(key), str):
            sys.exit(f"pyproject.toml: [project] needs a `{key}`")
    module = ours.get("module", "plugin")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", module):
        sys.exit(f"pyproject.toml: [tool.sluice] module = {module!r} is not the name of a Python module")
    if not any((folder / place).exists() for place in (f"{module}.py", f"{module}/__init__.py")):
        sys.exit(f"there is no {module}.py ([tool.sluice] module in pyproject.toml names another)")
    imports = ours.get("imports", [])
    for name in imports:
        if name not in HOSTED:
            sys.exit(f"pyproject.toml: [tool.sluice] imports: the host has no `{name}`; it has: {', '.join(HOSTED)}")

    # Only what a plugin names is imported: Python's bindings can't tell what is used.
    shutil.copytree(wit, work / "wit")
    asked = "".join(f" import {name};" for name in imports)
    world = f"package sluice:plugin@0.1.0;\nworld python-plugin {{{asked} export transformer; }}\n"
    (work / "wit" / "python.wit").write_text(world)
    # What the component starts from.
    start = f"import sluice._component\n\nTransformer = sluice._component.of({module!r}, {about['name']!r}, {about['version']!r})\n"
    (work / "start").mkdir()
    (work / "start" / "sluice_start.py").write_text(start, encoding="utf-8")

    places = [work / "start", folder, *(vendor for vendor in [folder / "vendor"] if vendor.is_dir()), sdk]
    arguments = ["componentize-py", "-q", "-d", str(work / "wit"), "-w", "python-plugin", "componentize"]
    if not ours.get("wasi", False):
        arguments.append("--stub-wasi")
    for place in places:
        arguments += ["-p", str(place)]
    sys.argv = [*arguments, "-o", str(work / "plugin.wasm"), "sluice_start"]
    try:
        return componentize_py.script()
    except AssertionError as error:
        # What follows is about componentize-py's own code.
        sys.exit(re.split(r"\n+(?:Caused by|Stack backtrace):", str(error))[0])


if __name__ == "__main__":
    sys.exit(main(*(pathlib.Path(argument).resolve() for argument in sys.argv[1:])))
