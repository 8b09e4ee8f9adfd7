//go:build !race

package acceptance_test

// raced says that the race detector is not at work.
const raced = false
