package pages

import (
	"strings"
	"testing"
)

func TestLanguage(t *testing.T) {
	tests := []struct{ name, header, want string }{
		{"none", "", "en"},
		{"French", "fr", "fr"},
		{"French of France first", "fr-FR,fr;q=0.9,en-US;q=0.8,en;q=0.7", "fr"},
		{"French of Canada", "fr-CA", "fr"},
		{"upper case", "FR-FR", "fr"},
		{"English first", "en-GB,en;q=0.9,fr;q=0.8", "en"},
		{"English by weight", "fr;q=0.3,en;q=0.8", "en"},
		{"French by weight", "en;q=0.3,fr;q=0.8", "fr"},
		{"English excluded", "en;q=0,fr;q=0.1", "fr"},
		{"French excluded", "fr;q=0", "en"},
		{"another language, then French", "tlh,fr;q=0.5", "fr"},
		{"another language", "tlh", "en"},
		{"any language", "*", "en"},
		{"nonsense", "!!;q=x,,", "en"},
		{"blanks", " fr-FR , en;q=0.5 ", "fr"},
		{"long, French at the front", "fr," + strings.Repeat("tlh,", 100) + "en", "fr"},
		{"long, French past the end", strings.Repeat("tlh,", 100) + "fr", "en"},
		{"cut inside a language", strings.Repeat("x", 198) + ",fr", "en"},
		{"one endless language", strings.Repeat("fr-", 1000), "en"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Language(test.header); got != test.want {
				t.Errorf("Language(%q) = %q", test.header, got)
			}
		})
	}
}

func TestEveryLanguageHasItsTexts(t *testing.T) {
	for _, tag := range tags {
		if languages[tag.String()] == nil {
			t.Errorf("%s has none", tag)
		}
		if got := Language(tag.String()); got != tag.String() {
			t.Errorf("who wants %s gets %s", tag, got)
		}
	}
	if len(languages) != len(tags) {
		t.Errorf("there are texts of %d languages, and %d languages", len(languages), len(tags))
	}
}

func FuzzLanguage(f *testing.F) {
	for _, seed := range []string{"", "fr", "fr-FR,fr;q=0.9,en;q=0.8", "*;q=0", "x-y-z", strings.Repeat("_", 300), "fr;q=\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if got := Language(header); languages[got] == nil {
			t.Errorf("Language(%q) = %q", header, got)
		}
	})
}

func BenchmarkLanguage(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Language("fr-FR,fr;q=0.9,en-US;q=0.8,en;q=0.7")
	}
}
