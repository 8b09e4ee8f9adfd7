package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill makes a file of n sessions with one tag, the first ten of them signed out
// again.
func fill(t *testing.T, n int) (path string, content []byte) {
	t.Helper()
	path = newPath(t)
	c := opened(t, path, nil)
	for i := range n {
		rec := sessionRecord(i, time.Now().Add(time.Hour))
		rec.Tags[0] = cache.Tag{1}
		must(t, c.Put(t.Context(), sessionKey(i), rec))
	}
	for i := range min(n, 10) {
		must(t, c.Delete(t.Context(), sessionKey(i).Ref()))
	}
	must(t, c.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	return path, content
}

func fillContent(t *testing.T, n int) []byte {
	t.Helper()
	_, content := fill(t, n)
	return content
}

// newestMeta returns where the newest meta page lies in the file.
func newestMeta(content []byte) int {
	pageSize := os.Getpagesize()
	tx := func(page int) uint64 { return binary.NativeEndian.Uint64(content[page*pageSize+16+48:]) }
	if tx(0) > tx(1) {
		return 0
	}
	return pageSize
}

// bbolt falls back to the other meta page, which is one transaction older.
func TestDamagedNewestMetaPageDoesNotUndoASignOut(t *testing.T) {
	path := newPath(t)
	c := opened(t, path, nil)
	must(t, c.Put(t.Context(), sessionKey(1), sessionRecord(1, time.Now().Add(time.Hour))))
	must(t, c.Delete(t.Context(), sessionKey(1).Ref()))
	must(t, c.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	content[newestMeta(content)+16+30] ^= 1
	writeFile(t, path, content)
	if _, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Open: %v", err)
	}
}

// One bit is flipped, anywhere. The file may be refused; if it opens, nothing is
// lost, nothing that was deleted is back, and everything is found by its tag.
func TestDamageOfOneBitIsFoundOrHarmless(t *testing.T) {
	const sessions, rounds = 60, 400
	dir, content := t.TempDir(), fillContent(t, sessions)
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for round := range rounds {
		path := filepath.Join(dir, fmt.Sprint(round))
		damaged := bytes.Clone(content)
		at, bit := random.IntN(len(damaged)), random.IntN(8)
		damaged[at] ^= 1 << bit
		writeFile(t, path, damaged)
		c, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop())
		if err != nil {
			refused++
			continue
		}
		for n := range sessions {
			_, err := c.Get(t.Context(), sessionKey(n))
			if signedOut := n < 10; signedOut != errors.Is(err, cache.ErrNotFound) {
				t.Errorf("bit %d of byte %d: session %d: %v", bit, at, n, err)
			}
		}
		if refs, err := c.Find(t.Context(), cache.Tag{1}); err != nil || len(refs) != sessions-10 {
			t.Errorf("bit %d of byte %d: %d sessions are found, %v", bit, at, len(refs), err)
		}
		must(t, c.Close())
		must(t, os.Remove(path))
	}
	if refused < 10 {
		t.Errorf("only %d of %d were refused", refused, rounds)
	}
}

func TestFileOfAnotherProgramIsNotChanged(t *testing.T) {
	path := newPath(t)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }))
	must(t, db.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	if _, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop()); !errors.Is(err, errNotOurs) {
		t.Errorf("Open: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("it was changed")
	}
}

func TestDamagedFileThatIsRestoredOpensWithoutARestart(t *testing.T) {
	path, content := fill(t, 100)
	pageSize := os.Getpagesize()
	root := int(binary.NativeEndian.Uint64(content[newestMeta(content)+16+16:]))
	damaged := bytes.Clone(content)
	copy(damaged[root*pageSize:], bytes.Repeat([]byte{0xa5}, pageSize))
	writeFile(t, path, damaged)
	if _, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop()); err == nil {
		t.Fatal("the damaged file opens")
	}
	writeFile(t, path, content)
	must(t, opened(t, path, nil).Close())
}

