"""JSON Schemas of every file the cell writes, and the one function that checks against them."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema

from cell_core.errors import InputRefusedError


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(files(__package__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def validate(document: Any, name: str, where: str) -> None:
    """Check a document against the schema `name`.

    Raises:
        InputRefusedError: names file, place in the document, and what is wrong.
    """
    error = jsonschema.exceptions.best_match(_validator(name).iter_errors(document))
    if error is not None:
        message = error.message if len(error.message) < 300 else error.message[:140] + " ... " + error.message[-140:]
        raise InputRefusedError(f"{where}: at {error.json_path}: {message}")
