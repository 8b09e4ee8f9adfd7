// Package wait waits in tests for what only real time brings.
package wait

import (
	"testing"
	"time"
)

// patience is how long anything may take, on a machine that has much else to do.
const patience = 30 * time.Second

// Until returns as soon as ok returns true, and fails the test where that takes too
// long. What names the condition, as in "the server answers".
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < patience; <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", patience, what)
}
