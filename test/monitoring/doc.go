// Package monitoring holds examples/monitoring to the metrics of the code and to the
// runbook, and evaluates its alerts with Prometheus' own engine.
package monitoring
