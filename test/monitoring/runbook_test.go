package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

const (
	page    = "docs/runbook.md"
	address = "https://github.com/numberverify/caddy-number-verify/blob/main/" + page + "#"
)

var told = regexp.MustCompile(`(?m)^### (NumberVerify\w+)$`)

func TestEveryAlertLeadsToItsPartOfTheRunbook(t *testing.T) {
	var alerts, headings []string
	for _, m := range told.FindAllStringSubmatch(manual.Page(t, page), -1) {
		headings = append(headings, m[1])
	}
	for _, rule := range ruleList(t) {
		if rule.Alert == "" {
			continue
		}
		alerts = append(alerts, rule.Alert)
		if got, want := rule.Annotations["runbook_url"], address+strings.ToLower(rule.Alert); got != want {
			t.Errorf("%s leads to %s, not %s", rule.Alert, got, want)
		}
		for _, name := range []string{"summary", "description"} {
			if rule.Annotations[name] == "" {
				t.Errorf("%s has no %s", rule.Alert, name)
			}
		}
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", rule.Alert, severity)
		}
	}
	slices.Sort(alerts)
	slices.Sort(headings)
	if len(alerts) == 0 || !slices.Equal(alerts, headings) {
		t.Errorf("%s tells of\n%v\nthere are\n%v", page, headings, alerts)
	}
}
