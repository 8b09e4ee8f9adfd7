package command

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// flags reads the flags of a command, which all are defined.
type flags struct{ *pflag.FlagSet }

func (f flags) text(name string) string {
	value, _ := f.GetString(name)
	return value
}

func (f flags) isSet(name string) bool {
	value, _ := f.GetBool(name)
	return value
}

// addAdminFlags adds the flags of a command that speaks with the running Caddy. They are
// those of Caddy's own commands.
func addAdminFlags(cmd *cobra.Command) {
	cmd.Flags().String("address", "", "address of the admin API, if it is neither the default nor in --config")
	cmd.Flags().StringP("config", "c", "", "configuration file that names the address of the admin API")
	cmd.Flags().StringP("adapter", "a", "", "adapter of the configuration file, if it is no Caddyfile and no JSON")
	cmd.Flags().Bool("json", false, "print JSON, as the admin API answers it")
}

// adminAddress returns the address of the admin API, as the flags say.
func (f flags) adminAddress() (string, error) {
	return caddycmd.DetermineAdminAPIAddress(f.text("address"), nil, f.text("config"), f.text("adapter"))
}

func addNumberFlag(cmd *cobra.Command, usage string) {
	cmd.Flags().String("number", "", usage+"; it must be -, for standard input")
}
