"""Rows of the table as samples."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from monitoring.history.details import Details, unpack_details
from monitoring.history.figures import unpack
from monitoring.history.samples import Sample
from monitoring.metric_querysets import MetricSampleQuerySet

logger = logging.getLogger(__name__)

_COLUMNS = ("node", "resolution", "start", "covered", "figures", "details")


def read_samples(rows: MetricSampleQuerySet) -> Iterator[Sample]:
    for node, resolution, start, covered, figures, details in rows.values_list(*_COLUMNS):
        yield Sample(node, resolution, start, covered, unpack(figures), _details(details))


def _details(packed: bytes | memoryview | None) -> Details:
    """None of those that a newer version has written otherwise: its figures are still good."""
    try:
        return unpack_details(packed)
    except msgspec.DecodeError as error:
        logger.debug("details of a sample cannot be read: %s", error)
        return Details()
