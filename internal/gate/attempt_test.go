package gate

import (
	"strings"
	"testing"
)

func TestCallbackQueryTakesOneNonceHoweverTheRestIsWritten(t *testing.T) {
	nonce := strings.Repeat("n", idLength)
	for name, c := range map[string]struct {
		raw   string
		ok    bool
		token string
	}{
		"as documented":            {"state=" + nonce + "&token=TK&status=success", true, "TK"},
		"second question mark":     {"state=" + nonce + "?token=TK&status=success", true, "TK"},
		"token first":              {"token=TK&state=" + nonce, true, "TK"},
		"raw percent":              {"state=" + nonce + "&token=100%&status=success", true, "100%"},
		"raw semicolon":            {"state=" + nonce + "&token=T;K", true, "T;K"},
		"encoded token":            {"state=" + nonce + "&token=T%2FK", true, "T/K"},
		"empty parameters":         {"&&state=" + nonce + "&&token=TK&", true, "TK"},
		"no query":                 {"", false, ""},
		"no nonce":                 {"token=TK", false, ""},
		"two nonces":               {"state=" + nonce + "&state=" + nonce, false, ""},
		"two nonces, one encoded":  {"state=" + nonce + "&%73tate=" + strings.Repeat("m", idLength), false, ""},
		"two nonces, one empty":    {"state=" + nonce + "?state", false, ""},
		"nonce with broken escape": {"state=%zz" + nonce[3:], false, ""},
		"nonce after a semicolon":  {"token=TK;state=" + nonce, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rest, got, ok := callbackQuery(c.raw)
			if ok != c.ok || (ok && (got != nonce || rest.Get("token") != c.token || rest.Has("state"))) {
				t.Errorf("got %v, %q, %t", rest, got, ok)
			}
		})
	}
}

// FuzzCallbackQuery holds that a nonce is read only where there is exactly one,
// well formed, and that none is left among the rest.
func FuzzCallbackQuery(f *testing.F) {
	nonce := strings.Repeat("n", idLength)
	for _, seed := range []string{
		"", "state=" + nonce, "state=" + nonce + "?token=TK&status=success", "%73tate=" + nonce + "&state=", "state=%00&token=%",
		"state=" + nonce + "&state=" + nonce, "?&?state=" + nonce + "=&a==b", "state[]=" + nonce, "STATE=" + nonce,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		rest, got, ok := callbackQuery(raw)
		if !ok {
			if got != "" || rest != nil {
				t.Errorf("%q is refused, but gives %q and %v", raw, got, rest)
			}
			return
		}
		if !isID(got) || rest.Has("state") {
			t.Errorf("%q gives %q and leaves %v", raw, got, rest)
		}
	})
}
