package numberverify

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// secretive is a verifier or a cache that can tell whether it is configured with
// a secret before it is provisioned.
type secretive interface {
	HasSecret() bool
}

var errNoSecret = &optionError{"cache", "", "needs a secret of its own, since the verifier has no client_secret; add a block with 'secret {env.NUMBER_VERIFY_SECRET}', at least 16 random characters"}

// lacksSecret tells whether neither verifier nor cache is configured with a
// secret, as far as they can tell before they are provisioned.
func (h *Handler) lacksSecret() bool {
	return h.CacheRaw != nil && !mayHaveSecret(h.VerifierRaw, "verifiers") && !mayHaveSecret(h.CacheRaw, "caches")
}

// mayHaveSecret asks a module as it is configured.
func mayHaveSecret(raw json.RawMessage, kind string) bool {
	asked, ok := configured(raw, kind).(secretive)
	return !ok || asked.HasSecret()
}

// configured is a verifier or a cache with its configuration, not provisioned; nil
// where it cannot be read, which loading it tells.
func configured(raw json.RawMessage, kind string) any {
	var named struct{ Provider, Store string }
	if err := json.Unmarshal(raw, &named); err != nil {
		return nil
	}
	info, err := caddy.GetModule("http.number_verify." + kind + "." + cmp.Or(named.Provider, named.Store))
	if err != nil {
		return nil
	}
	module := info.New()
	if err := json.Unmarshal(raw, module); err != nil {
		return nil
	}
	return module
}

// indexSecret is the secret from which index keys are derived.
func indexSecret(opener cache.Opener, v verifier.Verifier) (string, error) {
	own := opener.Secret()
	if own == "" && v.Secret() == "" {
		return "", errNoSecret
	}
	if own == "" {
		return v.Secret(), nil
	}
	if err := cache.CheckSecret(own); err != nil {
		return "", fmt.Errorf("the secret of the cache %w", err)
	}
	return own, nil
}
