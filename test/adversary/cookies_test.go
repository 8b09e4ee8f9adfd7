package adversary

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// crumbs are lines of Cookie. In them NAME and ID are a visitor's session, BNAME
// and BID his browser cookie, and OTHER is another visitor's session.
type crumbs struct {
	vector
	lines []string
}

// The kinds of mistakes that crumbs imitate.
const (
	guessed = "CVE-2026-25748 (authentik): session ids that are guessed, cut or repaired"
	tossed  = "cookie tossing: one of the same name, set by a sibling host or a page of http"
	lenient = "CVE-2023-23934 (Werkzeug) and its kind: cookie syntax that two parsers read in two ways"
	// odd is read as the visitor's session all the same, which is of no use to
	// anybody else, and must not reach the site either
	odd       = "cookie syntax that the gate overlooks and the site does not"
	swapped   = "a value that is valid, but for something else"
	overgrown = "CVE-2025-58186 (Go): more cookies than a server counts"
)

var broken = []crumbs{
	{vector{"an empty value", guessed}, []string{"NAME="}},
	{vector{"no value", guessed}, []string{"NAME"}},
	{vector{"one that nobody has", guessed}, []string{"NAME=" + strings.Repeat("A", 43)}},
	{vector{"all zeros", guessed}, []string{"NAME=" + strings.Repeat("0", 43)}},
	{vector{"the id without its last letter", guessed}, []string{"NAME=CUT"}},
	{vector{"the id and a letter", guessed}, []string{"NAME=IDA"}},
	{vector{"the id and padding", guessed}, []string{"NAME=ID="}},
	{vector{"the id, other spare bits", guessed}, []string{"NAME=SPARE"}},
	{vector{"the id in the other letter case", guessed}, []string{"NAME=CASE"}},
	{vector{"the id, its last letter another", guessed}, []string{"NAME=CUT!"}},
	{vector{"the id twice", guessed}, []string{"NAME=IDID"}},
	{vector{"the id after a dot", guessed}, []string{"NAME=.ID"}},
	{vector{"a number", guessed}, []string{"NAME=1"}},
	{vector{"true", guessed}, []string{"NAME=true"}},
	{vector{"null", guessed}, []string{"NAME=null"}},
	{vector{"JSON", guessed}, []string{`NAME={"number":"+33639980001"}`}},
	{vector{"a token without a signature", guessed}, []string{"NAME=eyJhbGciOiJub25lIn0.eyJudW1iZXIiOiIrMzM2Mzk5ODAwMDEifQ."}},
	{vector{"a wildcard", guessed}, []string{"NAME=*"}},
	{vector{"a path", guessed}, []string{"NAME=../../../../etc/passwd"}},
	{vector{"a query", guessed}, []string{"NAME=' OR '1'='1"}},
	{vector{"commands of Redis", guessed}, []string{"NAME=a\\r\\nFLUSHALL\\r\\n"}},
	{vector{"an expression", guessed}, []string{"NAME={env.ADVERSARY_SECRET}"}},

	{vector{"doubled, the valid one first", tossed}, []string{"NAME=ID; NAME=x"}},
	{vector{"doubled, the valid one last", tossed}, []string{"NAME=x; NAME=ID"}},
	{vector{"doubled, both valid", tossed}, []string{"NAME=ID; NAME=ID"}},
	{vector{"doubled, both valid, of two visitors", tossed}, []string{"NAME=ID; NAME=OTHER"}},
	{vector{"doubled on two lines", tossed}, []string{"NAME=ID", "NAME=OTHER"}},
	{vector{"doubled, one empty", tossed}, []string{"NAME=ID; NAME="}},
	{vector{"doubled, one without a value", tossed}, []string{"NAME=ID; NAME"}},
	{vector{"doubled, one with a blank before its equal sign", tossed}, []string{"NAME =x; NAME=ID"}},
	{vector{"doubled, one made up, one without a value", tossed}, []string{"NAME=" + strings.Repeat("A", 43) + "; ; ;NAME"}},
	{vector{"doubled, far apart", tossed}, []string{"NAME=ID; " + strings.Repeat("a=b; ", 100) + "NAME=OTHER"}},
	{vector{"a hundred", tossed}, []string{strings.Repeat("NAME=ID; ", 100)}},

	{vector{"without its prefix, or with one", swapped}, []string{"OTHERNAME=ID"}},
	{vector{"with the prefix of a domain", swapped}, []string{"__Secure-number-verify=ID"}},
	{vector{"with the prefix in lower case", swapped}, []string{"__host-number-verify=ID"}},
	{vector{"a name in the other letter case", swapped}, []string{"NUMBER-VERIFY=ID; __HOST-NUMBER-VERIFY=ID"}},
	{vector{"a name with underscores", swapped}, []string{"number_verify=ID; __Host_number_verify=ID"}},
	{vector{"the browser cookie as the session", swapped}, []string{"NAME=BID"}},
	{vector{"the session as the browser cookie", swapped}, []string{"BNAME=ID"}},
	{vector{"the browser cookie alone", swapped}, []string{"BNAME=BID"}},
	{vector{"a session that has ended", swapped}, []string{"NAME=ENDED"}},
	{vector{"the session of the other origin", swapped}, []string{"NAME=FOREIGN"}},
	{vector{"a name that begins like it", swapped}, []string{"NAMEx=ID"}},
	{vector{"a name that ends like it", swapped}, []string{"xNAME=ID"}},

	{vector{"in quotes", lenient}, []string{`NAME="ID"`}},
	{vector{"an open quote", lenient}, []string{`NAME="ID`}},
	{vector{"quotes over two cookies", odd}, []string{`a="b; NAME=ID; c="`}},
	{vector{"a blank before the equal sign", odd}, []string{"NAME =ID"}},
	{vector{"a tab before the equal sign", odd}, []string{"NAME\t=ID"}},
	{vector{"no name before it", lenient}, []string{"=NAME=ID"}},
	{vector{"no name, alone", lenient}, []string{"=ID"}},
	{vector{"as a list", lenient}, []string{"NAME[0]=ID; NAME[]=ID"}},
	{vector{"a comma before", lenient}, []string{"a=b, NAME=ID"}},
	{vector{"in the value of another", lenient}, []string{"a=NAME=ID"}},
	{vector{"a version before", lenient}, []string{"$Version=1, NAME=ID; $Path=/"}},
	{vector{"encoded", lenient}, []string{"NAME=%ID"}},
	{vector{"the name encoded", lenient}, []string{"%6eumber-verify=ID; __Host%2dnumber-verify=ID"}},
	{vector{"a NUL behind", lenient}, []string{"NAME=ID\x00"}},
	{vector{"a NUL before", lenient}, []string{"NAME=\x00ID"}},
	{vector{"a DEL behind", lenient}, []string{"NAME=ID\x7f"}},
	{vector{"high bytes behind", lenient}, []string{"NAME=ID\xff\xfe"}},
	{vector{"a no-break space before the name", odd}, []string{"a=b;\u00a0NAME=ID"}},
	{vector{"a wide blank before the name", odd}, []string{"a=b;\u2000NAME=ID"}},
	{vector{"a vertical tab before the name", lenient}, []string{"a=b;\x0bNAME=ID"}},
	{vector{"a line feed within", lenient}, []string{"NAME=I\nD"}},
	{vector{"no semicolon between", lenient}, []string{"a=b NAME=ID"}},

	{vector{"ten thousand others", overgrown}, []string{strings.Repeat("a=b; ", 10_000)}},
	{vector{"one of 100 kB", overgrown}, []string{"NAME=" + strings.Repeat("A", 100_000)}},
	{vector{"a thousand lines", overgrown}, slices.Repeat([]string{"NAME=x"}, 1000)},
	{vector{"semicolons alone", overgrown}, []string{strings.Repeat(";", 10_000)}},
}

