"""Examples of all responses of the OpenAPI document, made of the examples of their fields."""

from typing import Any

from errorkernel.web.api.openapi import descriptions

_PLAIN: dict[str, Any] = {"string": "…", "integer": 1, "number": 1.0, "boolean": True, "object": {}, "array": []}


def fill_examples(document: dict[str, Any]) -> dict[str, Any]:
    """The document, with an example for each JSON response that has none."""
    schemas = document["components"]["schemas"]
    for methods in document["paths"].values():
        for method, operation in methods.items():
            if method != "parameters":
                for response in operation["responses"].values():
                    _fill(response, schemas)
    return document


def _fill(response: dict[str, Any], schemas: dict[str, Any]) -> None:
    for media, content in response.get("content", {}).items():
        if media.endswith("json") and not content.keys() & {"example", "examples"}:
            content["example"] = sample(content["schema"], schemas)


def sample(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value that fits the schema."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return (
            _object(name, schemas[name], schemas) if "properties" in schemas[name] else sample(schemas[name], schemas)
        )
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], schemas)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [sample(schema["items"], schemas)] if "items" in schema else []
    if "properties" in schema:
        # A page: the last one, so that its cursor is null.
        values = {name: sample(part, schemas) for name, part in schema["properties"].items()}
        return {**values, "next": None, "last": 4711, "total": 1} if "next" in values else values
    return _PLAIN[schema.get("type", "string")]


def _object(name: str, schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    return {field: _value(name, field, part, schemas) for field, part in schema["properties"].items()}


def _value(shape: str, field: str, part: dict[str, Any], schemas: dict[str, Any]) -> Any:
    known = descriptions.example(shape, field)
    if known is not None or _takes_null(part):
        return known if known is not None or not _is_object(part) else sample(part, schemas)
    return sample(part, schemas)


def _takes_null(part: dict[str, Any]) -> bool:
    return any(option.get("type") == "null" for option in part.get("anyOf", ()))


def _is_object(part: dict[str, Any]) -> bool:
    return "$ref" in part["anyOf"][0]
