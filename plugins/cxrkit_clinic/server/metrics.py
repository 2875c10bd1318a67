"""What is counted, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import Scope

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Requests, films and this process."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        here = self._registry = CollectorRegistry()
        ProcessCollector(registry=here)
        self._requests = Counter("cxrkit_requests", "Requests answered.", ("path", "method", "status"), registry=here)
        self._seconds = Histogram("cxrkit_request_seconds", "Time taken.", ("path",), buckets=_SECONDS, registry=here)
        self._films = Counter("cxrkit_films", "Films segmented, by outcome.", ("outcome",), registry=here)
        Gauge("cxrkit_films_waiting", "Films at work or waiting.", registry=here).set_function(waiting)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request by its route: what clients make up must not become labels."""
        path = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if path != "other" else "other"
        self._requests.labels(path, method, status).inc()
        self._seconds.labels(path).observe(seconds)

    def segmented(self, *, failed: bool) -> None:
        """Count a film."""
        self._films.labels("failed" if failed else "segmented").inc()

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return bytes(generate_latest(self._registry))
