"""Serializer fields that take a JSON type as it is: no "5" for 5, no 1 for true, nothing unknown."""

from __future__ import annotations

import math
from functools import cache, cached_property
from typing import Any

from rest_framework import serializers


@cache
def _fields_of(serializer_class: type[StrictSerializer]) -> Any:
    """The fields of an instance that nobody changes, bound to it."""
    return serializers.Serializer.fields.func(serializer_class())  # type: ignore[attr-defined]


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown fields by name, and bodies that are not an object."""

    default_error_messages = {"invalid": "The body must be a JSON object."}

    @cached_property
    def fields(self) -> Any:
        """Copied once for a class: for every call anew they would cost more than the validation.

        What fields may ask their serializer for, context and `partial`, is the same for all that share.
        """
        parent: Any = self.parent  # None for the outermost one
        if parent is not None or self.partial or self._context:
            return super().fields
        return _fields_of(type(self))

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(
                    {
                        name: ["Unknown field: it is refused rather than ignored."]
                        for name in unknown
                    }
                )
        return super().to_internal_value(data)


class TextField(serializers.CharField):
    """A string whose bytes are kept: not trimmed, not coerced from a number."""

    default_error_messages = {
        "invalid": "Must be a string.",
        "surrogate": "Must be valid Unicode: it holds an unpaired surrogate.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and data is not None and not isinstance(data, str):
            self.fail("invalid")
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        try:
            data.encode("utf-8")
        except UnicodeEncodeError:
            self.fail("surrogate")
        return super().to_internal_value(data)


class WholeNumberField(serializers.IntegerField):
    """An integer. A float, a string or a boolean is refused."""

    default_error_messages = {"invalid": "Must be a whole number."}

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class NumberField(serializers.FloatField):
    """A finite number. A string, a boolean, NaN or an infinity is refused."""

    default_error_messages = {
        "invalid": "Must be a number.",
        "not_finite": "Must be a finite number, not NaN or infinity.",
    }

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        try:
            number = float(data)
        except OverflowError:
            self.fail("not_finite")
        if not math.isfinite(number):
            self.fail("not_finite")
        return number


class FlagField(serializers.BooleanField):
    """true or false, not their spellings."""

    default_error_messages = {"invalid": "Must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data
