package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/numberverify/caddy-number-verify/internal/pages"
)

func pagesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pages <command>",
		Short: "Writes out the templates of the pages, and shows every page",
		Long: `
Helps to make the pages look like your site: export writes out the built-in templates as
a start for your own, preview shows every page in every state.`,
		Example: `  $ caddy number-verify pages export /etc/caddy/number-verify
  $ caddy number-verify pages preview --config /etc/caddy/Caddyfile`,
		RunE: helps,
	}
	cmd.AddCommand(exportCommand(), previewCommand())
	return cmd
}

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export <directory> [--force]",
		Short: "Writes the built-in templates into a directory",
		Long: `
Writes the built-in templates into a directory, as a start for your own. It makes the
directory if there is none. A file that is there already is an error, and nothing is
written, unless --force is given.

Name the directory with the option pages, and delete the files that you do not change:
in their place the built-in ones go on being used, and improve with each version.`,
		Example: `  $ caddy number-verify pages export /etc/caddy/number-verify`,
		RunE:    withArgument("<directory>", export),
	}
	cmd.Flags().Bool("force", false, "overwrite files")
	return cmd
}

func export(cmd *cobra.Command, dir string) error {
	templates := pages.Templates()
	names, err := fs.Glob(templates, "*.html")
	if err != nil {
		return err
	}
	isForced := flags{cmd.Flags()}.isSet("force")
	var there []string
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			there = append(there, name)
		}
	}
	if len(there) > 0 && !isForced {
		return fmt.Errorf("%s has %s already, and nothing was written: add --force to overwrite", dir, strings.Join(there, ", "))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(templates, name)
		if err == nil {
			err = writeFile(filepath.Join(dir, name), text, isForced)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(dir, name))
	}
	absolute, err := filepath.Abs(dir)
	if err == nil {
		fmt.Fprintf(cmd.OutOrStdout(), "\nDelete what you do not change, and write into number_verify:\n\tpages %s\n", absolute)
	}
	return err
}

// writeFile writes a file that Caddy's user can read. It overwrites one only if forced.
func writeFile(path string, text []byte, isForced bool) error {
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if isForced {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(path, mode, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
