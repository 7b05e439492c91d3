"""What is wrong with given parameters, one line each, and the model that a command takes."""

import importlib
import importlib.util
from typing import Any

from pydantic import ValidationError

from sta_mpi.errors import UsageError
from sta_mpi.jobs.parameters.base import JobParameters

_EXPECTED = {
    "greater_than_equal": "at least {ge}", "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}", "less_than": "less than {lt}",
    "int_type": "a whole number", "int_parsing": "a whole number",
    "int_from_float": "a whole number", "int_parsing_size": "a smaller whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "bool_type": "true or false", "bool_parsing": "true or false",
    "string_type": "a text", "path_type": "a path", "literal_error": "{expected}",
    "tuple_type": "a list", "list_type": "a list"}
"""pydantic's type of fault -> what was expected."""


def parameter_model(command: str) -> type[JobParameters]:
    """The parameter model of a command that runs as a job; UsageError where there is none."""
    module = command.replace("-", "_")
    name = "".join(word.capitalize() for word in command.split("-")) + "Parameters"
    try:
        if not module.isidentifier() or importlib.util.find_spec(f"sta_mpi.jobs.{module}") is None:
            raise ImportError
        model: type[JobParameters] = getattr(
            importlib.import_module(f"sta_mpi.jobs.parameters.{module}"), name)
    except (ImportError, AttributeError):
        raise UsageError(f"there is no command {command!r} that runs as a job. See sta-mpi --help "
                         "for the list.") from None
    return model


def option_name(field: str) -> str:
    """`box_px` as the user types it: `--box-px`."""
    return "--" + field.replace("_", "-")


def explain(error: ValidationError) -> list[str]:
    """One line a wrong parameter: what, found, expected."""
    lines = []
    for item in error.errors():
        name = option_name(str(item["loc"][0])) if item["loc"] else ""
        if item["type"] == "missing":
            lines.append(f"{name} is needed. Give it as an option or in the TOML file.")
        elif item["type"] == "extra_forbidden":
            lines.append(f"there is no parameter {item['loc'][0]!r}. See --help for the list.")
        elif item["type"] == "value_error":
            text = f"{name} {item['ctx']['error']}".strip().rstrip(".")
            lines.append(f"{text}. Correct the option or the TOML file.")
        else:
            lines.append(f"{name} is {_shown(item['input'])}, expected "
                         f"{_expected(item)}. Correct the option or the TOML file.")
    return lines


def _expected(item: Any) -> str:
    if item["type"] not in _EXPECTED:
        return str(item["msg"])
    return _EXPECTED[item["type"]].format(**item.get("ctx", {}))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
