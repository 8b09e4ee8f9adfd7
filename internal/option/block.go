package option

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Block is a block of a Caddyfile that has been read, with the positions of its
// options.
type Block struct {
	start caddyfile.Dispenser
	set   map[string]caddyfile.Dispenser
}

// Read reads the block that follows in d, if there is one. Errors tell file and line.
func (s Set) Read(d *caddyfile.Dispenser) (*Block, error) {
	b := &Block{start: *d, set: make(map[string]caddyfile.Dispenser)}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		i := slices.IndexFunc(s.Options, func(o Option) bool { return o.Name == name })
		if i < 0 {
			return nil, d.Errf("%sunknown subdirective %q; %s", prefix(s.Owner), name, s.names())
		}
		if first, ok := b.set[name]; ok {
			return nil, d.Errf("%s%s is set twice, first in line %d; keep one", prefix(s.Owner), name, first.Line())
		}
		b.set[name] = *d
		if err := s.Options[i].read(&Line{Dispenser: d, owner: s.Owner, name: name}); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (s Set) names() string {
	if len(s.Options) == 1 {
		return "there is just " + s.Options[0].Name
	}
	return "there are " + s.list()
}

func (s Set) list() string {
	var names []string
	for _, o := range s.Options {
		names = append(names, o.Name)
	}
	return strings.Join(names, ", ")
}

func prefix(owner string) string {
	if owner == "" {
		return ""
	}
	return owner + ": "
}

// IsSet tells whether the block sets an option.
func (b *Block) IsSet(option string) bool {
	_, ok := b.set[option]
	return ok
}

// IsEmpty tells whether the block sets nothing.
func (b *Block) IsEmpty() bool { return len(b.set) == 0 }

// At returns wrong with a file and line: those of its option if the block sets it, and
// else those of the beginning of the block. It returns nil if wrong is nil.
func (b *Block) At(wrong *Mistake) error {
	if wrong == nil {
		return nil
	}
	if d, ok := b.set[wrong.Option]; ok {
		return d.WrapErr(wrong)
	}
	return b.start.WrapErr(wrong)
}

// Line is a subdirective that is being read. The dispenser stands on its name.
type Line struct {
	Dispenser *caddyfile.Dispenser

	owner, name string
}

// Errf returns an error that tells the option, and file and line.
func (l *Line) Errf(format string, args ...any) error {
	return l.Dispenser.Errf("%s%s %s", prefix(l.owner), l.name, fmt.Sprintf(format, args...))
}

// Args returns the arguments after the name. A block is an error, even an empty one.
func (l *Line) Args() ([]string, error) {
	args := l.Dispenser.RemainingArgs()
	if next := *l.Dispenser; !next.NextLine() && next.Next() {
		return nil, l.Errf("takes no block")
	}
	return args, nil
}

// Block reads options in a block of the line's own. Arguments after the name are an
// error.
func (l *Line) Block(options ...Option) (*Block, error) {
	inner := Set{Owner: prefix(l.owner) + l.name, Options: options}
	if l.Dispenser.NextArg() {
		return nil, l.Errf("takes no arguments; put %s in a block", inner.list())
	}
	return inner.Read(l.Dispenser)
}
