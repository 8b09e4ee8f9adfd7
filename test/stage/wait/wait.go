// Package wait lets tests wait for conditions that need real time.
package wait

import (
	"testing"
	"time"
)

// patience is how long anything may take on a busy machine.
const patience = 30 * time.Second

// Until returns as soon as ok returns true, and fails the test if that takes too long.
// what names the condition, as in "the server answers".
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
