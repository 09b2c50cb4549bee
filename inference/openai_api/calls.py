"""Stage 2/7 of the OpenAI door: a request's body becomes a call, and the shape of its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from rest_framework.request import Request

from inference.api.sampling_fields import grammar_of
from inference.api.serializers import given_in
from inference.models import Model
from inference.openai_api.chat_shape import ChatShape
from inference.openai_api.completion_shape import CompletionShape, Echo
from inference.openai_api.embedding_fields import EmbeddingSerializer
from inference.openai_api.embedding_shape import EmbeddingAnswer
from inference.openai_api.fields import includes_usage, problem
from inference.openai_api.message_fields import message_of
from inference.openai_api.response_fields import ResponseSerializer
from inference.openai_api.response_shape import ResponseAnswer
from inference.openai_api.serializers import ChatSerializer, CompletionSerializer
from inference.openai_api.stored_responses import conversation_of, find_response
from inference.openai_api.submission import Call, about, servable_model
from inference.openai_api.tool_fields import tool_use_of
from inference.prompts import tokenizer_of
from inference.protocol import ChatMessage, Prompt, SamplingParams
from inference.tokenizer import PromptError
from llamagpu.http.errors import AppError


def read_chat(request: Request) -> tuple[Call, ChatShape]:
    """Raises ValidationError and AppError, before any write."""
    body = ChatSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    fields = body.validated_data
    model = servable_model(request, fields["model"])
    use = tool_use_of(fields, knows_tools=_knows_tools(model) if "tools" in fields else False)
    prompt = Prompt(messages=tuple(map(message_of, fields["messages"])), tools=use.tools)
    params = replace(body.params, grammar=use.grammar or body.params.grammar)
    call = Call(
        model, (prompt,), params, fields["max_tokens"], fields["stream"], fields["user"],
        prompt_field="messages",
    )  # fmt: skip
    return call, ChatShape(model.slug, use, include_usage=includes_usage(fields))


def read_completion(request: Request) -> tuple[Call, CompletionShape]:
    """Raises ValidationError and AppError, before any write."""
    body = CompletionSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    fields = body.validated_data
    model = servable_model(request, fields["model"])
    prompts = tuple(fields["prompt"])
    is_scored = body.params.prompt_logprobs is not None
    echoes = [_echo_of(model, prompt, is_scored) for prompt in prompts] if fields["echo"] else []
    call = Call(model, prompts, body.params, fields["max_tokens"], fields["stream"], fields["user"])
    usage = includes_usage(fields)
    return call, CompletionShape(model.slug, echoes, body.params.n, include_usage=usage)


def read_response(request: Request, *, may_store: bool = False) -> tuple[Call, ResponseAnswer]:
    """Raises ValidationError and AppError, before any write. `may_store`: the caller stores answers."""
    body = ResponseSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    fields = body.validated_data
    if fields["store"] and not may_store:
        raise problem("store", "Answers in a batch are not stored: leave it out or give false.")
    fields["store"] = may_store if fields["store"] is None else fields["store"]
    model = servable_model(request, fields["model"])
    tools = ResponseSerializer.tool_fields(fields)
    use = tool_use_of(tools, knows_tools=_knows_tools(model) if "tools" in tools else False)
    params = SamplingParams(
        temperature=fields["temperature"],
        top_p=fields["top_p"],
        grammar=use.grammar or grammar_of(body.response_format),
        given=given_in(cast("dict[str, Any]", request.data)),
    )
    prompt = Prompt(messages=body.messages_after(_earlier(request, fields)), tools=use.tools)
    limit = fields["max_output_tokens"]
    call = Call(
        model, (prompt,), params, limit, fields["stream"], fields["user"], prompt_field="input"
    )
    return call, ResponseAnswer(_settings_of(request.data, model, fields), use)


def read_embedding(request: Request) -> tuple[Call, EmbeddingAnswer]:
    """Raises ValidationError and AppError, before any write."""
    body = EmbeddingSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    fields = body.validated_data
    model = servable_model(request, fields["model"])
    prompt = Prompt(inputs=tuple(fields["input"]))
    params = SamplingParams(max_tokens=0, temperature=0.0)
    call = Call(model, (prompt,), params, 0, False, fields["user"], prompt_field="input")
    return call, EmbeddingAnswer(model.slug, is_base64=fields["encoding_format"] == "base64")


def _earlier(request: Request, fields: dict[str, Any]) -> tuple[ChatMessage, ...]:
    """The conversation that a call goes on from."""
    name = fields.get("previous_response_id")
    if name is None:
        return ()
    try:
        return conversation_of(find_response(request.user, request.auth, name))
    except AppError as error:
        raise about("previous_response_id", error) from error


def _settings_of(data: Any, model: Model, fields: dict[str, Any]) -> dict[str, Any]:
    """What an answer repeats of its call, in the caller's own words."""
    return {
        "model": model.slug,
        "instructions": fields.get("instructions"),
        "max_output_tokens": fields["max_output_tokens"],
        "temperature": fields["temperature"],
        "top_p": fields["top_p"],
        "text": data.get("text") or {"format": {"type": "text"}},
        "tools": data.get("tools") or [],
        "tool_choice": data.get("tool_choice") or "auto",
        "user": fields["user"] or None,
        "store": fields["store"],
        "previous_response_id": fields.get("previous_response_id"),
    }


def _knows_tools(model: Model) -> bool:
    if model.is_remote:
        return "tools" in model.upstream.capabilities
    tokenizer = tokenizer_of(model)
    return tokenizer is not None and tokenizer.knows_tools


def _echo_of(model: Model, prompt: Prompt, is_scored: bool) -> Echo:
    if prompt.token_ids is None and not is_scored:
        return Echo(prompt.text or "")
    tokenizer = tokenizer_of(model)
    if tokenizer is None:
        raise problem("echo", "Tokens of this model have no text before its first load.")
    try:
        token_ids = tokenizer.encode_prompt(prompt)
    except PromptError as error:
        raise problem("prompt", error.message) from error
    text = tokenizer.decode(token_ids) if prompt.text is None else prompt.text
    return Echo(text, tokenizer.token_text(token_ids[0]))
