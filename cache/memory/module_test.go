package memory

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
)

// unmarshal reads input as the line of a site, as number_verify does.
func unmarshal(t *testing.T, input string) (cache.Opener, error) {
	t.Helper()
	d := caddyfile.NewTestDispenser("cache " + input + "\nnext line")
	d.Next()
	d.NextArg()
	module, err := caddyfile.UnmarshalModule(d, "http.number_verify.caches."+d.Val())
	if err != nil {
		return nil, err
	}
	if !d.Next() || d.Val() != "next" {
		t.Errorf("the next line was not left alone: %q", d.Val())
	}
	return module.(cache.Opener), nil
}

func TestUnmarshalCaddyfile(t *testing.T) {
	tests := []struct {
		name, input string
		err         []string // parts of the error; none if there is no error
	}{
		{"just the name", "memory", nil},
		{"an empty block, which Caddy drops", "memory {\n}", nil},
		{"an argument", "memory 1000", []string{`"1000"`, "write just: cache memory", "Testfile:1"}},
		{"an option in a block", "memory {\n\tsize 5\n}", []string{"no block", "Testfile:1"}},
		{"an argument and a block", "memory 1000 {\n\tsize 5\n}", []string{`"1000"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opener, err := unmarshal(t, test.input)
			if test.err == nil {
				if err != nil || opener.StoreName() != "memory" {
					t.Fatalf("got %v, %v", opener, err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range test.err {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestModuleOpensACache(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	loaded, err := ctx.LoadModuleByID("http.number_verify.caches.memory", json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := loaded.(cache.Opener).Open(zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c.Put(t.Context(), sessionKey(0), sessionRecord(time.Now().Add(time.Hour))))
	if _, err := c.Get(t.Context(), sessionKey(0)); err != nil {
		t.Error(err)
	}
	must(t, c.Close())
}

func TestModuleHasNoOptionsInJSON(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if _, err := ctx.LoadModuleByID("http.number_verify.caches.memory", json.RawMessage(`{"size":5}`)); err == nil {
		t.Error("an unknown option was accepted")
	}
}
