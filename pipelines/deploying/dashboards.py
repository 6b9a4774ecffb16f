"""``python -m pipelines.deploying.dashboards``: alert rules and the dashboard, as the files that manifests take in.

Both are written here once, because the same expressions appear in a plain Prometheus, in the operator's
``PrometheusRule`` and in Grafana; the files are committed and a test compares them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipelines.checkout import MANIFESTS
from serving.files import write_text

Object = dict[str, Any]


HEADER = "# Written by `python -m pipelines.deploying.dashboards`.\n"

BY_REVISION = "model, version"
REQUESTS = f"sum by ({BY_REVISION}) (rate(slipway_requests_total[5m]))"
ERRORS = f'sum by ({BY_REVISION}) (rate(slipway_requests_total{{code=~"5.."}}[5m]))'
P99 = f"histogram_quantile(0.99, sum by ({BY_REVISION}, le) (rate(slipway_request_seconds_bucket[5m])))"
REFUSED = 'sum by (model, column) (rate(slipway_cells_total{action="refused"}[15m]))'
DROPPED = f"sum by ({BY_REVISION}) (increase(slipway_log_dropped_rows_total[15m]))"
_ROUTES = 'envoy_cluster_upstream_rq_xx{envoy_cluster_name=~"httproute/models/.*"}'
AT_GATEWAY = f"sum by (envoy_cluster_name, envoy_response_code_class) (rate({_ROUTES}[5m]))"
LOST = "sum(increase(envoy_http_no_cluster[5m]))"


@dataclass(frozen=True)
class Alert:
    """One rule.

    Attributes:
        expression: PromQL; true for *lasting* before anybody is told.
        says: the sentence a person reads, with Prometheus's templates in it. remedy: the next move.
    """

    name: str
    expression: str
    lasting: str
    severity: str
    says: str
    remedy: str


ALERTS = (
    Alert(
        "SlipwayErrors",
        f"({ERRORS}) / ({REQUESTS}) > 0.02 and ({REQUESTS}) > 0.1",
        "5m",
        "page",
        "{{ $labels.model }} {{ $labels.version }} answers {{ $value | humanizePercentage }} of its requests with 5xx",
        "slipway rollout status; if no rollout is under way: slipway rollout rollback",
    ),
    Alert(
        "SlipwaySlow",
        f"({P99}) > 0.25",
        "10m",
        "ticket",
        "{{ $labels.model }} {{ $labels.version }} needs {{ $value | humanizeDuration }} for one answer in a hundred",
        "more replicas, or a higher CPU limit of the ServingRuntime",
    ),
    Alert(
        "SlipwayNotReady",
        f"min by ({BY_REVISION}) (slipway_ready) == 0",
        "5m",
        "page",
        "a pod of {{ $labels.model }} {{ $labels.version }} runs without having its model ready",
        "kubectl logs -n models -l model={{ $labels.model }} names what was refused",
    ),
    Alert(
        "SlipwayNothingServes",
        'absent(up{job=~".*predictors.*"} == 1)',
        "5m",
        "page",
        "no predictor is up",
        "kubectl get inferenceservices,pods -n models",
    ),
    Alert(
        "SlipwayLostAtGateway",
        f"{LOST} > 0",
        "0m",
        "page",
        "{{ $value }} requests found no backend: a reference of a route came or went while it had weight",
        "kubectl describe httproutes -n models; the rollout controller is the only one that should change them",
    ),
    Alert(
        "SlipwayOverloaded",
        f'sum by ({BY_REVISION}) (rate(slipway_requests_total{{code="429"}}[5m])) / ({REQUESTS}) > 0.01',
        "5m",
        "ticket",
        "{{ $labels.model }} {{ $labels.version }} turns away {{ $value | humanizePercentage }} of its requests",
        "more replicas, or a higher CPU limit of the ServingRuntime",
    ),
    Alert(
        "SlipwayRefusedCells",
        f"({REFUSED}) > 1",
        "15m",
        "ticket",
        "callers of {{ $labels.model }} send {{ $labels.column }} in a form the contract refuses",
        "the 400 answers name row and column; compare the caller with the contract",
    ),
    Alert(
        "SlipwayLogDropped",
        f"({DROPPED}) > 0",
        "5m",
        "ticket",
        "{{ $labels.model }} {{ $labels.version }} could not log {{ $value }} rows: their labels find no prediction",
        "is the object store reachable from the namespace models?",
    ),
)


def rule_groups(alerts: Sequence[Alert] = ALERTS) -> Object:
    """Prometheus's own form of the rules."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.lasting,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.says, "remedy": alert.remedy},
        }
        for alert in alerts
    ]
    return {"groups": [{"name": "slipway", "rules": rules}]}


