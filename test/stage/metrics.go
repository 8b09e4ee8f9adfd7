package stage

import (
	"net/http"
	"strconv"
	"strings"
)

// Metrics scrapes the gate's metrics at /metrics, where the site must have them, as
// Prometheus would: what is shown for each series, such as
// `requests_total{decision="verified"}`.
func (s *Stage) Metrics() map[string]float64 {
	s.T.Helper()
	return s.Visitor().Metrics()
}

// Metrics is the Metrics of the stage, or of the node that the visitor is at.
func (v *Visitor) Metrics() map[string]float64 {
	v.T.Helper()
	a := v.Open("/metrics")
	if a.StatusCode != http.StatusOK {
		v.T.Fatalf("/metrics: %d", a.StatusCode)
	}
	shown := make(map[string]float64)
	for line := range strings.Lines(a.Body) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "caddy_number_verify_")
		if !ok {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			v.T.Fatalf("/metrics: %q: %v", line, err)
		}
		shown[line[:end]] = value
	}
	return shown
}
