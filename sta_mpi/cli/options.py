"""Options of a command, made from the fields of its parameter model."""

import types
import typing
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sta_mpi.jobs.parameters.faults import option_name


def make_options(model: type[BaseModel]) -> list[click.Parameter]:
    """One click option a field, without defaults of its own: the model has them."""
    return [_make_option(name, info) for name, info in model.model_fields.items()]


def _make_option(name: str, info: FieldInfo) -> click.Option:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    declarations = [str(extra["short"])] if "short" in extra else []
    kind, multiple = _click_type(info.annotation)
    help_text = info.description or ""
    if not info.is_required() and info.default is not None and info.default != ():
        help_text += f"  [default: {_show(info.default)}]"
    if kind is click.BOOL:
        declarations.append(f"{option_name(name)}/--no-{name.replace('_', '-')}")
        return click.Option([*declarations, name], default=None, help=help_text)
    return click.Option([*declarations, option_name(name), name], type=kind, default=None,
                        multiple=multiple, help=help_text, metavar=_metavar(kind))


def _click_type(annotation: Any) -> tuple[click.ParamType, bool]:
    """The click type of a field's annotation, and whether it may be given many times."""
    origin = typing.get_origin(annotation)
    arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
    if origin is Literal:
        return click.Choice([str(a) for a in arguments]), False
    if origin in (typing.Union, types.UnionType):
        return _click_type(arguments[0])
    if origin in (list, tuple):
        return _click_type(arguments[0])[0], True
    simple: dict[Any, click.ParamType] = {
        bool: click.BOOL, int: click.INT, float: click.FLOAT, Path: click.Path(path_type=Path)}
    return simple.get(annotation, click.STRING), False


def _metavar(kind: click.ParamType) -> str | None:
    return "PATH" if isinstance(kind, click.Path) else None


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    return str(value)
