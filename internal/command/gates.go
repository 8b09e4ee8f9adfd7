package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// App is the app of a configuration that is provisioned, but not started. Caddy knows it
// as number_verify.
type App interface {
	// Gates returns the gates of the configuration.
	Gates() []Gate
	// CheckReach returns an error if there is a gate whose endpoints no visitor can
	// reach.
	CheckReach() error
}

// Gate is what the commands look at of a gate.
type Gate struct {
	// Origins are the addresses of the site, the main one first. There is none on
	// loopback.
	Origins []string
	// Path is where the endpoints are, without a final slash.
	Path string
	// VerifierName is that of a Caddyfile, such as "verifier dqe".
	VerifierName string
	Verifier     verifier.Verifier
	// CacheName tells the cache from others.
	CacheName string
	Cache     cache.Opener
	// Pages reads the templates and returns the pages.
	Pages func() (*pages.Pages, error)
}

// name names the gate for people, and for --site.
func (g *Gate) name() string {
	if len(g.Origins) == 0 {
		return "localhost" + g.Path
	}
	return g.Origins[0] + g.Path
}

// addConfigFlags adds the flags of a command that reads a configuration. They are those
// of Caddy's own commands.
func addConfigFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "configuration file; default: Caddyfile in this directory")
	cmd.Flags().StringP("adapter", "a", "", "adapter of the configuration file, if it is no Caddyfile and no JSON")
}

// load provisions a configuration without starting it: nothing listens, and no cache is
// opened.
func (f flags) load() (App, error) {
	text, file, _, err := caddycmd.LoadConfig(f.text("config"), f.text("adapter"))
	if err != nil {
		return nil, err
	}
	if file == "" {
		return nil, errors.New("there is no Caddyfile here: name the configuration with --config")
	}
	var config caddy.Config
	if err := caddy.StrictUnmarshalJSON(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	// Its log files belong to the running Caddy.
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "ERROR"}}}}
	ctx, err := caddy.ProvisionContext(&config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	app, err := ctx.AppIfConfigured("number_verify")
	if err != nil {
		return nil, fmt.Errorf("%s: no site has number_verify", file)
	}
	known, ok := app.(App)
	if !ok || len(known.Gates()) == 0 {
		return nil, fmt.Errorf("%s: no site has number_verify", file)
	}
	return known, nil
}
