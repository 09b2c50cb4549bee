"""What a row of the history holds beside its figures: sums and histograms of each model.

Packed as MessagePack. Of a histogram only the buckets that hold something are kept. Histograms add up, so
percentiles of any span of time, of any number of processes, are found in the merged one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from monitoring.history.figures import HISTOGRAMS, PERCENTILES
from monitoring.metrics.histograms import (
    LATENCY_BUCKETS,
    HistogramValue,
    merge,
    percentile,
)

#: Models that a row tells apart; those with the fewest requests are together in `OTHERS`.
MAX_MODELS = 16
OTHERS = "other"
#: Sums that a model has, in the order in which they are packed.
MODEL_SUMS = ("requests", "errors", "prompt_tokens", "generation_tokens")

#: Bounds that are named by a number instead of written out in each row. Never change one: add another.
KNOWN_BOUNDS: dict[int, tuple[float, ...]] = {1: LATENCY_BUCKETS}
_NUMBERS = {bounds: number for number, bounds in KNOWN_BOUNDS.items()}

Histograms = Mapping[str, HistogramValue]


@dataclass(frozen=True, slots=True)
class ModelDetails:
    sums: tuple[float, ...] = (0.0,) * len(MODEL_SUMS)
    histograms: Histograms = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Details:
    """What each model has done, and how many errors of each code there were."""

    models: Mapping[str, ModelDetails] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.models or self.errors)

    def histograms(self) -> dict[str, HistogramValue]:
        """Those of all models together."""
        return merge_histograms([model.histograms for model in self.models.values()])


class _PackedHistogram(msgspec.Struct, array_like=True):
    """`places` are numbers of buckets, each followed by its count."""

    bounds: int | tuple[float, ...]
    total: float
    places: list[int]


class _PackedModel(msgspec.Struct, array_like=True):
    sums: tuple[float, ...]
    histograms: dict[str, _PackedHistogram]


class _Packed(msgspec.Struct, array_like=True):
    models: dict[str, _PackedModel]
    errors: dict[str, float]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def pack_details(details: Details) -> bytes | None:
    """None for nothing at all: most seconds are quiet."""
    if details.is_empty:
        return None
    return _encode(
        _Packed(
            {
                name: _PackedModel(model.sums, _pack_all(model.histograms))
                for name, model in details.models.items()
            },
            dict(details.errors),
        )
    )


def unpack_details(data: bytes | memoryview | None) -> Details:
    """Raises msgspec.DecodeError for what another version has written."""
    if data is None:
        return Details()
    packed = _decode(data)
    return Details(
        {
            name: ModelDetails(model.sums, _unpack_all(model.histograms))
            for name, model in packed.models.items()
        },
        packed.errors,
    )


def merge_details(details: Sequence[Details]) -> Details:
    full = [one for one in details if not one.is_empty]
    if len(full) < 2:
        return full[0] if full else Details()
    names = sorted({name for one in full for name in one.models})
    models = {
        name: merge_models([one.models[name] for one in full if name in one.models])
        for name in names
    }
    codes = sorted({code for one in full for code in one.errors})
    return Details(
        bounded(models),
        {code: sum(one.errors.get(code, 0) for one in full) for code in codes},
    )


def merge_models(models: Sequence[ModelDetails]) -> ModelDetails:
    sums = tuple(sum(column) for column in zip(*(model.sums for model in models), strict=True))
    return ModelDetails(sums, merge_histograms([model.histograms for model in models]))


def merge_histograms(all_histograms: Sequence[Histograms]) -> dict[str, HistogramValue]:
    names = sorted({name for histograms in all_histograms for name in histograms})
    merged = {
        name: merge(found[name] for found in all_histograms if name in found) for name in names
    }
    return {name: value for name, value in merged.items() if value is not None}


def bounded(models: Mapping[str, ModelDetails]) -> dict[str, ModelDetails]:
    """At most `MAX_MODELS` by name, so that a row stays small whatever is asked for."""
    if len(models) <= MAX_MODELS:
        return dict(models)
    named = sorted(
        (name for name in models if name != OTHERS), key=lambda name: (-models[name].sums[0], name)
    )
    kept, rest = named[: MAX_MODELS - 1], named[MAX_MODELS - 1 :]
    others = [models[name] for name in [*rest, *([OTHERS] if OTHERS in models else [])]]
    return {**{name: models[name] for name in sorted(kept)}, OTHERS: merge_models(others)}


def percentile_figures(histograms: Histograms) -> dict[str, float | None]:
    """`latency_p50` and so on; None where nothing was observed."""
    return {
        f"{name}_{label}": percentile(histograms[name], share) if name in histograms else None
        for name in HISTOGRAMS
        for label, share in PERCENTILES.items()
    }


def _pack_all(histograms: Histograms) -> dict[str, _PackedHistogram]:
    return {name: _pack(value) for name, value in histograms.items()}


def _pack(value: HistogramValue) -> _PackedHistogram:
    places: Iterable[tuple[int, int]] = (
        (place, count) for place, count in enumerate(value.counts) if count
    )
    known = _NUMBERS.get(value.bounds)
    return _PackedHistogram(
        value.bounds if known is None else known,
        round(value.total, 6),
        [number for pair in places for number in pair],
    )


def _unpack_all(packed: Mapping[str, _PackedHistogram]) -> dict[str, HistogramValue]:
    """Without those whose bounds a newer version has numbered."""
    found = {name: _unpack(value) for name, value in packed.items()}
    return {name: value for name, value in found.items() if value is not None}


def _unpack(packed: _PackedHistogram) -> HistogramValue | None:
    bounds = KNOWN_BOUNDS.get(packed.bounds) if isinstance(packed.bounds, int) else packed.bounds
    if bounds is None:
        return None
    counts = [0] * (len(bounds) + 1)
    for place, count in zip(packed.places[::2], packed.places[1::2], strict=True):
        if place < len(counts):
            counts[place] = count
    return HistogramValue(bounds, tuple(counts), packed.total)
