package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Check implements cache.Checker: it looks whether this user could write the file. It
// does not open a file that exists, since a running Caddy may have locked it.
func (m *Module) Check(context.Context) error {
	info, err := os.Stat(m.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return explain(err)
	case info.IsDir():
		return errDirectory
	case info.Mode().Perm()&0o200 == 0:
		return fmt.Errorf("the file is read-only: %w", explain(fs.ErrPermission))
	}
	// Whether a directory can be written depends on more than its mode.
	probe, err := os.CreateTemp(filepath.Dir(m.path), filepath.Base(m.path)+".new-*")
	if err != nil {
		return explain(err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Interface guard
var _ cache.Checker = (*Module)(nil)
