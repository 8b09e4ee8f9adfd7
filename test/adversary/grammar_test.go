package adversary

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// grammar makes request targets of segments, separators, dots and encodings, as
// different readings of a path would disagree about.
type grammar struct {
	*rand.Rand
	// words are the names that segments are made of.
	words []string
}

// token is a part of a target: how it is spelled, and what it means.
type token struct{ spelled, plain string }

type target []token

// String is the target as it is sent.
func (t target) String() string {
	var b strings.Builder
	b.WriteString("/")
	for _, part := range t {
		b.WriteString(part.spelled)
	}
	return b.String()
}

// odd counts the parts that are not spelled as they are meant.
func (t target) odd() int {
	n := 0
	for _, part := range t {
		if part.spelled != part.plain {
			n++
		}
	}
	return n
}

// targets makes so many of them, the same for the same seed. The first word is in
// each.
func targets(seed uint64, n int, words ...string) []target {
	g := grammar{rand.New(rand.NewPCG(seed, 0)), words}
	var all []target
	for len(all) < n {
		t := g.target()
		if slices.ContainsFunc(t, func(part token) bool { return part.plain == words[0] }) {
			all = append(all, t)
		}
	}
	return all
}

func (g grammar) target() target {
	var all target
	if g.IntN(4) == 0 {
		all = append(all, g.separator())
	}
	for range 1 + g.IntN(5) {
		all = append(all, g.segment())
		if g.IntN(6) == 0 {
			all = append(all, g.ending())
		}
		all = append(all, g.separator())
	}
	if g.IntN(2) == 0 {
		all = all[:len(all)-1]
	}
	if g.IntN(12) == 0 {
		all = append(all, token{"?a=" + g.pick("/health", "/public", "/account/", "..%2f"), ""})
	}
	return all
}

func (g grammar) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g grammar) separator() token {
	return token{g.pick("/", "/", "/", "/", "/", "//", "///", "%2f", "%2F", "%252f", "%252F", "\\", "%5c", "%5C", "%255c"), "/"}
}

// segment is a word or dots, some letters of it encoded.
func (g grammar) segment() token {
	text := g.pick(g.words...)
	if g.IntN(3) == 0 {
		text = g.pick(".", "..", "..", "..", "")
	}
	oneIn := g.pick3(1, 3, 0) // of the letters; 0 for none
	var b strings.Builder
	for _, c := range []byte(text) {
		if oneIn == 0 || g.IntN(oneIn) > 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, g.pick("%%%02x", "%%%02X", "%%25%02x", "%%25%02X"), c)
	}
	spelled := b.String()
	if g.IntN(20) == 0 && !strings.Contains(spelled, "%") { // what some drop without a word
		at := g.IntN(len(spelled) + 1)
		spelled = spelled[:at] + g.pick("%09", "%0a", "%0D", "%250a", "%20") + spelled[at:]
	}
	return token{spelled, text}
}

// pick3 is mostly the last.
func (g grammar) pick3(rarely, sometimes, mostly int) int {
	switch n := g.IntN(10); {
	case n == 0:
		return rarely
	case n < 4:
		return sometimes
	default:
		return mostly
	}
}

// ending is put behind a segment by those who know that some server stops there.
func (g grammar) ending() token {
	return token{g.pick(";", ";a=b", ";a=b;c", "%3b", "%3Ba=b", "%253b", "%00", "%00x", "%2500", "%3f", "%3Fa=b", "%23", "%253f"), ""}
}

// shrink drops and simplifies parts of a target as long as it still fails.
func (t target) shrink(fails func(string) bool) target {
	for i := 0; i < len(t); i++ {
		simpler := slices.Clone(t)
		simpler[i].spelled = t[i].plain
		for _, smaller := range []target{slices.Delete(slices.Clone(t), i, i+1), simpler} {
			if smaller.String() != t.String() && fails(smaller.String()) {
				return smaller.shrink(fails)
			}
		}
	}
	return t
}
