"""A request in OpenAI's words: what an upstream is asked for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any

from inference.conversation import ChatMessage, Prompt
from inference.protocol import Grammar, GrammarKind, SamplingParams, Submit
from inference.tool_turns import tell_plainly
from inference.worker.remote.failures import RemoteFailure
from inference.worker.remote.target import RemoteLoad
from llamagpu.lib.error_codes import ErrorCode

#: Answered with one JSON body, where all others stream.
EMBEDDINGS = "/embeddings"
_DEFAULTS = SamplingParams()
# Sent in any case: a server's own defaults may differ from what our callers are promised.
_ALWAYS = ("temperature", "top_p")
# Sent where they differ from the default: OpenAI's own, then what vLLM and llama.cpp added.
_IF_SET = (
    "presence_penalty", "frequency_penalty", "seed", "n",
    "top_k", "min_p", "repetition_penalty", "min_tokens", "ignore_eos",
)  # fmt: skip
_SHAPED = ("max_tokens", "stop", "logprobs", "logit_bias", "grammar")
_KNOWN = {*_ALWAYS, *_IF_SET, *_SHAPED, "given"}


@dataclass(frozen=True, slots=True)
class Question:
    """`path` behind the base URL, and the JSON to post there.

    `is_open`: its answer may be as long as any, so that the context alone may bound it.
    """

    path: str
    body: dict[str, Any]
    is_open: bool = False

    def without_bound(self) -> Question:
        body = {name: value for name, value in self.body.items() if name != "max_tokens"}
        return replace(self, body=body, is_open=False)


def question_of(request: Submit, load: RemoteLoad, limit: int) -> Question:
    """What to ask; `limit` is the context length, 0 where nobody knows it. Raises RemoteFailure."""
    prompt, params = request.prompt, request.params
    if prompt.inputs:
        return _embedding(prompt, load)
    _check_offered(prompt, params, load)
    body: dict[str, Any] = {
        "model": load.upstream_model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name in _ALWAYS:
        body[name] = getattr(params, name)
    for name in _IF_SET:
        if (value := getattr(params, name)) != getattr(_DEFAULTS, name):
            body[name] = value
    if not limit or params.max_tokens < limit:  # else the answer may take what the prompt leaves
        body["max_tokens"] = params.max_tokens
    if params.stop:
        body["stop"] = list(params.stop)
    if params.logit_bias:
        body["logit_bias"] = {str(token_id): bias for token_id, bias in params.logit_bias}
    if prompt.token_ids is not None or prompt.is_raw:
        question = _completion(prompt, params, body)
    else:
        question = _chat(prompt, params, body, load)
    return replace(question, is_open=params.max_tokens >= load.max_new_tokens)


def _embedding(prompt: Prompt, load: RemoteLoad) -> Question:
    if "embeddings" not in load.capabilities:
        raise _not_offered("input: this model's upstream makes no embeddings.")
    inputs = [
        item.text if item.token_ids is None else list(item.token_ids) for item in prompt.inputs
    ]
    body = {"model": load.upstream_model, "input": inputs, "encoding_format": "float"}
    return Question(EMBEDDINGS, body)


def _completion(prompt: Prompt, params: SamplingParams, body: dict[str, Any]) -> Question:
    body["prompt"] = prompt.text if prompt.token_ids is None else list(prompt.token_ids)
    if params.logprobs is not None:
        body["logprobs"] = params.logprobs
    if params.grammar:
        body["response_format"] = _response_format(params.grammar)
    return Question("/completions", body)


def _chat(
    prompt: Prompt, params: SamplingParams, body: dict[str, Any], load: RemoteLoad
) -> Question:
    messages = prompt.messages or (ChatMessage("user", prompt.text or ""),)
    # A forced call is an answer of a given form: the functions are told in words, and no server
    # has to know both at once.
    is_told = params.grammar is not None or "tools" not in load.capabilities
    if is_told:
        messages = tuple(tell_plainly(messages, prompt.tools))
    elif prompt.tools:
        body["tools"] = list(prompt.tools)
    body["messages"] = [_message(message) for message in messages]
    if params.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": params.logprobs}
    if params.grammar:
        body["response_format"] = _response_format(params.grammar)
    return Question("/chat/completions", body)


def _message(message: ChatMessage) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        fields["name"] = message.name
    if message.tool_call_id:
        fields["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        fields["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return fields


def _response_format(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind is GrammarKind.JSON_OBJECT:
        return {"type": "json_object"}
    schema = {"name": "answer", "schema": json.loads(grammar.text), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _check_offered(prompt: Prompt, params: SamplingParams, load: RemoteLoad) -> None:
    """Refuses what cannot be passed on, by name, rather than leave it out."""
    for field in fields(params):
        if field.name not in _KNOWN and getattr(params, field.name) != field.default:
            raise _not_offered(f"{field.name}: is not passed on to upstreams.")
    _check_form(prompt, load)
    if params.max_tokens < 1:
        raise _not_offered("max_tokens: must be at least 1 for this model.")
    if params.logprobs is not None and "logprobs" not in load.capabilities:
        raise _not_offered("logprobs: this model's upstream tells none.")
    if params.grammar:
        _check_grammar(params.grammar, load)


def _check_form(prompt: Prompt, load: RemoteLoad) -> None:
    is_completion = prompt.token_ids is not None or prompt.is_raw
    if is_completion and "completions" not in load.capabilities:
        raise _not_offered("prompt: this model's upstream reads no plain text and no token ids.")
    if not is_completion and "chat" not in load.capabilities:
        raise _not_offered("messages: this model's upstream knows no conversations.")


def _check_grammar(grammar: Grammar, load: RemoteLoad) -> None:
    if grammar.kind not in (GrammarKind.JSON_OBJECT, GrammarKind.JSON_SCHEMA):
        raise _not_offered(
            "response_format: only json_object and json_schema are passed on to upstreams."
        )
    if "json_schema" not in load.capabilities:
        raise _not_offered("response_format: this model's upstream keeps to no form.")


def _not_offered(message: str) -> RemoteFailure:
    return RemoteFailure(ErrorCode.INVALID_INPUT, message)
