"""Metrics: one registry, one calling convention. Importing this is cheap; backbones load when a metric is computed."""

from splatbench.metrics.evaluate import evaluate
from splatbench.metrics.rate import bits_per_pixel
from splatbench.metrics.registry import RATES, REGISTRY, Metric, MetricError, MetricNotRun, get_metric
from splatbench.metrics.strips import Strip, StripSource, array_strips

__all__ = [
    "RATES",
    "REGISTRY",
    "Metric",
    "MetricError",
    "MetricNotRun",
    "Strip",
    "StripSource",
    "array_strips",
    "bits_per_pixel",
    "evaluate",
    "get_metric",
]
