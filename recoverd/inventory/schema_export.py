"""JSON Schemas of the inventory's files, for editors: `python -m recoverd.inventory.schema_export [DIRECTORY]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recoverd.inventory.backups import Backup
from recoverd.inventory.loader import ENGINES, ORDERED, SECTIONS

HERE = Path("inventories/schema")


def main(arguments: list[str]) -> int:
    """Write one schema a file into the directory; the exit code."""
    folder = Path(arguments[0]) if arguments else HERE
    folder.mkdir(parents=True, exist_ok=True)
    for stem in SECTIONS:
        path = folder / f"{stem}.json"
        path.write_text(text(stem), encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
    return 0


def text(stem: str) -> str:
    """The schema of `<stem>.yaml` as it stands in its file."""
    return json.dumps(schema(stem), indent=2, ensure_ascii=False) + "\n"


def schema(stem: str) -> dict[str, Any]:
    """The schema of `<stem>.yaml`."""
    models = SECTIONS[stem]
    every = [one for model in models.values() for one in _variants(model)]
    _, shared = models_json_schema([(model, "validation") for model in every], by_alias=True)
    definitions: dict[str, Any] = shared["$defs"]
    for section, model in models.items():
        if section not in ORDERED:
            for one in _variants(model):
                _name_is_the_key(definitions[one.__name__])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{stem}.yaml of a recoverd inventory",
        "type": "object",
        "additionalProperties": False,
        "properties": {section: _section(section, model) for section, model in models.items()},
        "$defs": definitions,
    }


def _variants(model: type[BaseModel]) -> tuple[type[BaseModel], ...]:
    """The models of which one stands in a place."""
    return tuple(ENGINES.values()) if model is Backup else (model,)


def _section(section: str, model: type[BaseModel]) -> dict[str, Any]:
    reference: dict[str, Any] = {"$ref": f"#/$defs/{model.__name__}"}
    if model is Backup:  # one condition an engine, so that an editor offers the keys of the one that is named
        for engine, other in ENGINES.items():
            if other is not model:
                named = {"properties": {"engine": {"const": engine}}, "required": ["engine"]}
                reference = {"if": named, "then": {"$ref": f"#/$defs/{other.__name__}"}, "else": reference}
    if section in ORDERED:
        return {"type": ["array", "null"], "items": reference, "description": "a list; its order counts"}
    return {"type": ["object", "null"], "additionalProperties": reference, "description": "by name"}


def _name_is_the_key(definition: dict[str, Any]) -> None:
    """In the file the name is the key above, not a key inside."""
    definition["properties"].pop("name")
    definition["required"] = [name for name in definition.get("required", []) if name != "name"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
