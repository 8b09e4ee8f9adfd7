package numberverify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/option"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// guestKind is a kind of guest module. Its names are those in the struct tags of
// Options.
type guestKind struct {
	name      string // also that of the option
	namespace string
	inlineKey string // the JSON member that names the module
	example   string
}

var (
	verifiers = guestKind{"verifier", "http.number_verify.verifiers", "provider", "verifier dqe { ... }"}
	caches    = guestKind{"cache", "http.number_verify.caches", "store", "cache memory"}
)

// option returns the option that names a module. The module reads its own block.
func (k guestKind) option(raw *json.RawMessage) option.Option {
	return option.Custom(k.name, func(l *option.Line) error { return k.read(l, raw) })
}

func (k guestKind) read(l *option.Line, raw *json.RawMessage) error {
	d := l.Dispenser
	if !d.NextArg() {
		return l.Errf("needs the name of a module, like '%s'", k.example)
	}
	name := d.Val()
	if _, err := caddy.GetModule(k.namespace + "." + name); err != nil {
		return d.Errf("there is no %s %q in this Caddy; built in are %s", k.inlineKey, name, strings.Join(k.registered(), ", "))
	}
	module, err := guarded(k.name+" "+name, func() (caddyfile.Unmarshaler, error) {
		return caddyfile.UnmarshalModule(d, k.namespace+"."+name)
	})
	if err != nil {
		return err
	}
	*raw = caddyconfig.JSONModuleObject(module, k.inlineKey, name, nil)
	return nil
}

func (k guestKind) registered() []string {
	var names []string
	for _, m := range caddy.GetModules(k.namespace) {
		names = append(names, m.ID.Name())
	}
	return names
}

// moduleName returns the name of a configuration's module, or "".
func (k guestKind) moduleName(raw json.RawMessage) string {
	var members map[string]any
	_ = json.Unmarshal(raw, &members)
	name, _ := members[k.inlineKey].(string)
	return name
}

// label names the module for people, as in a Caddyfile.
func (k guestKind) label(raw json.RawMessage) string { return k.name + " " + k.moduleName(raw) }

// configured returns a module with its configuration, not provisioned. It is nil where
// the configuration cannot be read: loading the module will tell.
func (k guestKind) configured(raw json.RawMessage) any {
	info, err := caddy.GetModule(k.namespace + "." + k.moduleName(raw))
	if err != nil {
		return nil
	}
	module := info.New()
	if err := json.Unmarshal(raw, module); err != nil {
		return nil
	}
	return module
}

// guarded calls a guest module while a configuration is read or loaded, while a cache is
// opened or closed, or when it is told of an event. A panic becomes an error that names the
// module, so that it does not end Caddy. The error does not tell the panic's text, which may hold
// a secret.
func guarded[T any](module string, call func() (T, error)) (value T, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			caddy.Log().Named(appName).Error("guest module panicked", zap.String("module", module),
				zap.String("type", fmt.Sprintf("%T", cause)), zap.Stack("stack"))
			err = fmt.Errorf("%s panicked, which is a mistake in that module: tell its makers what the log says", module)
		}
	}()
	if value, err = call(); err != nil {
		_ = err.Error() // an error whose text panics does so here, where it is caught
	}
	return value, err
}

// secretive is a guest module that can tell, before it is provisioned, whether its
// configuration has a secret.
type secretive interface {
	HasSecret() bool
}

var errNoSecret = &option.Mistake{Option: "cache", Text: "needs a secret of its own, since the verifier has no client_secret; add a block with 'secret {env.NUMBER_VERIFY_SECRET}', at least 16 random characters"}

// checkSecret refuses a configuration in which neither the verifier nor the cache has a
// secret. If either cannot tell yet, the configuration passes until it is loaded.
func (h *Handler) checkSecret() *option.Mistake {
	if h.CacheRaw == nil || verifiers.mayHaveSecret(h.VerifierRaw) || caches.mayHaveSecret(h.CacheRaw) {
		return nil
	}
	return errNoSecret
}

