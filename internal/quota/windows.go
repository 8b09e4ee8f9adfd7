package quota

import (
	"slices"
	"time"
)

// Windows are the time windows of the limits of all gates of a verifier account.
// Each start counts in all of them, so that the gates use up one budget together.
type Windows struct {
	// number, client and global are the windows of the limits of that name.
	number, client, global []time.Duration
	// budgets are the global limits.
	budgets []Rate
	// flight is how long an attempt may be under way.
	flight time.Duration
}

// add adds the windows of a gate. Call it before the gates of the account serve.
func (w *Windows) add(l *Limits, flight time.Duration) {
	w.number = with(w.number, l.NumberWindow)
	for _, rate := range l.Client {
		w.client = with(w.client, rate.Window)
	}
	if l.Global.Max > 0 {
		w.global = with(w.global, l.Global.Window)
		w.budgets = with(w.budgets, l.Global)
	}
	w.flight = max(w.flight, flight)
}

func with[T comparable](all []T, one T) []T {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}
