// Package option reads, resolves and checks the options of the directive and of its
// guest modules. A Set lists each option once, with its name in a Caddyfile, the
// variable for its value, and the check of the value.
//
// No error repeats a value of a guest module: it may be a secret.
package option

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Option is one option of a block, with the variables that hold it.
type Option struct {
	// Name is its subdirective in a Caddyfile.
	Name string

	read       func(*Line) error
	texts      []*string
	list       *[]string
	duration   *caddy.Duration
	check      func(value string) error
	unresolved bool
}

// Word is an option that takes one value.
func Word(name string, value *string) Option {
	return Option{Name: name, texts: []*string{value}, read: func(l *Line) error {
		args, err := l.Args()
		if err != nil {
			return err
		}
		if len(args) != 1 || args[0] == "" {
			return l.Errf("takes exactly one value; put quotes around one with blanks")
		}
		*value = args[0]
		return nil
	}}
}

// Words is an option that takes one or more values.
func Words(name string, values *[]string) Option {
	return Option{Name: name, list: values, read: func(l *Line) error {
		args, err := l.Args()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return l.Errf("takes one or more values")
		}
		*values = args
		return nil
	}}
}

// Flag is an option that takes no value and sets isSet.
func Flag(name string, isSet *bool) Option {
	return Option{Name: name, read: func(l *Line) error {
		args, err := l.Args()
		if err != nil {
			return err
		}
		if len(args) > 0 {
			return l.Errf("takes no value")
		}
		*isSet = true
		return nil
	}}
}

const badDuration = "must be a duration longer than 0; write it like 5s, 30m, 24h or 7d"

// Duration is an option that takes a duration longer than 0.
func Duration(name string, value *caddy.Duration) Option {
	return Option{Name: name, duration: value, read: func(l *Line) error {
		text := ""
		if err := Word(name, &text).read(l); err != nil {
			return err
		}
		parsed, err := caddy.ParseDuration(text)
		if err != nil || parsed <= 0 {
			return l.Errf(badDuration)
		}
		*value = caddy.Duration(parsed)
		return nil
	}}
}

// DurationOrOff is a Duration that also takes the word off, which means 0.
func DurationOrOff(name string, value *caddy.Duration) Option {
	o := Duration(name, value)
	readDuration := o.read
	o.read = func(l *Line) error {
		if next := *l.Dispenser; next.NextArg() && next.Val() == "off" {
			*value = 0
			off := ""
			return Word(name, &off).read(l)
		}
		return readDuration(l)
	}
	return o
}

// Custom is an option with a syntax of its own, which read reads. texts are those of
// its variables that may hold placeholders.
func Custom(name string, read func(*Line) error, texts ...*string) Option {
	return Option{Name: name, read: read, texts: texts}
}

// Checked returns o with a check of each of its values. The error of check says what is
// wrong with the value and what to write instead, without repeating the value.
func (o Option) Checked(check func(value string) error) Option {
	o.check = check
	return o
}

// OneOf returns o with a check that each of its values is one of words.
func (o Option) OneOf(words ...string) Option {
	return o.Checked(func(value string) error {
		if slices.Contains(words, value) {
			return nil
		}
		return errors.New("must be one of " + strings.Join(words, ", "))
	})
}

// Unresolved returns o as an option that Resolve leaves alone: its placeholders are
// resolved later, at each use.
func (o Option) Unresolved() Option {
	o.unresolved = true
	return o
}

// values returns the values that are set.
func (o Option) values() []string {
	var set []string
	for _, text := range o.texts {
		if *text != "" {
			set = append(set, *text)
		}
	}
	if o.list != nil {
		set = append(set, *o.list...)
	}
	return set
}

// Set is the options that may stand in one block.
type Set struct {
	// Owner is the guest module that has these options, as it is written in a
	// Caddyfile, such as "verifier dqe"; empty for the options of the directive.
	Owner   string
	Options []Option
}

// Check returns the first mistake, or nil. A value with a placeholder passes until it
// is resolved. Once resolved, every value is checked, even one with braces.
func (s Set) Check(resolved bool) *Mistake {
	known := Known(resolved)
	for _, o := range s.Options {
		if o.duration != nil && *o.duration < 0 {
			return s.Wrong(o.Name, badDuration)
		}
		for _, value := range o.values() {
			if o.check == nil || !known(value) {
				continue
			}
			if err := o.check(value); err != nil {
				wrong := s.Wrong(o.Name, err.Error())
				if s.Owner == "" && !resolved {
					wrong.Value = value
				}
				return wrong
			}
		}
	}
	return nil
}

// Wrong returns a mistake in an option; text says what is wrong, and what to write
// instead.
func (s Set) Wrong(option, text string) *Mistake {
	return &Mistake{Owner: s.Owner, Option: option, Text: text}
}

// Mistake is a mistake in one option.
type Mistake struct {
	Owner  string // as in Set
	Option string
	// Value is the wrong value if it may be repeated: it is no secret and comes from
	// no placeholder. Otherwise it is "".
	Value string
	Text  string // what is wrong, and what to write instead
}

// Error implements error.
func (m *Mistake) Error() string {
	switch {
	case m.Owner != "":
		return m.Owner + ": " + m.Option + " " + m.Text
	case m.Value == "" || strings.Contains(m.Value, "@"): // a password may stand before the @
		return m.Option + ": " + m.Text
	default:
		return fmt.Sprintf("%s: %q %s", m.Option, m.Value, m.Text)
	}
}