// Where the file is cut short under a running Caddy, as copytruncate does, all writes
// must fail, and none may hang.
func TestFileTruncatedWhileOpenFailsAndHangsNobody(t *testing.T) {
	path := newPath(t)
	c := opened(t, path, nil)
	for n := range 50 {
		must(t, c.Put(t.Context(), sessionKey(n), sessionRecord(n, time.Now().Add(time.Hour))))
	}
	must(t, os.Truncate(path, 0))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 3 {
			if err := c.Put(t.Context(), sessionKey(100+n), sessionRecord(n, time.Now().Add(time.Hour))); err == nil {
				t.Error("a session is stored nowhere")
			}
			if err := c.Delete(t.Context(), sessionKey(n).Ref()); err == nil {
				t.Error("a sign-out is stored nowhere")
			}
		}
		if _, err := c.Get(t.Context(), sessionKey(10)); err != nil {
			t.Errorf("a session that is held: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("something hangs")
	}
	must(t, os.Remove(path))
	must(t, opened(t, path, nil).Close())
}

// A use is written late. It must not bring back a session that was ended meanwhile.
func TestUseThatIsStillToBeWrittenDoesNotReviveASession(t *testing.T) {
	path := newPath(t)
	f, err := openFile(path, time.Now, cachetest.Codec{}, zap.NewNop())
	must(t, err)
	key := sessionKey(1)
	must(t, f.Store(key, key.Ref(), sessionRecord(1, time.Now().Add(time.Hour)), false))
	must(t, f.Store(key, key.Ref(), sessionRecord(1, time.Now().Add(time.Hour)), true))
	must(t, f.Delete(key.Ref()))
	must(t, f.Close())
	f, err = openFile(path, time.Now, cachetest.Codec{}, zap.NewNop())
	must(t, err)
	defer f.Close()
	if n := count(t, f, recordsBucket); n != 0 {
		t.Error("the session is back")
	}
}

// copied opens a copy of the file, which is what a crash at this moment would leave.
func copied(t *testing.T, path string) cache.Cache {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	again := newPath(t)
	writeFile(t, again, content)
	c := opened(t, again, nil)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestWhatWasToldIsOnDiskAtOnceAndCountsWithIt(t *testing.T) {
	path := newPath(t)
	c := opened(t, path, nil)
	defer c.Close()
	limit := []cache.Limit{{Key: cache.Key{Kind: cache.KindCount, Secret: "number"}, Max: 1, Window: time.Hour}}
	if _, err := c.Count(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	key := cache.Key{Kind: cache.KindAttempt, Realm: "www.example.com", Secret: "attempt"}
	end := time.Now().Add(time.Hour)
	started := &cache.Record{Value: &cachetest.Value{Text: "started"}, Expires: end}
	must(t, c.Replace(t.Context(), key, nil, started))
	var reached *cache.LimitError
	if _, err := copied(t, path).Count(t.Context(), limit); !errors.As(err, &reached) {
		t.Errorf("the count of an attempt that was stored: %v", err)
	}
	burned := &cache.Record{Value: &cachetest.Value{Text: "burned"}, Expires: end}
	must(t, c.Replace(t.Context(), key, started, burned))
	rec, err := copied(t, path).Get(t.Context(), key)
	if err != nil || rec.Value.(*cachetest.Value).Text != "burned" {
		t.Errorf("a burned attempt is not burned on disk: %+v, %v", rec, err)
	}
	lives := started
	lives.Value, lives.Expires = burned.Value, end.Add(time.Hour)
	must(t, c.Replace(t.Context(), key, burned, lives)) // the same value, but no use: it lives longer
	if rec, err := copied(t, path).Get(t.Context(), key); err != nil || rec.Expires.Before(end.Add(time.Minute)) {
		t.Errorf("another end is not on disk: %+v, %v", rec, err)
	}
}

func TestEveryCommitIsSynced(t *testing.T) {
	f, err := openFile(newPath(t), time.Now, cachetest.Codec{}, zap.NewNop())
	must(t, err)
	defer f.Close()
	if f.db.NoSync || f.db.NoGrowSync {
		t.Error("commits are not synced")
	}
}

// signOutWhenFull fills the disk, simulated by a limit of the file's size. It checks
// that sign-outs go on and that sweeping makes room.
func signOutWhenFull(path string) {
	fail := func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		os.Exit(1)
	}
	began := time.Now()
	var passed atomic.Int64
	f, err := openFile(path, func() time.Time { return began.Add(time.Duration(passed.Load())) }, cachetest.Codec{}, zap.NewNop())
	if err != nil {
		fail("open: %v", err)
	}
	stored := 0
	for ; err == nil; stored++ {
		key := sessionKey(stored)
		err = f.Store(key, key.Ref(), sessionRecord(stored, began.Add(time.Minute)), false)
	}
	use := func() {
		for i := range 60 {
			key := sessionKey(1_000_000 + i)
			_ = f.Store(key, key.Ref(), sessionRecord(i, began.Add(2*time.Hour)), true)
		}
	}
	for n := range 20 {
		use()
		if err := f.Delete(sessionKey(n).Ref()); err != nil {
			fail("a sign-out is refused: %v", err)
		}
	}
	use()
	passed.Store(int64(time.Hour))
	for more := true; more; {
		more, _ = f.sweep()
	}
	key := sessionKey(stored)
	if err := f.Store(key, key.Ref(), sessionRecord(stored, began.Add(2*time.Hour)), false); err != nil {
		fail("no room after sweeping: %v", err)
	}
	os.Exit(0)
}

// limited runs this program again in the given mode, with a limit of the file size in
// bytes.
func limited(t *testing.T, mode, path string, bytes int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "BOLT_TEST_MODE="+mode, "BOLT_TEST_PATH="+path, fmt.Sprint("BOLT_TEST_LIMIT=", bytes))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return ""
}

func TestFullDiskStillSignsOutAndRecoversBySweeping(t *testing.T) {
	if wrong := limited(t, "sign out when full", newPath(t), 256<<10); wrong != "" {
		t.Error(wrong)
	}
}

func TestFileThatFoundNoRoomWhenMadeDoesNotStandInTheWay(t *testing.T) {
	for _, room := range []int{0, 4096, 8192, 12288, 20000} {
		path := newPath(t)
		if wrong := limited(t, "open", path, room); wrong == "" {
			t.Errorf("a file was made in %d bytes", room)
		}
		must(t, opened(t, path, nil).Close())
		if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// A file that cannot be written is refused when the configuration loads. Root may
// write anything, so another user tries.
func TestFileThatIsReadOnlyIsAnErrorThatSaysSo(t *testing.T) {
	path, content := fill(t, 20)
	must(t, os.Chmod(path, 0o444))
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "BOLT_TEST_MODE=open", "BOLT_TEST_PATH="+path)
	if os.Getuid() == 0 {
		program := filepath.Join(os.TempDir(), fmt.Sprint("bolt-test-", os.Getpid()))
		text, err := os.ReadFile(os.Args[0])
		must(t, err)
		must(t, os.WriteFile(program, text, 0o755))
		defer os.Remove(program)
		cmd.Path = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "must be able to write the file") {
		t.Errorf("%v: %s", err, out)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(content, after) {
		t.Error("the file was changed")
	}
}
