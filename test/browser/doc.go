// Package browser drives a real Chromium through a real Caddy with the gate in
// front of a site.
package browser
