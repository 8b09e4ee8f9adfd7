// Package stage is what the tests of the module have in common.
package stage
