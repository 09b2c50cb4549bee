"""Conversations of the playground, for their owner alone."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.api.conversation_schemas import CONVERSATION, CONVERSATIONS, FORGOTTEN
from inference.api.conversation_serializers import (
    ChangedConversationSerializer,
    ConversationSerializer,
)
from inference.models import Conversation
from inference.services.conversations import (
    begin_conversation,
    change_conversation,
    forget_all,
    forget_conversation,
)
from llamagpu.http.errors import AppError
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import INFER
from llamagpu.lib.error_codes import ErrorCode


class ConversationsView(APIView):
    """GET, POST, DELETE /api/conversations"""

    access = INFER

    @extend_schema(
        operation_id="list_conversations", parameters=PAGE_SCHEMA, responses=CONVERSATIONS
    )
    def get(self, request: Request) -> Response:
        rows = Conversation.objects.visible_to(request.user).headings()
        return page_response(request, rows, heading_of, ordering=("-updated_at", "-id"))

    @extend_schema(
        operation_id="begin_conversation",
        request=ConversationSerializer,
        responses={201: CONVERSATION},
    )
    def post(self, request: Request) -> Response:
        body = ConversationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = begin_conversation(owner=request.user, content=body.content)
        response = _shown(row)
        response.status_code = 201
        response["Location"] = f"{request.path}/{row.pk}"
        return response

    @extend_schema(operation_id="forget_conversations", responses={200: FORGOTTEN})
    def delete(self, request: Request) -> Response:
        return Response({"success": True, "removed": forget_all(request.user)})


class ConversationView(APIView):
    """GET, PUT, DELETE /api/conversations/{id}"""

    access = INFER

    @extend_schema(operation_id="read_conversation", responses=CONVERSATION)
    def get(self, request: Request, conversation_id: uuid.UUID) -> Response:
        return _shown(_find(request, conversation_id))

    @extend_schema(
        operation_id="change_conversation",
        request=ChangedConversationSerializer,
        responses=CONVERSATION,
    )
    def put(self, request: Request, conversation_id: uuid.UUID) -> Response:
        row = _find(request, conversation_id)
        body = ChangedConversationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        version = body.validated_data["version"]
        return _shown(change_conversation(row=row, version=version, content=body.content))

    @extend_schema(operation_id="forget_conversation", responses={200: FORGOTTEN})
    def delete(self, request: Request, conversation_id: uuid.UUID) -> Response:
        forget_conversation(_find(request, conversation_id))
        return Response({"success": True, "removed": 1})


def heading_of(row: Conversation) -> dict[str, Any]:
    """Without what was said."""
    return {
        "id": str(row.pk),
        "title": row.title,
        "model": row.model,
        "num_messages": row.num_messages,
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _shown(row: Conversation) -> Response:
    words = {"settings": row.settings, "messages": row.messages}
    return Response({"success": True, "conversation": heading_of(row) | words})


def _find(request: Request, conversation_id: uuid.UUID) -> Conversation:
    """Raises AppError NOT_FOUND, also for somebody else's."""
    row = Conversation.objects.visible_to(request.user).filter(pk=conversation_id).first()
    if row is None:
        raise AppError(ErrorCode.NOT_FOUND, "There is no such conversation.")
    return row
