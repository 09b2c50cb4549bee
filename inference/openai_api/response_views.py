"""`/v1/responses/{id}`: what was stored, its input, its end."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from inference.openai_api.fields import problem
from inference.openai_api.schemas import INPUT_ITEMS, REMOVED_RESPONSE, STORED_RESPONSE
from inference.openai_api.stored_responses import describe_response, find_response, input_items
from inference.openai_api.views import OpenAIView
from inference.services.responses import forget_response
from llamagpu.http.permissions import INFER

MAX_ITEMS, DEFAULT_ITEMS = 100, 20


class StoredResponseView(OpenAIView):
    """GET and DELETE /v1/responses/{id}"""

    access = INFER

    @extend_schema(operation_id="read_response", responses=STORED_RESPONSE)
    def get(self, request: Request, name: str) -> Response:
        _refuse_others(request, ())
        return Response(describe_response(find_response(request.user, request.auth, name)))

    @extend_schema(operation_id="delete_response", responses=REMOVED_RESPONSE)
    def delete(self, request: Request, name: str) -> Response:
        forget_response(find_response(request.user, request.auth, name))
        return Response({"id": name, "object": "response", "deleted": True})


class ResponseInputView(OpenAIView):
    """GET /v1/responses/{id}/input_items: the turns that the model was given, the newest first."""

    access = INFER

    @extend_schema(
        operation_id="list_response_input",
        parameters=[
            OpenApiParameter("limit", int, description=f"1 to {MAX_ITEMS}, else {DEFAULT_ITEMS}"),
            OpenApiParameter("order", str, enum=["asc", "desc"]),
            OpenApiParameter(
                "after", str, description="the id of the last item of the page before"
            ),
        ],
        responses=INPUT_ITEMS,
    )
    def get(self, request: Request, name: str) -> Response:
        _refuse_others(request, ("limit", "order", "after"))
        items = input_items(find_response(request.user, request.auth, name))
        return Response(_page(request.query_params, items))


def _refuse_others(request: Request, known: tuple[str, ...]) -> None:
    for name in sorted(set(request.query_params) - set(known)):
        raise problem(name, "Unknown parameter: it is refused rather than ignored.")


def _page(parameters: Any, items: list[dict[str, Any]]) -> dict[str, Any]:
    order = parameters.get("order", "desc")
    if order not in ("asc", "desc"):
        raise problem("order", "Must be asc or desc.")
    if order == "desc":
        items = items[::-1]
    limit = _limit_of(parameters.get("limit", str(DEFAULT_ITEMS)))
    if (after := parameters.get("after")) is not None:
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise problem("after", "Is not the id of an item.")
        items = items[places[0] + 1 :]
    data = items[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(items) > limit,
    }


def _limit_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and 1 <= int(text) <= MAX_ITEMS):
        raise problem("limit", f"Must be a whole number from 1 to {MAX_ITEMS}.")
    return int(text)