def prometheus_rule(alerts: Sequence[Alert] = ALERTS) -> Object:
    """The operator's form of the rules."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "slipway", "namespace": "models", "labels": {"app.kubernetes.io/part-of": "slipway"}},
        "spec": rule_groups(alerts),
    }


def dashboard() -> Object:
    """One page: what each revision does, what the gateway says of it, and what its callers send."""
    chosen = '{model=~"$model"}'
    panels = [
        _panel("Requests per second, by revision", _on(REQUESTS), "{{model}} {{version}}", "reqps"),
        _panel(
            "Errors, share of requests", f"({_on(ERRORS)}) / ({_on(REQUESTS)})", "{{model}} {{version}}", "percentunit"
        ),
        _panel("p99", _on(P99), "{{model}} {{version}}", "s"),
        _panel(
            "At the gateway, by slot and class",
            AT_GATEWAY,
            "{{envoy_cluster_name}} {{envoy_response_code_class}}xx",
            "reqps",
        ),
        _panel("Requests without a backend", LOST, "lost", "short"),
        _panel("Median prediction", _median(), "{{model}} {{version}}", "short"),
        _panel("Cells refused per second", _on(REFUSED), "{{column}}", "short"),
        _panel("In flight", f"sum by ({BY_REVISION}) (slipway_in_flight{chosen})", "{{model}} {{version}}", "short"),
        _panel("Log rows dropped in 15 minutes", _on(DROPPED), "{{model}} {{version}}", "short"),
    ]
    placed = [panel | {"id": i + 1, "gridPos": _place(i)} for i, panel in enumerate(panels)]
    return {
        "uid": "slipway",
        "title": "Slipway: models",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "model",
                    "type": "query",
                    "datasource": {"type": "prometheus", "uid": "prometheus"},
                    "query": "label_values(slipway_ready, model)",
                    "includeAll": True,
                    "refresh": 2,
                }
            ]
        },
        "panels": placed,
    }


def files() -> dict[str, str]:
    """Path below ``manifests/`` to text."""
    return {
        "controllers/prometheus/rules.yaml": HEADER + _yaml(rule_groups()),
        "components/prometheus-operator/rules.yaml": HEADER + _yaml(prometheus_rule()),
        "controllers/grafana/dashboard.json": json.dumps(dashboard(), indent=1) + "\n",
    }


def _median() -> str:
    buckets = 'rate(slipway_prediction_value_bucket{model=~"$model"}[15m])'
    return f"histogram_quantile(0.5, sum by ({BY_REVISION}, le) ({buckets}))"


def _on(expression: str) -> str:
    """*expression* for the model that is chosen on the page."""
    chosen = 'model=~"$model"'
    with_labels = expression.replace("{", "{" + chosen + ", ")
    for metric in ("slipway_requests_total", "slipway_request_seconds_bucket", "slipway_log_dropped_rows_total"):
        with_labels = with_labels.replace(f"{metric}[", f"{metric}{{{chosen}}}[")
    return with_labels


def _panel(title: str, expression: str, legend: str, unit: str) -> Object:
    return {
        "title": title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": expression, "legendFormat": legend}],
    }


def _place(position: int) -> dict[str, int]:
    columns, width, height = 3, 8, 8
    return {"x": position % columns * width, "y": position // columns * height, "w": width, "h": height}


def _yaml(value: Object) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=110, allow_unicode=True)


if __name__ == "__main__":
    for name, text in files().items():
        write_text(MANIFESTS / name, text)
