//go:build !race

package numberverify_test

// raced says that the race detector is not at work.
const raced = false
