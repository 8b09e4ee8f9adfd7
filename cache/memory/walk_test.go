package memory

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

func TestLabelOfARecordThatHasEndedIsNotFound(t *testing.T) {
	var passed atomic.Int64
	began := time.Now()
	now := func() time.Time { return began.Add(time.Duration(passed.Load())) }
	s := newShelf()
	c := backed(t, s, Options{Now: now})
	rec := sessionRecord(began.Add(time.Hour))
	rec.Label = []byte("label")
	must(t, c.Put(t.Context(), sessionKey(0), rec))
	must(t, c.Close())
	for name, c := range map[string]*Cache{"sealed": backed(t, s, Options{Now: now}), "open": newCache(t, Options{Now: now})} {
		passed.Store(0)
		if name == "open" {
			again := *rec
			must(t, c.Put(t.Context(), sessionKey(0), &again))
		}
		if label, err := c.Label(t.Context(), sessionKey(0).Ref()); err != nil || string(label) != "label" {
			t.Errorf("%s: Label = %q, %v", name, label, err)
		}
		passed.Store(int64(time.Hour))
		if label, err := c.Label(t.Context(), sessionKey(0).Ref()); !errors.Is(err, cache.ErrNotFound) || label != nil {
			t.Errorf("%s: Label = %q, %v once it has ended", name, label, err)
		}
	}
}

// Whoever can write to the store could show one visitor's session as another's.
func TestRecordWhoseLabelIsNotThatOfItsBoxDoesNotOpen(t *testing.T) {
	s := newShelf()
	c := backed(t, s, Options{})
	rec := sessionRecord(time.Now().Add(time.Hour))
	rec.Label = []byte("label")
	must(t, c.Put(t.Context(), sessionKey(0), rec))
	must(t, c.Close())
	ref := sessionKey(0).Ref()
	kept := s.held[ref]
	kept.Label = []byte("other")
	s.held[ref] = kept
	if _, err := backed(t, s, Options{}).Get(t.Context(), sessionKey(0)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
}
