package provider

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// nonceLength is the length of 256 bits in base64url.
const nonceLength = 43

// plain is a verifier whose provider writes callbacks by the standard.
type plain struct{}

func (plain) Account() string         { return "plain" }
func (plain) Secret() string          { return "the plain one's secret" }
func (plain) Recipient() string       { return "Example" }
func (plain) Understands(string) bool { return true }

func (plain) Start(context.Context, verifier.StartRequest) (*verifier.Started, error) {
	return &verifier.Started{URL: "https://operator.example/"}, nil
}

func (plain) Callback(state verifier.State, _ url.Values) (verifier.State, error) { return state, nil }

func (plain) Result(context.Context, verifier.State) (verifier.Outcome, error) {
	return verifier.Verified, nil
}

// lenient is a verifier whose provider does not.
type lenient struct {
	plain
	parse func(string) url.Values
}

func (l lenient) ParseCallback(raw string) url.Values { return l.parse(raw) }

func TestCallbackQueryTakesOneNonceAndWhatParsesOnly(t *testing.T) {
	p := New(plain{}, nil, nil, journal.New(zap.NewNop()))
	nonce := strings.Repeat("n", nonceLength)
	for name, c := range map[string]struct {
		raw  string
		code string
		ok   bool
	}{
		"as by the standard":          {"state=" + nonce + "&code=C", "C", true},
		"code first, encoded":         {"code=%43&%73tate=" + nonce, "C", true},
		"empty parameters":            {"&&state=" + nonce + "&&code=C&", "C", true},
		"no query":                    {"", "", false},
		"no nonce":                    {"code=C", "", false},
		"two nonces":                  {"state=" + nonce + "&state=" + nonce, "", false},
		"two nonces, one encoded":     {"state=" + nonce + "&%73tate=" + strings.Repeat("m", nonceLength), "", false},
		"nonce of another length":     {"state=" + nonce + "n", "", false},
		"second question mark":        {"state=" + nonce + "?code=C", "", false},
		"code with a broken encoding": {"state=" + nonce + "&code=100%", "", false},
		"code with a semicolon":       {"state=" + nonce + "&code=T;K", "", false},
		"nonce after a semicolon":     {"code=C;state=" + nonce, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			rest, got, ok := p.ReadCallback(c.raw)
			if ok != c.ok || (ok && (got != nonce || rest.Get("code") != c.code || rest.Has("state"))) || (!ok && (got != "" || rest != nil)) {
				t.Errorf("got %v, %q, %t", rest, got, ok)
			}
		})
	}
}

func TestCallbackQueryIsReadAsItsProviderWritesIt(t *testing.T) {
	nonce := strings.Repeat("n", nonceLength)
	for name, c := range map[string]struct {
		parse func(string) url.Values
		ok    bool
	}{
		"its own way":    {func(raw string) url.Values { return url.Values{"state": {raw[:nonceLength]}} }, true},
		"two nonces":     {func(string) url.Values { return url.Values{"state": {nonce, nonce}} }, false},
		"none":           {func(string) url.Values { return nil }, false},
		"a broken nonce": {func(string) url.Values { return url.Values{"state": {nonce[1:]}} }, false},
		"a panic":        {func(raw string) url.Values { panic(raw) }, false},
	} {
		p := New(lenient{parse: c.parse}, nil, nil, journal.New(zap.NewNop()))
		if _, got, ok := p.ReadCallback(nonce + "|rest"); ok != c.ok || (got == nonce) != c.ok {
			t.Errorf("%s: got %q, %t", name, got, ok)
		}
	}
}

// FuzzCallbackQuery checks that a nonce is read only if there is exactly one and it is
// well formed, and that the rest contains none.
func FuzzCallbackQuery(f *testing.F) {
	p := New(plain{}, nil, nil, journal.New(zap.NewNop()))
	nonce := strings.Repeat("n", nonceLength)
	for _, seed := range []string{
		"", "state=" + nonce, "state=" + nonce + "?token=TK&status=success", "%73tate=" + nonce + "&state=", "state=%00&token=%",
		"state=" + nonce + "&state=" + nonce, "?&?state=" + nonce + "=&a==b", "state[]=" + nonce, "STATE=" + nonce,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		rest, got, ok := p.ReadCallback(raw)
		if !ok {
			if got != "" || rest != nil {
				t.Errorf("%q is refused, but gives %q and %v", raw, got, rest)
			}
			return
		}
		if !ledger.IsID(got) || rest.Has("state") {
			t.Errorf("%q gives %q and leaves %v", raw, got, rest)
		}
	})
}
