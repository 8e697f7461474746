"""JSON Schemas of every file the cell writes, and the one function that checks against them."""

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import fastjsonschema
import jsonschema.exceptions

from cell_core.errors import InputRefusedError


@cache
def _schema(name: str) -> dict[str, Any]:
    return json.loads(files("cell_core.schemas").joinpath(f"{name}.schema.json").read_text(encoding="utf-8"))


@cache
def _compiled(name: str) -> Callable[[Any], Any]:
    return fastjsonschema.compile(_schema(name), use_default=False)


def validate(document: Any, name: str, where: str) -> None:
    """Check a document against the schema `name`.

    Raises:
        InputRefusedError: names file, place in the document, and what is wrong.
    """
    try:
        _compiled(name)(document)
    except fastjsonschema.JsonSchemaValueException as quick:
        # the compiled check is some fifty times faster on long arrays; the other explains better
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(_schema(name)).iter_errors(document))
        place, what = (error.json_path, error.message) if error else (quick.name, quick.message)
        text = what if len(what) < 300 else what[:140] + " ... " + what[-140:]
        raise InputRefusedError(f"{where}: at {place}: {text}") from quick
