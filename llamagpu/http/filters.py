"""Query parameters of a list, checked as strictly as a body."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from llamagpu.http.fields import StrictSerializer
from llamagpu.http.pagination import PAGE_PARAMETERS


def read_filters(
    request: Request, serializer: type[StrictSerializer], *, has_pages: bool = True
) -> dict[str, Any]:
    """The valid filters that `request` names; those it leaves out are absent.

    `serializer` declares one optional field a filter; values arrive as strings, so its fields must
    read them (`serializers.BooleanField`, not `FlagField`). Unknown parameters, parameters that
    stand twice and wrong values raise ValidationError, which names them. Those of pages are unknown
    to a list that comes whole (`has_pages`).
    """
    values: dict[str, str] = {}
    for name, given in request.query_params.lists():
        if has_pages and name in PAGE_PARAMETERS:
            continue
        if len(given) > 1:
            raise ValidationError({name: ["Stands more than once."]})
        values[name] = given[0]
    checked = serializer(data=values)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)
