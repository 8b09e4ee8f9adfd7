package option

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// HasPlaceholder tells whether s may hold a placeholder.
func HasPlaceholder(s string) bool {
	_, rest, open := strings.Cut(s, "{")
	return open && strings.Contains(rest, "}")
}

// Known returns a function that tells whether a value is known yet. Once the options
// are resolved, every value is. Before that, a value with a placeholder is not.
func Known(resolved bool) func(value string) bool {
	return func(value string) bool { return resolved || !HasPlaceholder(value) }
}

// Resolve replaces the placeholders in the values. It assigns to the variables of the
// options, and gives a list a new array, so that copies of the list keep theirs. An
// empty or unknown placeholder is an error.
func (s Set) Resolve() error {
	repl := caddy.NewReplacer()
	for _, o := range s.Options {
		if err := o.resolve(repl); err != nil {
			return fmt.Errorf("%s%s: %w", prefix(s.Owner), o.Name, err)
		}
	}
	return nil
}

func (o Option) resolve(repl *caddy.Replacer) (err error) {
	if o.unresolved {
		return nil
	}
	for _, text := range o.texts {
		if *text, err = resolved(repl, *text); err != nil {
			return err
		}
	}
	if o.list == nil || *o.list == nil {
		return nil
	}
	values := make([]string, len(*o.list))
	for i, value := range *o.list {
		if values[i], err = resolved(repl, value); err != nil {
			return err
		}
	}
	*o.list = values
	return nil
}

// nameable matches the placeholders that an error may repeat. Other braces may be part
// of a secret.
var nameable = regexp.MustCompile(`\{(?:env\.[A-Za-z_][A-Za-z0-9_]*|file\./[^{}]+)\}`)

func resolved(repl *caddy.Replacer, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	text, err := repl.ReplaceOrErr(value, true, true)
	if err == nil {
		return text, nil
	}
	culprit := ""
	for _, placeholder := range nameable.FindAllString(value, -1) {
		if _, err := repl.ReplaceOrErr(placeholder, true, true); err != nil {
			culprit = placeholder
			break
		}
	}
	// without the cause, which repeats the text between the braces
	return "", fmt.Errorf("%s is empty or unknown: set what it stands for; a value that has braces itself goes into a variable, written {env.NAME} here",
		cmp.Or(culprit, "a placeholder in it"))
}
