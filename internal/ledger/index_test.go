package ledger

import "testing"

func TestKeyDerivedFromNothingIsRefused(t *testing.T) {
	if _, err := indexKey("", "dqe/account"); err == nil {
		t.Error("anybody can derive the key")
	}
	if _, err := indexKey("0123456789abcdef", "dqe/account"); err != nil {
		t.Error(err)
	}
}
