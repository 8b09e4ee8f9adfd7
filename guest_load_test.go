package numberverify

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/verifier"
)

func init() {
	caddy.RegisterModule(&panickyVerifier{})
	caddy.RegisterModule(&panickyCache{})
}

// panicky panics with a secret in one of its steps.
type panicky struct {
	In string `json:"in,omitempty"`
}

func (p *panicky) step(name string) {
	if p.In == name {
		panic("topsecret")
	}
}

func (p *panicky) HasSecret() bool { p.step("HasSecret"); return true }

func (p *panicky) Secret() string { p.step("Secret"); return "a-secret-of-the-guest" }

func (p *panicky) Provision(caddy.Context) error { p.step("Provision"); return nil }

func (p *panicky) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&p.In)
	p.step("UnmarshalCaddyfile")
	return nil
}

type panickyVerifier struct {
	verifier.Verifier `json:"-"`
	panicky
}

func (*panickyVerifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.test_panicky", New: func() caddy.Module { return new(panickyVerifier) }}
}

func (p *panickyVerifier) Account() string { p.step("Account"); return "test_panicky" }

func (p *panickyVerifier) Secret() string { return p.panicky.Secret() }

func (p *panickyVerifier) Recipient() string { p.step("Recipient"); return "Example" }

func (p *panickyVerifier) CheckCountries([]string) error {
	p.step("CheckCountries")
	if p.In == "Error" {
		return (*verifier.Error)(nil) // whose text panics
	}
	return nil
}

type panickyCache struct {
	cache.Opener `json:"-"` // nil, so that Open panics, unless Provision sets it
	panicky
}

func (*panickyCache) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.caches.test_panicky", New: func() caddy.Module { return new(panickyCache) }}
}

func (p *panickyCache) Provision(ctx caddy.Context) error {
	if p.In != "Open" {
		p.Opener = new(memory.Module)
	}
	return p.panicky.Provision(ctx)
}

func (p *panickyCache) Open(log *zap.Logger, codec cache.Codec) (cache.Cache, error) {
	if p.In == "nothing opened" {
		return nil, nil
	}
	return p.Opener.Open(log, codec)
}

func (p *panickyCache) StoreName() string { p.step("StoreName"); return "test_panicky " + p.In }

func (p *panickyCache) Secrets() []string { return []string{p.panicky.Secret()} }

// panickyConfig returns a configuration whose guests panic in the given steps.
func panickyConfig(inVerifier, inCache string) []byte {
	return fmt.Appendf(nil, `{"admin":{"disabled":true,"config":{"persist":false}},"logging":{"logs":{"default":{"level":"FATAL"}}},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[
		{"handler":"number_verify","public_url":["http://localhost"],"verifier":{"provider":"test_panicky","in":%q},"cache":{"store":"test_panicky","in":%q}}]}]}}}}}`, inVerifier, inCache)
}

// A panic would end a Caddy that reloads, with all its sites, so it becomes an error.
func TestPanicOfAGuestWhileAConfigurationLoadsIsAnErrorThatNamesIt(t *testing.T) {
	load := func(inVerifier, inCache string) error { return caddy.Load(panickyConfig(inVerifier, inCache), true) }
	if err := load("", ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	for _, c := range []struct{ inVerifier, inCache, want string }{
		{"Provision", "", "verifier test_panicky panicked"},
		{"Account", "", "verifier test_panicky panicked"},
		{"Secret", "", "verifier test_panicky panicked"},
		{"Recipient", "", "verifier test_panicky panicked"},
		{"CheckCountries", "", "verifier test_panicky panicked"},
		{"Error", "", "countries: "},
		{"", "nothing opened", "it opened nothing"},
		{"", "Provision", "cache test_panicky panicked"},
		{"", "StoreName", "cache test_panicky panicked"},
		{"", "Secret", "cache test_panicky panicked"},
		{"", "Open", "cache test_panicky Open panicked"},
		{"", "Open", "cache test_panicky Open panicked"}, // the pool of caches is not left locked
	} {
		if err := load(c.inVerifier, c.inCache); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s%s: %v", c.inVerifier, c.inCache, err)
		}
	}
	if err := load("", ""); err != nil {
		t.Errorf("nothing loads any more: %v", err)
	}
	closed := &pooledStore{name: "test_panicky"} // whose Close panics
	if err := closed.Destruct(); err == nil || !strings.Contains(err.Error(), "cache test_panicky panicked") {
		t.Errorf("closing: %v", err)
	}
}

func TestPanicOfAGuestWhileACaddyfileIsReadIsAnErrorThatNamesIt(t *testing.T) {
	for _, c := range []struct{ inVerifier, inCache, want string }{
		{"UnmarshalCaddyfile", "", "verifier test_panicky panicked"},
		{"", "UnmarshalCaddyfile", "cache test_panicky panicked"},
		{"CheckCountries", "", "verifier test_panicky panicked"},
		{"Error", "", "verifier test_panicky panicked"},
		{"HasSecret", "", ""}, // it is asked again when the configuration loads
		{"", "", ""},
	} {
		text := "http://localhost {\nnumber_verify {\nverifier test_panicky " + c.inVerifier + "\ncache test_panicky " + c.inCache + "\n}\n}"
		_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "topsecret")) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Caddy loads guests by the struct tags, the Caddyfile is read by guestKind.
func TestGuestKindsAreThoseOfTheStructTags(t *testing.T) {
	for field, kind := range map[string]guestKind{"VerifierRaw": verifiers, "CacheRaw": caches} {
		f, _ := reflect.TypeFor[Options]().FieldByName(field)
		if want := "namespace=" + kind.namespace + " inline_key=" + kind.inlineKey; f.Tag.Get("caddy") != want {
			t.Errorf("%s is tagged %q, want %q", field, f.Tag.Get("caddy"), want)
		}
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != kind.name {
			t.Errorf("%s is %q in JSON, want %q", field, name, kind.name)
		}
	}
	if got := caches.moduleName([]byte(`{"provider":"x","store":"bolt"}`)); got != "bolt" {
		t.Errorf("the cache is %q", got)
	}
}
