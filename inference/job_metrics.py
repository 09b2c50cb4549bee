"""Counts how jobs ended, once for each row that a settlement has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference import metrics
from inference.states import JobState

if TYPE_CHECKING:
    from inference.services.settlement import Course, Settlement


def count_end(end: Settlement, model: str, latency: float) -> None:
    """`latency` is in seconds from the request's arrival to its end."""
    course = end.course
    if course is not None and course.queue_time is not None:
        metrics.QUEUE_TIME.observe(course.queue_time, model_name=model)
    if course is not None and course.load_time is not None:
        metrics.LOAD_TIME.observe(course.load_time, model_name=model)
    if end.state is not JobState.SUCCEEDED:
        metrics.FAILURES.inc(model_name=model, code=end.error_code)
        return
    metrics.SUCCESSES.inc(model_name=model, finished_reason=end.finish_reason)
    metrics.LATENCY.observe(latency, model_name=model)
    metrics.PROMPT_LENGTH.observe(end.usage.prompt_tokens, model_name=model)
    metrics.ANSWER_LENGTH.observe(end.usage.completion_tokens, model_name=model)
    if course is not None and course.inference_time is not None:
        metrics.INFERENCE_TIME.observe(course.inference_time, model_name=model)
        _count_token_time(course, course.inference_time, end.usage.completion_tokens, model)


def _count_token_time(course: Course, inference_time: float, num_tokens: int, model: str) -> None:
    """`ttft` counts from the engine's receipt, `inference_time` from the beginning of the computing."""
    if num_tokens < 2 or course.ttft is None:
        return
    to_first = course.ttft - (course.engine_wait or 0.0)
    metrics.TOKEN_TIME.observe((inference_time - to_first) / (num_tokens - 1), model_name=model)
