package provider

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode"

	"github.com/numberverify/caddy-number-verify/verifier"
)

func TestOperatorNamesThatAreNames(t *testing.T) {
	for _, name := range []string{
		"", "SFR", "Orange", "Bouygues Telecom", "Free Mobile", "Orange Caraïbe", "Orange Cara\u0131\u0308be", "1&1", "O2", "T-Mobile",
		"Three (3)", "Opérateur d’outre-mer", "Télécom d'Exemple", "Ex. Telecom S.A.", "オペレーター", "Оператор 7",
	} {
		if got := OperatorName(" " + name + " "); got != name {
			t.Errorf("%q becomes %q", name, got)
		}
	}
}

func TestOperatorNamesThatAreNumbersTokensOrMarkup(t *testing.T) {
	for _, name := range []string{
		"0639980001", "06 39 98 00 01", "6 3 9 9", "SFR 0639", "٠٦٣٩٩٨٠٠٠١", "０６３９", "①②③④", "ⅥⅢⅨⅨⅧ", "a1b2c3d4",
		"TKAAAAAAAAAAAAAAAAAAAAAAAAAA", "abcdefghijkl-mnopqrstuvwxyz-ABCDEFGHIJKLMNO", base64.RawURLEncoding.EncodeToString([]byte("a state of 32 bytes, as they come")),
		"SFR, forged", "SFR\r\nX: y", "SFR\x00", "\x1b[31mSFR", "SFR\u202eevil", "S\u2028FR", "S\tFR", "\ufffd", "\xff", "SFR\u00a0x",
		"<b>SFR</b>", `"SFR"`, "{env.X}", "{{.}}", "a=b", "a+b/c", "%53FR", "http://op.example", "op_x", "a:b", "a@b",
		strings.Repeat("SFR ", 17), strings.Repeat("é", 25),
	} {
		if got := OperatorName(name); got != "" {
			t.Errorf("%q passes as %q", name, got)
		}
	}
}

// A token may be short, and look like a name.
func TestOperatorNameThatRevealsATokenIsNone(t *testing.T) {
	req := verifier.StartRequest{CallbackURL: "https://www.example.com/.number-verify/callback", State: "statestatestate"}
	for name, hidden := range map[string]string{"SFR tokentoken": "the token", "SFR StateStateState": "the state", "hidden-one": "what the verifier hides", "SFR": ""} {
		started := &verifier.Started{URL: "https://operator.example/", Operator: name, Hidden: []string{"hidden-one"}}
		got, err := checked(started, req, &verifier.Token{Value: "tokentoken"})
		if err != nil {
			t.Fatal(err)
		}
		if (got.Operator == "") != (hidden != "") {
			t.Errorf("%q becomes %q: it reveals %q", name, got.Operator, hidden)
		}
	}
}

func FuzzOperatorName(f *testing.F) {
	f.Add("Bouygues Telecom")
	f.Add("+33 6 39 98 00 01")
	f.Fuzz(func(t *testing.T, s string) {
		name := OperatorName(s)
		digits := strings.Map(func(r rune) rune {
			if unicode.IsNumber(r) {
				return r
			}
			return -1
		}, name)
		if len(name) > 64 || len(digits) > 3 || strings.ContainsFunc(name, unicode.IsControl) || !strings.Contains(s, name) {
			t.Errorf("%q becomes %q", s, name)
		}
	})
}
