package gate

import "testing"

func TestKeyDerivedFromNothingIsRefused(t *testing.T) {
	if _, err := newIndex("", "dqe/account"); err == nil {
		t.Error("anybody can derive the key")
	}
	if _, err := newIndex("0123456789abcdef", "dqe/account"); err != nil {
		t.Error(err)
	}
}