// mayHaveSecret tells whether a module has a secret, or cannot tell before it is loaded.
func (k guestKind) mayHaveSecret(raw json.RawMessage) bool {
	has, err := guarded(k.label(raw), func() (bool, error) {
		asked, ok := k.configured(raw).(secretive)
		return !ok || asked.HasSecret(), nil
	})
	return has || err != nil
}

// checkCountries asks the verifier, which is not provisioned yet, whether it can verify
// numbers of the countries, except those that are still placeholders.
func (h *Handler) checkCountries() error {
	_, err := guarded(verifiers.label(h.VerifierRaw), func() (any, error) {
		checker, ok := verifiers.configured(h.VerifierRaw).(verifier.CountryChecker)
		if !ok {
			return nil, nil
		}
		return nil, checker.CheckCountries(slices.DeleteFunc(slices.Clone(h.withDefaults().Countries), option.HasPlaceholder))
	})
	return err
}

// loadedVerifier is a verifier with what it says of itself. It is asked only once, when
// the configuration loads.
type loadedVerifier struct {
	verifier.Verifier
	// module is the module's name. It is taken before the module is loaded, since Caddy
	// then removes the raw configuration.
	module                     string
	account, secret, recipient string
}

// loadVerifier loads the verifier of the handler.
func (h *Handler) loadVerifier(ctx caddy.Context, countries []string) (*loadedVerifier, error) {
	module := verifiers.moduleName(h.VerifierRaw)
	return guarded(verifiers.label(h.VerifierRaw), func() (*loadedVerifier, error) {
		guest, err := ctx.LoadModule(h, "VerifierRaw")
		if err != nil {
			return nil, fmt.Errorf("loading verifier: %w", err)
		}
		v, ok := guest.(verifier.Verifier)
		if !ok {
			return nil, fmt.Errorf("verifier %T is not a verifier.Verifier", guest)
		}
		if checker, ok := guest.(verifier.CountryChecker); ok {
			if err := checker.CheckCountries(countries); err != nil {
				return nil, fmt.Errorf("countries: %w", err)
			}
		}
		return &loadedVerifier{v, module, v.Account(), v.Secret(), v.Recipient()}, nil
	})
}

// loadedCache is a cache that is not open yet, with what it says of itself.
type loadedCache struct {
	cache.Opener
	module  string // as in loadedVerifier
	name    string
	secrets []string
}

// loadCache loads the cache of the handler.
func (h *Handler) loadCache(ctx caddy.Context) (*loadedCache, error) {
	if h.CacheRaw == nil {
		h.CacheRaw = defaultCache
	}
	module := caches.moduleName(h.CacheRaw)
	return guarded(caches.label(h.CacheRaw), func() (*loadedCache, error) {
		guest, err := ctx.LoadModule(h, "CacheRaw")
		if err != nil {
			return nil, fmt.Errorf("loading cache: %w", err)
		}
		opener, ok := guest.(cache.Opener)
		if !ok {
			return nil, fmt.Errorf("cache %T is not a cache.Opener", guest)
		}
		return &loadedCache{opener, module, opener.StoreName(), opener.Secrets()}, nil
	})
}

// indexSecrets returns the secrets that protect the index keys, the current one first:
// the cache's, or else the verifier's.
func indexSecrets(c *loadedCache, v *loadedVerifier) ([]string, error) {
	if len(c.secrets) == 0 && v.secret == "" {
		return nil, errNoSecret
	}
	if len(c.secrets) == 0 {
		return []string{v.secret}, nil
	}
	for _, secret := range c.secrets {
		if err := cache.CheckSecret(secret); err != nil {
			return nil, fmt.Errorf("a secret of the cache %w", err)
		}
	}
	return c.secrets, nil
}
