package option

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// things are the variables of a test's options.
type things struct {
	Word, Choice, Secret, Number, Name, Logo string
	Words                                    []string
	Flag                                     bool
	TTL, Idle                                caddy.Duration
	Inner                                    string
}

func (s *things) options(owner string) Set {
	return Set{Owner: owner, Options: []Option{
		Word("word", &s.Word).Checked(func(value string) error {
			if value == "topsecret" {
				return errors.New("is wrong; write another")
			}
			return nil
		}),
		Words("words", &s.Words),
		Flag("flag", &s.Flag),
		Duration("ttl", &s.TTL),
		DurationOrOff("idle", &s.Idle),
		Word("choice", &s.Choice).OneOf("a", "b"),
		Word("number", &s.Number).Unresolved(),
		Custom("brand", func(l *Line) error {
			args, err := l.Args()
			if err != nil || len(args) != 2 {
				return errors.Join(err, l.Errf("takes two"))
			}
			s.Name, s.Logo = args[0], args[1]
			return nil
		}, &s.Name, &s.Logo),
		Custom("inner", func(l *Line) error {
			_, err := l.Block(Word("only", &s.Inner))
			return err
		}),
	}}
}

func read(s *things, owner, block string) (*Block, error) {
	d := caddyfile.NewTestDispenser("name {\n" + block + "\n}")
	d.Next()
	return s.options(owner).Read(d)
}

func TestBlockIsReadIntoItsVariables(t *testing.T) {
	s := things{Idle: 5}
	b, err := read(&s, "", "word w\nwords a b\nflag\nttl 1d\nidle off\nchoice b\nnumber {n}\nbrand x y\ninner {\nonly z\n}")
	if err != nil {
		t.Fatal(err)
	}
	if s.Word != "w" || strings.Join(s.Words, " ") != "a b" || !s.Flag || s.TTL != 24*3600e9 || s.Idle != 0 || s.Choice != "b" || s.Logo != "y" || s.Inner != "z" {
		t.Errorf("read: %+v", s)
	}
	if !b.IsSet("ttl") || b.IsSet("other") || b.IsEmpty() {
		t.Error("the block does not know what it sets")
	}
}

func TestMistakesOfABlockAreToldInTheirLineAndWithoutTheirValue(t *testing.T) {
	for block, want := range map[string]string{
		"colour topsecret":                   `unknown subdirective "colour"; there are word, words, flag, ttl, idle, choice, number, brand, inner, at Testfile:2`,
		"flag\nword x\nword topsecret":       "word is set twice, first in line 3; keep one, at Testfile:4",
		"word":                               "word takes exactly one value; put quotes around one with blanks, at Testfile:2",
		"word topsecret topsecret":           "word takes exactly one value; put quotes around one with blanks, at Testfile:2",
		"word topsecret {\n}":                "word takes no block, at Testfile:2",
		"words":                              "words takes one or more values, at Testfile:2",
		"words topsecret {\n}":               "words takes no block, at Testfile:2",
		"flag topsecret":                     "flag takes no value, at Testfile:2",
		"ttl topsecret":                      "ttl must be a duration longer than 0; write it like 5s, 30m, 24h or 7d, at Testfile:2",
		"ttl -1s":                            "ttl must be a duration longer than 0; write it like 5s, 30m, 24h or 7d, at Testfile:2",
		"ttl off":                            "ttl must be a duration longer than 0; write it like 5s, 30m, 24h or 7d, at Testfile:2",
		"idle off topsecret":                 "idle takes exactly one value; put quotes around one with blanks, at Testfile:2",
		"idle 0s":                            "idle must be a duration longer than 0; write it like 5s, 30m, 24h or 7d, at Testfile:2",
		"inner topsecret":                    "inner takes no arguments; put only in a block, at Testfile:2",
		"inner {\nother topsecret\n}":        `inner: unknown subdirective "other"; there is just only, at Testfile:3`,
		"inner {\nonly a\nonly topsecret\n}": "inner: only is set twice, first in line 3; keep one, at Testfile:4",
	} {
		for _, owner := range []string{"", "verifier x"} {
			full := want
			if owner != "" {
				full = owner + ": " + want
			}
			if _, err := read(new(things), owner, block); err == nil || err.Error() != full {
				t.Errorf("%q of %q: %v, want %s", block, owner, err, full)
			}
		}
	}
}

