package quota

import (
	"slices"
	"time"
)

// Windows are those in which the starts of a verifier account are counted. Each
// start counts in the windows of all gates of the account, so that no gate has a
// budget beside that of another.
type Windows struct {
	// number, client and global are the windows of the limits of that name.
	number, client, global []time.Duration
	// budgets are the global limits.
	budgets []Rate
	// flight is how long an attempt may be under way.
	flight time.Duration
}

// add has starts counted as a gate wants them to be. It must come before the
// gates of the account serve.
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
