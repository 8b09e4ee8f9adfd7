package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func addSiteFlag(cmd *cobra.Command) {
	cmd.Flags().String("site", "", "host or address of the site, if the configuration has several with number_verify")
}

// gate loads the configuration and returns the gate that --site names, or the only one.
func (f flags) gate() (*Gate, error) {
	app, err := f.load()
	if err != nil {
		return nil, err
	}
	site := strings.TrimSuffix(strings.ToLower(f.text("site")), "/")
	var chosen, all []string
	var found *Gate
	for _, g := range app.Gates() {
		all = append(all, g.name())
		if site == "" || g.isAt(site) {
			chosen, found = append(chosen, g.name()), &g
		}
	}
	switch len(chosen) {
	case 1:
		return found, nil
	case 0:
		return nil, fmt.Errorf("there is no gate at that --site, but at %s", strings.Join(all, ", "))
	default:
		return nil, fmt.Errorf("there are several gates: choose one with --site, of %s", strings.Join(chosen, ", "))
	}
}

// isAt tells whether site names the gate: a host, an origin, or an origin with the path.
func (g *Gate) isAt(site string) bool {
	if site == g.name() {
		return true
	}
	for _, origin := range g.Origins {
		origin = strings.ToLower(origin)
		_, host, _ := strings.Cut(origin, "://")
		if site == origin || site == host || site == origin+g.Path {
			return true
		}
	}
	return false
}