func TestCheckedValueOfAGuestIsNotToldAndThatOfTheDirectiveIs(t *testing.T) {
	for owner, want := range map[string]string{
		"":           `word: "topsecret" is wrong; write another, at Testfile:3`,
		"verifier x": "verifier x: word is wrong; write another, at Testfile:3",
	} {
		s := new(things)
		b, err := read(s, owner, "flag\nword topsecret")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.At(s.options(owner).Check(false)); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if wrong := s.options(owner).Check(true); wrong == nil || strings.Contains(wrong.Error(), "topsecret") {
			t.Errorf("resolved: %v", wrong)
		}
		if err := b.At(&Mistake{Option: "ttl", Text: "is required"}); err == nil || !strings.HasSuffix(err.Error(), "at Testfile:1") {
			t.Errorf("not set in the block: %v", err)
		}
		if err := b.At(nil); err != nil {
			t.Errorf("no mistake: %v", err)
		}
	}
	if text := (&Mistake{Option: "word", Value: "https://me:topsecret@x", Text: "is wrong"}).Error(); strings.Contains(text, "topsecret") {
		t.Errorf("a password is told: %s", text)
	}
	if wrong := (Set{Options: []Option{Duration("ttl", &[]caddy.Duration{-1}[0])}}).Check(false); wrong == nil {
		t.Error("a negative duration of JSON passes")
	}
}

func TestPlaceholderPassesUntilItIsResolved(t *testing.T) {
	t.Setenv("OPTION_TEST", "topsecret")
	s := things{Word: "{env.OPTION_TEST}", Words: []string{"x", "{env.OPTION_TEST}", ""}, Number: "{env.OPTION_TEST}", Logo: "a/{env.OPTION_TEST}"}
	list := s.Words
	if wrong := s.options("").Check(false); wrong != nil {
		t.Error(wrong)
	}
	if err := s.options("").Resolve(); err != nil {
		t.Fatal(err)
	}
	if s.Word != "topsecret" || s.Words[1] != "topsecret" || s.Number != "{env.OPTION_TEST}" || s.Logo != "a/topsecret" {
		t.Errorf("resolved: %+v", s)
	}
	if list[1] != "{env.OPTION_TEST}" {
		t.Error("the configuration itself was changed: a secret would be written into it")
	}
	if wrong := s.options("").Check(true); wrong == nil {
		t.Error("the resolved value is not checked")
	}
	for value, has := range map[string]bool{"{env.X}": true, "a{x}b": true, "a{b": false, "}{": false, "": false} {
		if HasPlaceholder(value) != has || Known(false)(value) == has || !Known(true)(value) {
			t.Errorf("%q", value)
		}
	}
}

// Caddy takes a part of a secret in braces for a placeholder, and its own error repeats
// it.
func TestErrorOfAPlaceholderNamesVariablesAloneAndNeverASecretWithBraces(t *testing.T) {
	t.Setenv("OPTION_TEST", "x")
	for value, want := range map[string]string{
		"{env.OPTION_TEST_NONE}":                    "verifier x: word: {env.OPTION_TEST_NONE} is empty or unknown",
		"https://{env.OPTION_TEST}{env.OPTION_NO}/": "verifier x: word: {env.OPTION_NO} is empty or unknown",
		"{file./nowhere/at/all}":                    "verifier x: word: {file./nowhere/at/all} is empty or unknown",
		"{hunter2}":                                 "verifier x: word: a placeholder in it is empty or unknown",
		"a{hunter2}b":                               "verifier x: word: a placeholder in it is empty or unknown",
		"{env.OPTION_TEST}{hunter2}":                "verifier x: word: a placeholder in it is empty or unknown",
		"{env.OPTION_TEST_NONE}{hunter2}":           "verifier x: word: {env.OPTION_TEST_NONE} is empty or unknown",
		"{env.hunter2!}":                            "verifier x: word: a placeholder in it is empty or unknown",
	} {
		s := things{Word: value}
		err := s.options("verifier x").Resolve()
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", value, err)
		}
	}
}
