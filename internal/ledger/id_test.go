package ledger

import "testing"

func TestReferenceIsThatOfOneAttempt(t *testing.T) {
	id, other := AttemptID("nonce"), AttemptID("another nonce")
	if Reference(id) != "KK8YKRT9" {
		t.Errorf("the reference of an attempt is %s now, so that nodes of two versions differ", Reference(id))
	}
	if !IsReference(Reference(id)) || Reference(id) == Reference(other) {
		t.Errorf("%s and %s", Reference(id), Reference(other))
	}
}

func TestReferenceOfARefusalIsRandom(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		reference := NewReference()
		if !IsReference(reference) || seen[reference] {
			t.Fatalf("%q", reference)
		}
		seen[reference] = true
	}
}

func TestReferenceIsReadAsItIsHeard(t *testing.T) {
	for typed, want := range map[string]string{
		"K7Q2M9PX": "K7Q2M9PX", " k7q2-m9px ": "K7Q2M9PX", "K7Q2 M9PX": "K7Q2M9PX", "oOiIlL00": "00111100",
	} {
		if got := ReadReference(typed); got != want || !IsReference(got) {
			t.Errorf("%q is read as %q", typed, got)
		}
	}
	for _, s := range []string{"", "K7Q2M9P", "K7Q2M9PXX", "K7Q2M9PU", "k7q2m9px", "K7Q2M9P<"} {
		if IsReference(s) {
			t.Errorf("%q passes", s)
		}
	}
}
