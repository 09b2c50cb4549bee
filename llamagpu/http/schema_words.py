"""Words for describing JSON in OpenAPI 3.1: what an answer holds, with an example of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema_serializer

Schema = dict[str, Any]
Class = TypeVar("Class", bound=type)

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
DAY: Schema = {"type": "string", "format": "date"}
UUID: Schema = {"type": "string", "format": "uuid"}
#: An object whose fields are not told here.
OBJECT: Schema = {"type": "object"}
ANY: Schema = {}
#: OpenAPI 3.1 has no word for a stream of events; to some readers a schema means all of it, to others one.
EVENTS: Schema = {"description": "Server-Sent Events"}


def record(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object with these properties, all required but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def map_of(values: Schema) -> Schema:
    """An object with any names and values of one kind."""
    return {"type": "object", "additionalProperties": values}


def or_null(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def described(schema: Schema, text: str) -> Schema:
    """The same with a sentence for who reads the description."""
    return {**schema, "description": text}


def answer(optional: tuple[str, ...] = (), /, **fields: Schema) -> Schema:
    """`{"success": true, …}`"""
    return record(optional, success={"type": "boolean", "const": True}, **fields)


def page(row: Schema, **fields: Schema) -> Schema:
    """A page of a list, as `llamagpu.http.pagination` answers."""
    return answer(
        results=list_of(row),
        next=described(or_null(TEXT), "address of the next page; null at the end"),
        previous=described(or_null(TEXT), "address of the page before; null at the beginning"),
        **fields,
    )


def page_example(row: Any) -> dict[str, Any]:
    return {"success": True, "results": [row], "next": None, "previous": None}


def shown(schema: Schema, example: Any, text: str = "") -> OpenApiResponse:
    """A response with an example."""
    return OpenApiResponse(
        response=schema,
        description=text,
        examples=[OpenApiExample("answer", example, response_only=True)],
    )


def call_example(body: Any, name: str = "call") -> OpenApiExample:
    """An example of a body, for a view that shows examples of its own."""
    return OpenApiExample(name, body, request_only=True)


def asked(example: Any) -> Callable[[Class], Class]:
    """Marks the serializer of a body with an example of it."""
    return extend_schema_serializer(examples=[call_example(example)])


def answered(example: Any) -> Callable[[Class], Class]:
    """Marks the serializer of an answer with an example of it."""
    return extend_schema_serializer(
        examples=[OpenApiExample("answer", example, response_only=True)]
    )
