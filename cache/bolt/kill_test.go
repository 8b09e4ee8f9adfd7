package bolt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// killRounds is how often the process that writes is killed.
const killRounds = 200

// TestMain is also the process that gets killed, or runs out of disk.
func TestMain(m *testing.M) {
	if mode := os.Getenv("BOLT_TEST_MODE"); mode != "" {
		limitFiles()
		runMode(mode, os.Getenv("BOLT_TEST_PATH"))
	}
	os.Exit(m.Run())
}

// writeForEver makes sessions in four goroutines, and signs out every third one. It
// writes a line before each step and one after it.
func writeForEver(path string, first int) {
	c, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var next atomic.Int64
	var out sync.Mutex
	say := func(what string, n int) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(what, n)
	}
	for range 4 {
		go func() {
			for {
				n := first + int(next.Add(1))
				if err := c.Put(context.Background(), sessionKey(n), sessionRecord(n, time.Now().Add(time.Hour))); err != nil {
					say("error "+err.Error(), n)
				}
				say("verified", n)
				use(c, n)
				if n%3 != 0 {
					continue
				}
				say("leaving", n)
				if err := c.Delete(context.Background(), sessionKey(n).Ref()); err != nil {
					say("error "+err.Error(), n)
				}
				say("left", n)
			}
		}()
	}
	select {} // until it is killed
}

// use stores a use of a session, which the cache writes late.
func use(c cache.Cache, n int) {
	old, err := c.Get(context.Background(), sessionKey(n))
	if err != nil {
		return
	}
	used := *old
	used.Touched = time.Now()
	_ = c.Replace(context.Background(), sessionKey(n), old, &used)
}

// told holds the last line that the killed process wrote about each session.
type told map[int]string

// check counts the sessions that were lost, and those that open the gate although
// they were signed out.
func (told told) check(t *testing.T, c cache.Cache) (lost, open int) {
	t.Helper()
	for n, what := range told {
		_, err := c.Get(t.Context(), sessionKey(n))
		if err != nil && !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
		switch {
		case what == "verified" && err != nil:
			lost++
		case what == "left" && err == nil:
			open++
		}
	}
	return lost, open
}

func TestKilledAtAnyMomentItLosesNoSessionAndOpensNoGate(t *testing.T) {
	path := newPath(t)
	all := make(told)
	for round := range killRounds {
		now := runAndEnd(t, path, round*100_000, 1+rand.IntN(40), kill)
		c := opened(t, path, nil)
		if lost, open := now.check(t, c); lost > 0 || open > 0 {
			t.Fatalf("round %d: %d sessions lost, %d gates open", round, lost, open)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for n, what := range now {
			all[n] = what
		}
	}
	c := opened(t, path, nil)
	defer c.Close()
	lost, open := all.check(t, c)
	if lost > 0 || open > 0 {
		t.Errorf("in the end: %d sessions lost, %d gates open", lost, open)
	}
	verified, left := 0, 0
	for _, what := range all {
		switch what {
		case "verified":
			verified++
		case "left":
			left++
		}
	}
	if verified < killRounds || left < killRounds/4 {
		t.Errorf("only %d sessions and %d sign-outs were told of: nothing is shown", verified, left)
	}
	t.Logf("%d kills, %d sessions acknowledged, %d signed out: 0 lost, 0 gates open", killRounds, verified, left)
}

func kill(p *os.Process) { _ = p.Kill() }

// runAndEnd lets another process write, and calls end up to two milliseconds after it
// has printed the given number of lines, so at any moment of a write.
func runAndEnd(t *testing.T, path string, first, lines int, end func(*os.Process)) told {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "BOLT_TEST_MODE=write", "BOLT_TEST_PATH="+path, "BOLT_TEST_FIRST="+strconv.Itoa(first))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(told)
	read := bufio.NewReader(out)
	for i := 0; ; i++ {
		if i == lines {
			time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, func() { end(cmd.Process) })
		}
		line, err := read.ReadString('\n') // what it said before it died counts
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		what, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		if err != nil || what == "error" {
			t.Fatal(line)
		}
		said[n] = what
	}
	_ = cmd.Wait() // killed
	return said
}

// limitFiles limits the size of this process's files if the environment asks for it,
// to simulate a full disk.
func limitFiles() {
	limit, err := strconv.ParseUint(os.Getenv("BOLT_TEST_LIMIT"), 10, 64)
	if err != nil {
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic(err)
	}
}

// runMode is the main function of the process that a test starts.
func runMode(mode, path string) {
	switch mode {
	case "write":
		first, _ := strconv.Atoi(os.Getenv("BOLT_TEST_FIRST"))
		writeForEver(path, first)
	case "trace":
		trace(path)
	case "write until full":
		writeUntilFull(path)
	case "sign out when full":
		signOutWhenFull(path)
	}
	if _, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// writeUntilFull writes until the disk is full, simulated by a limit of the file's
// size, and checks what can still be read.
func writeUntilFull(path string) {
	fail := func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		os.Exit(1)
	}
	c, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop())
	if err != nil {
		fail("%v", err)
	}
	ctx := context.Background()
	n := 0
	for ; n < 10_000; n++ {
		if err = c.Put(ctx, sessionKey(n), sessionRecord(n, time.Now().Add(time.Hour))); err != nil {
			break
		}
	}
	if err == nil {
		fail("the disk was never full")
	}
	if _, err := c.Get(ctx, sessionKey(n)); !errors.Is(err, cache.ErrNotFound) {
		fail("a session that was not written opens the gate: %v", err)
	}
	for i := range n {
		if _, err := c.Get(ctx, sessionKey(i)); err != nil {
			fail("session %d is lost: %v", i, err)
		}
	}
	fmt.Println(n)
	os.Exit(0)
}

func TestFullDiskRefusesAndLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "number-verify.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "BOLT_TEST_MODE=write until full", "BOLT_TEST_PATH="+path, fmt.Sprint("BOLT_TEST_LIMIT=", 256<<10))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	written, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || written == 0 {
		t.Fatalf("it says %q", out)
	}
	c := opened(t, path, nil) // there is room again
	defer c.Close()
	for n := range written {
		if _, err := c.Get(t.Context(), sessionKey(n)); err != nil {
			t.Fatalf("session %d of %d: %v", n, written, err)
		}
	}
	if err := c.Put(t.Context(), sessionKey(written), sessionRecord(1, time.Now().Add(time.Hour))); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
