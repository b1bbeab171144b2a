"""`splatbench methods`: what can be run, and with which settings."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this method's settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Lists the methods, or one method's settings with their defaults.

    Example: splatbench methods gaussianimage
    """
    from splatbench.method import available, get_method

    names = [name] if name is not None else list(available())
    found = {}
    broken = {}
    for each in names:
        try:
            found[each] = _facts(get_method(each))
        except Exception as error:
            if name is not None:
                raise
            broken[each] = f"{type(error).__name__}: {error}"
    if as_json:
        typer.echo(json.dumps({"methods": found, "broken": broken}, indent=2, default=str))
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    if name is None:
        console.print(_table(found))
    else:
        _show(console, name, found[name])
    for each, why in broken.items():
        console.print(f"[red]{escape(each)}[/red] cannot be loaded: {escape(why)}")


def _facts(method: Any) -> dict[str, Any]:
    from splatbench.report.method_settings import settings_of

    return {
        "title": method.title,
        "paper": method.paper,
        "control": method.control,
        "blend": method.blend,
        "devices": list(method.devices),
        "devices on request": list(method.on_request),
        "budgets": list(method.budgets),
        "settings": {
            setting.name: {"type": setting.type, "default": setting.default} for setting in settings_of(method)
        },
    }


def _table(found: dict[str, dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for heading in ("method", "title", "budgets", "devices", ""):
        table.add_column(heading)
    for name, facts in found.items():
        kind = "control" if facts["control"] else ""
        table.add_row(name, facts["title"], ", ".join(facts["budgets"]), ", ".join(facts["devices"]), kind)
    return table


def _show(console: Any, name: str, facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console.print(f"[bold]{escape(name)}[/bold]: {escape(facts['title'])}")
    if facts["paper"]:
        console.print(escape(facts["paper"]))
    console.print(f"budgets: {', '.join(facts['budgets'])}; devices: {', '.join(facts['devices'])}")
    table = Table(box=None, header_style="bold")
    for heading in ("setting", "default", "type"):
        table.add_column(heading)
    for setting, about in facts["settings"].items():
        table.add_row(escape(setting), escape(str(about["default"])), escape(about["type"]))
    console.print(table)
    console.print(
        f"Example: splatbench run photo.png --method {name} ... --set {next(iter(facts['settings']), 'key')}=value"
    )