func TestBrokenCookies(t *testing.T) {
	s := newSite(t, account)
	owners, values := make(map[bool]*stage.Visitor), make(map[bool]*strings.Replacer)
	for _, secure := range []bool{false, true} {
		w := map[bool]stage.Wire{false: stage.HTTP11, true: stage.HTTP11S}[secure]
		owners[secure] = s.verifiedAt(t, s.Origin(w))
	}
	for secure, owner := range owners {
		values[secure] = s.cookieValues(t, owner, owners[!secure])
	}
	s.Upstream.Take()
	attack(t, "Broken cookies", broken, func(t *testing.T, c crumbs) {
		for _, w := range stage.Wires {
			r := stage.Request{Path: "/account/"}
			for _, line := range c.lines {
				r = r.With("Cookie: " + values[w.IsSecure].Replace(line))
			}
			a := w.Send(s.Stage, r)
			if c.like == odd {
				s.verified(t)
				continue
			}
			s.unverified(t)
			if a.StatusCode >= 500 {
				t.Errorf("%s: answers %d", w.Name, a.StatusCode)
			}
			if len(a.Header["Set-Cookie"]) > 0 {
				t.Errorf("%s: a refusal touches the visitor's cookies", w.Name)
			}
		}
	})
	// they were broken, not the visitors
	for secure, owner := range owners {
		w := map[bool]stage.Wire{false: stage.HTTP11, true: stage.HTTP11S}[secure]
		w.Send(s.Stage, stage.Request{Path: "/account/", Fields: []string{owner.CookieField()}})
		if s.verified(t) != 1 {
			t.Error("the visitor's own cookies do not pass any longer")
		}
	}
}

// cookieValues are what stands for the words in crumbs, where owner is attacked.
func (s *site) cookieValues(t *testing.T, owner, foreign *stage.Visitor) *strings.Replacer {
	t.Helper()
	name, id := session(owner)
	otherName, foreignID := session(foreign)
	_, other := session(s.verifiedAt(t, owner.Origin))
	left := s.verifiedAt(t, owner.Origin)
	_, ended := session(left)
	left.Post("/.number-verify/sign-out", nil)
	return strings.NewReplacer(
		"OTHERNAME", otherName, "BNAME", name+"-browser", "NAME", name, "BID", owner.Cookies("/")[name+"-browser"],
		"OTHER", other, "ENDED", ended, "FOREIGN", foreignID, "SPARE", spareBits(id), "CASE", swapCase(id), "CUT", id[:len(id)-1],
		"%ID", fmt.Sprintf("%%%02x", id[0])+id[1:], "ID", id,
	)
}

// spareBits is another text that a lenient decoder takes for the same 32 bytes:
// the last of 43 letters holds two bits that belong to none.
func spareBits(id string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, id[len(id)-1])
	return id[:len(id)-1] + string(alphabet[last^1])
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, s)
}
