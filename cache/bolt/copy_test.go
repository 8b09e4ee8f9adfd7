package bolt

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// copyRounds is how often a file is copied while a process uses it.
const copyRounds = 40

// A frozen process is what a crash leaves, and so is a snapshot of the file system.
func TestCopyOfTheFileOfAFrozenProcessLacksNothing(t *testing.T) {
	verified := 0
	for round := range copyRounds {
		path := newPath(t)
		backup := filepath.Join(t.TempDir(), "backup.db")
		said := runAndEnd(t, path, round*100_000, 1+rand.IntN(40), func(p *os.Process) {
			defer kill(p)
			if err := freeze(p); err != nil {
				t.Error(err)
			}
			copyFile(t, path, backup)
		})
		c := opened(t, backup, nil)
		if lost, open := said.check(t, c); lost > 0 || open > 0 {
			t.Errorf("round %d: %d sessions lost, %d gates open", round, lost, open)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for _, what := range said {
			if what == "verified" {
				verified++
			}
		}
	}
	if verified < copyRounds {
		t.Errorf("only %d sessions were told of: nothing is shown", verified)
	}
}

// freeze stops a process, and waits until it is stopped.
func freeze(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	_, err := syscall.Wait4(p.Pid, nil, syscall.WUNTRACED, nil)
	return err
}

func copyFile(t *testing.T, from, to string) {
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}
