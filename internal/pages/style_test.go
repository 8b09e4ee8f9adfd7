package pages

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Pairs of text and ground, or of a line and ground, as base.html uses them.
var (
	textPairs = [][2]string{
		{"text", "page"}, {"text", "card"}, {"soft", "card"}, {"accent", "page"}, {"accent", "card"}, {"good", "card"},
		{"on-accent", "accent"}, {"on-accent", "accent-over"}, {"note-text", "note"}, {"alert-text", "alert"},
	}
	linePairs = [][2]string{ // WCAG 2.2, 1.4.11
		{"line", "card"}, {"accent", "card"}, {"accent", "page"}, {"alert-text", "card"}, {"good", "card"},
	}
)

func TestColoursHaveContrast(t *testing.T) {
	base, err := builtin.ReadFile("templates/base.html")
	if err != nil {
		t.Fatal(err)
	}
	schemes := regexp.MustCompile(`:root\{[^}]*\}`).FindAllString(string(base), -1)
	if len(schemes) != 2 {
		t.Fatalf("%d colour schemes instead of light and dark", len(schemes))
	}
	for i, name := range []string{"light", "dark"} {
		colours := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([a-z-]+):#([0-9a-f]+)`).FindAllStringSubmatch(schemes[i], -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for least, pairs := range map[float64][][2]string{4.5: textPairs, 3: linePairs} {
			for _, pair := range pairs {
				front, ok1 := colours[pair[0]]
				ground, ok2 := colours[pair[1]]
				if !ok1 || !ok2 {
					t.Errorf("%s has no colours %v", name, pair)
				}
				if got := contrast(front, ground); got < least {
					t.Errorf("%s: %s on %s has contrast %.2f, less than %.1f", name, pair[0], pair[1], got, least)
				}
			}
		}
	}
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = strings.Repeat(hex[:1], 2) + strings.Repeat(hex[1:2], 2) + strings.Repeat(hex[2:], 2)
	}
	rgb, err := strconv.ParseUint(hex, 16, 24)
	if err != nil || len(hex) != 6 {
		t.Fatalf("%q is no colour", hex)
	}
	linear := func(shift int) float64 {
		c := float64(rgb>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(16) + 0.7152*linear(8) + 0.0722*linear(0)
}

func contrast(a, b float64) float64 {
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

func TestContrastOfKnownColours(t *testing.T) {
	if got := contrast(luminance(t, "000"), luminance(t, "ffffff")); math.Abs(got-21) > 0.001 {
		t.Errorf("black on white has %v", got)
	}
	if got := contrast(luminance(t, "767676"), luminance(t, "fff")); math.Abs(got-4.54) > 0.01 {
		t.Errorf("#767676 on white has %v", got)
	}
}

// WCAG 2.2, 2.5.5: 44 px, which are 2.75rem.
func TestWhatIsTouchedIsLargeEnough(t *testing.T) {
	base, err := builtin.ReadFile("templates/base.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, selector := range []string{"input[type=tel]", ".button", "footer a"} {
		rule := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(selector) + `\{[^}]*min-height:([0-9.]+)rem`).FindSubmatch(base)
		if rule == nil {
			t.Errorf("%s has no least height", selector)
			continue
		}
		if height, err := strconv.ParseFloat(string(rule[1]), 64); err != nil || height < 2.75 {
			t.Errorf("%s is %s rem high", selector, rule[1])
		}
	}
}

func TestStyleUsesOnlyItsColours(t *testing.T) {
	base, err := builtin.ReadFile("templates/base.html")
	if err != nil {
		t.Fatal(err)
	}
	defined := regexp.MustCompile(`--[a-z-]+:`).FindAllString(string(base), -1)
	used := regexp.MustCompile(`var\((--[a-z-]+)\)`).FindAllStringSubmatch(string(base), -1)
	for _, m := range used {
		if n := strings.Count(strings.Join(defined, " ")+" ", m[1]+": "); n != 2 {
			t.Errorf("%s is defined %d times instead of for light and dark", m[1], n)
		}
	}
	for _, want := range []string{"prefers-color-scheme:dark", "prefers-reduced-motion", "forced-colors", ":focus-visible"} {
		if !strings.Contains(string(base), want) {
			t.Errorf("the style knows nothing of %s", want)
		}
	}
}
