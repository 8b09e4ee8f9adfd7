package cache

import "context"

// Checker is an Opener that can look whether its cache could be opened, for the command
// caddy number-verify check.
type Checker interface {
	// Check returns an error for the site's operator, which says what to do, if the
	// cache could not be opened or used. It neither opens nor locks what a running
	// Caddy may use, and leaves nothing behind. It ends with ctx.
	Check(ctx context.Context) error
}
