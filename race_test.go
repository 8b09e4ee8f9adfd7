//go:build race

package numberverify_test

// raced says that the race detector is at work, which makes everything ten times
// as slow.
const raced = true
