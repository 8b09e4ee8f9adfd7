package bolt

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// trace lets clients use the cache and traces their history, until it is killed.
func trace(path string) {
	c, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	h := &cachetest.History{Trace: os.Stdout}
	h.Run(context.Background(), c, 4, math.MaxInt)
}

// killer kills a process up to three milliseconds after it has written left bytes.
type killer struct {
	process *exec.Cmd
	left    int
}

// Write implements io.Writer.
func (k *killer) Write(p []byte) (int, error) {
	if alive := k.left > 0; alive {
		if k.left -= len(p); k.left <= 0 {
			time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = k.process.Process.Kill() })
		}
	}
	return len(p), nil
}

// After kill -9 every change that was answered is there. A call without an answer has
// either taken effect by then, or never does.
func TestHistoryThroughKillsIsThatOfOneCache(t *testing.T) {
	const rounds = 40
	path := newPath(t)
	h := new(cachetest.History)
	for range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "BOLT_TEST_MODE=trace", "BOLT_TEST_PATH="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		must(t, h.Read(io.TeeReader(out, &killer{cmd, 1 + rand.IntN(10_000)})))
		_ = cmd.Wait() // killed
	}
	c := opened(t, path, nil)
	h.Run(t.Context(), c, 4, 50)
	must(t, c.Close())
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}
