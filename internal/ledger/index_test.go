package ledger

import (
	"bytes"
	"testing"

	"github.com/numberverify/caddy-number-verify/cache"
)

func TestKeyDerivedFromNothingIsRefused(t *testing.T) {
	if _, err := deriveIndexKey("", "dqe/account"); err == nil {
		t.Error("anybody can derive the key")
	}
	if _, err := deriveIndexKey("0123456789abcdef", "dqe/account"); err != nil {
		t.Error(err)
	}
}

// Whoever has stolen a cache can try all numbers and addresses, but not without the
// secret.
func TestNumberAndAddressAreNotGuessedFromAStolenIndexWithoutItsSecret(t *testing.T) {
	told := func(account, secret string) [][]byte {
		l, err := New(Config{Account: account, Secrets: []string{secret}})
		if err != nil {
			t.Fatal(err)
		}
		const number, network = "+33639980001", "192.0.2.1"
		tags, count := l.tags(number, cache.Tag{}), l.CountKey("number", number)
		return [][]byte{tags[numberTag][:], []byte(l.ClientName(network)), []byte(count.Secret)}
	}
	own := told("account", "secret")
	for name, guess := range map[string][][]byte{"another secret": told("account", "guessed"), "another account": told("other", "secret")} {
		for i := range own {
			if bytes.Equal(own[i], guess[i]) {
				t.Errorf("%s gives the same index: %x", name, guess[i])
			}
		}
	}
	for i, again := range told("account", "secret") {
		if !bytes.Equal(own[i], again) {
			t.Error("another node would find nothing")
		}
	}
}
