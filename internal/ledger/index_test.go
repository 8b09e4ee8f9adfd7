package ledger

import "testing"

func TestKeyDerivedFromNothingIsRefused(t *testing.T) {
	if _, err := deriveIndexKey("", "dqe/account"); err == nil {
		t.Error("anybody can derive the key")
	}
	if _, err := deriveIndexKey("0123456789abcdef", "dqe/account"); err != nil {
		t.Error(err)
	}
}
