package verifier_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/verifier"
)

func TestStateIsNotPrinted(t *testing.T) {
	state := verifier.State("a credential")
	for _, format := range []string{"%v", "%s", "%+v", "%q"} {
		if text := fmt.Sprintf(format, state); !strings.Contains(text, "redacted") {
			t.Errorf("%s prints %s", format, text)
		}
		if text := fmt.Sprintf(format, struct{ State verifier.State }{state}); !strings.Contains(text, "redacted") {
			t.Errorf("%s prints %s of a struct", format, text)
		}
	}
}

func TestNamesOfClassesAndOutcomes(t *testing.T) {
	for value, want := range map[fmt.Stringer]string{
		verifier.Class(0): "provider unavailable", verifier.Expired: "expired", verifier.Class(99): "provider unavailable",
		verifier.Outcome(0): "unknown", verifier.Pending: "pending", verifier.Verified: "verified", verifier.Outcome(99): "unknown",
	} {
		if value.String() != want {
			t.Errorf("%d is %q, want %q", value, value, want)
		}
	}
}

func TestNothingRevealsTheEmptySecret(t *testing.T) {
	if verifier.Reveals("", "") || verifier.Reveals("text", "") {
		t.Error("every text reveals it")
	}
}
