package pages

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/test/manual"
)

// codes are all codes, as pages get them.
func codes() []string {
	var all []string
	for _, code := range refusal.Codes() {
		all = append(all, string(code))
	}
	return all
}

func TestEveryCodeHasItsTexts(t *testing.T) {
	if got := slices.Sorted(maps.Keys(english.problems)); !slices.Equal(got, codes()) {
		t.Errorf("there are texts for\n%v\nthe codes are\n%v", got, codes())
	}
}

// sentences returns all texts of a language, each by a name.
func sentences(in *texts) map[string]string {
	all := map[string]string{
		"thisSite": in.thisSite, "aService": in.aService, "introOf": in.introOf, "keptOf": in.keptOf, "againIn": in.againIn, "and": in.and,
	}
	fixed := reflect.ValueOf(in.words)
	for i := range fixed.NumField() {
		all[fixed.Type().Field(i).Name] = fixed.Field(i).String()
	}
	for unit, name := range in.units {
		all[unit.String()+" one"], all[unit.String()+" many"] = name.one, name.many
	}
	every := maps.Clone(in.problems)
	every["nowhere"] = in.nowhere
	for code, p := range every {
		all[code+" title"], all[code+" reason"] = p.Title, p.Reason
		all[code+" advice"] = strings.Join(p.Advice, "\n")
	}
	return all
}

func TestLanguagesSayTheSame(t *testing.T) {
	names := slices.Sorted(maps.Keys(sentences(english)))
	for lang, in := range languages {
		all := sentences(in)
		if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, names) {
			t.Errorf("%s has other texts: %v", lang, got)
		}
		for name, s := range all {
			if strings.TrimSpace(s) == "" {
				t.Errorf("%s: %s is empty", lang, name)
			}
			if strings.Count(s, "%s") != strings.Count(sentences(english)[name], "%s") {
				t.Errorf("%s: %s has another number of gaps", lang, name)
			}
		}
		for code, p := range in.problems {
			if len(p.Advice) != len(english.problems[code].Advice) || slices.Contains(p.Advice, "") {
				t.Errorf("%s: the advice for %s is not complete", lang, code)
			}
		}
	}
}

// misprints match what good typography in each language avoids.
var misprints = map[string]*regexp.Regexp{
	"en": regexp.MustCompile(`['"]|\s[:;!?.,]|\.\.\.|  `),
	"fr": regexp.MustCompile(`['"]|[^\x{a0}][:;!?»]|«[^\x{a0}]| [.,]|\.\.\.|  `),
}

func TestTypography(t *testing.T) {
	for lang, in := range languages {
		for name, s := range sentences(in) {
			if misprints[lang] == nil {
				t.Fatalf("%s has no entry in misprints", lang)
			}
			if found := misprints[lang].FindString(s); found != "" {
				t.Errorf("%s: %s has %q: %s", lang, name, found, s)
			}
			if strings.HasSuffix(name, "reason") || strings.HasSuffix(name, "advice") {
				for line := range strings.Lines(s) {
					if !strings.HasSuffix(strings.TrimSpace(line), ".") {
						t.Errorf("%s: %s is no sentence: %s", lang, name, line)
					}
				}
			}
		}
	}
}

func TestProviderMisconfiguredGivesNothingAway(t *testing.T) {
	for lang, in := range languages {
		p := in.problems["provider_misconfigured"]
		all := strings.ToLower(p.Title + p.Reason + strings.Join(p.Advice, ""))
		for _, word := range []string{"config", "licen", "credit", "crédit", "dqe", "secret", "token", "jeton"} {
			if strings.Contains(all, word) {
				t.Errorf("%s says %s", lang, word)
			}
		}
	}
}

func TestDurationInWords(t *testing.T) {
	tests := []struct {
		d      time.Duration
		en, fr string
	}{
		{time.Millisecond, "1 second", "1 seconde"},
		{30 * time.Second, "30 seconds", "30 secondes"},
		{59*time.Second + 1, "1 minute", "1 minute"},
		{time.Minute, "1 minute", "1 minute"},
		{61 * time.Second, "2 minutes", "2 minutes"},
		{59*time.Minute + time.Second, "1 hour", "1 heure"},
		{90 * time.Minute, "1 hour and 30 minutes", "1 heure et 30 minutes"},
		{2 * time.Hour, "2 hours", "2 heures"},
		{24 * time.Hour, "24 hours", "24 heures"},
		{47*time.Hour + 59*time.Minute + time.Second, "2 days", "2 jours"},
		{49 * time.Hour, "2 days and 1 hour", "2 jours et 1 heure"},
		{30*day + time.Second, "30 days and 1 hour", "30 jours et 1 heure"},
	}
	for _, test := range tests {
		for lang, want := range map[string]string{"en": test.en, "fr": test.fr} {
			if got := strings.ReplaceAll(languages[lang].duration(test.d), "\u00a0", " "); got != want {
				t.Errorf("%v in %s is %q, want %q", test.d, lang, got, want)
			}
		}
	}
}

func TestNoDurationIsNotSaid(t *testing.T) {
	for lang, in := range languages {
		for _, d := range []time.Duration{0, -time.Second} {
			if in.kept("", d) != "" || in.tryAgainIn(d) != "" {
				t.Errorf("%s says %v", lang, d)
			}
		}
	}
}

// TestEveryTemplateFieldIsDocumented holds the tables of docs/pages.md to the fields.
func TestEveryTemplateFieldIsDocumented(t *testing.T) {
	var want, told []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[view]()) {
		if !field.Anonymous {
			want = append(want, "`."+field.Name+"`")
		}
	}
	for _, row := range manual.Rows(manual.Section(t, manual.Page(t, "docs/pages.md"), "## What templates get")) {
		told = append(told, strings.Split(row[0], ", ")...)
	}
	slices.Sort(want)
	slices.Sort(told)
	if !slices.Equal(told, want) {
		t.Errorf("docs/pages.md tells of\n%v\nthere are\n%v", told, want)
	}
}
