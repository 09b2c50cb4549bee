"""What was served since the beginning, taken out of the metrics; and what lies between two such moments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from monitoring.history.details import MODEL_SUMS, Details, ModelDetails, bounded, merge_histograms
from monitoring.history.figures import HISTOGRAMS
from monitoring.metrics.histograms import HistogramValue, difference
from monitoring.metrics.reading import Snapshot

# Families of the metrics that count what a model has done; `_MODEL` is their label for it.
_MODEL = "model_name"
_SUMS = {
    "requests": "request_success_total",
    "prompt_tokens": "prompt_tokens_total",
    "generation_tokens": "generation_tokens_total",
}
_FAILURES, _CODE = "request_failure_total", "code"
# What a caller has cancelled is a request that ended, and no error.
_CANCELLED = "CANCELLED"
_HTTP, _STATUS = "http_requests_total", "status"


@dataclass(frozen=True, slots=True)
class Totals:
    """`models` by name: sums in the order of `MODEL_SUMS`, and histograms. `http` by class of status."""

    models: Mapping[str, ModelDetails] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    http: Mapping[str, float] = field(default_factory=dict)

    def sum_of(self, name: str) -> float:
        place = MODEL_SUMS.index(name)
        return sum(model.sums[place] for model in self.models.values())

    def histograms(self) -> dict[str, HistogramValue]:
        """Those of all models together."""
        return merge_histograms([model.histograms for model in self.models.values()])

    def details(self) -> Details:
        """As a row of the history holds them: what did not happen takes no room."""
        models = {
            name: model
            for name, model in self.models.items()
            if any(model.sums) or model.histograms
        }
        return Details(bounded(models), self.errors)


def totals_of(snapshot: Snapshot) -> Totals:
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(MODEL_SUMS))
    for name, family in _SUMS.items():
        for (model,), count in _by_labels(snapshot, family, _MODEL):
            sums[model][MODEL_SUMS.index(name)] += count
    errors: dict[str, float] = defaultdict(float)
    for (model, code), count in _by_labels(snapshot, _FAILURES, _MODEL, _CODE):
        sums[model][MODEL_SUMS.index("requests")] += count
        if code != _CANCELLED:
            sums[model][MODEL_SUMS.index("errors")] += count
            errors[code] += count
    histograms: dict[str, dict[str, list[HistogramValue]]] = defaultdict(lambda: defaultdict(list))
    for name, family in HISTOGRAMS.items():
        info = snapshot.families.get(family)
        if info is None:
            continue
        at = info.labels.index(_MODEL) if _MODEL in info.labels else None
        for key, value in snapshot.histograms.get(family, {}).items():
            histograms["" if at is None else key[at]][name].append(value)
    merged = {
        model: merge_histograms(
            [{name: value} for name, values in named.items() for value in values]
        )
        for model, named in histograms.items()
    }
    return Totals(
        {
            model: ModelDetails(tuple(sums[model]), merged.get(model, {}))
            for model in sorted({*sums, *merged})
        },
        dict(errors),
        _http_by_status(snapshot),
    )


def between(later: Totals, earlier: Totals) -> Totals:
    """What came in between. A count that is lower than before has begun anew, with Redis: all of it."""
    return Totals(
        {
            name: _model_between(model, earlier.models.get(name, ModelDetails()))
            for name, model in later.models.items()
        },
        _grown(later.errors, earlier.errors),
        _grown(later.http, earlier.http),
    )


def _model_between(later: ModelDetails, earlier: ModelDetails) -> ModelDetails:
    histograms = {
        name: difference(value, earlier.histograms.get(name))
        for name, value in later.histograms.items()
    }
    return ModelDetails(
        tuple(
            now - before if now >= before else now
            for now, before in zip(later.sums, earlier.sums, strict=True)
        ),
        {name: value for name, value in histograms.items() if value.count},
    )


def _grown(later: Mapping[str, float], earlier: Mapping[str, float]) -> dict[str, float]:
    grown = {}
    for name, now in later.items():
        before = earlier.get(name, 0.0)
        change = now - before if now >= before else now
        if change:
            grown[name] = change
    return grown


def _http_by_status(snapshot: Snapshot) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for (status,), count in _by_labels(snapshot, _HTTP, _STATUS):
        sums[status] += count
    return dict(sums)


def _by_labels(
    snapshot: Snapshot, family: str, *labels: str
) -> Iterable[tuple[tuple[str, ...], float]]:
    """Each series of a counter by some of its labels; nothing where the family has others."""
    info = snapshot.families.get(family)
    if info is None or not set(labels) <= set(info.labels):
        return
    places = [info.labels.index(label) for label in labels]
    for key, count in snapshot.counters.get(family, {}).items():
        yield tuple([key[place] for place in places]), count
