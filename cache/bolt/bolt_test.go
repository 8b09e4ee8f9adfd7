package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

func opened(tb testing.TB, path string, now func() time.Time) cache.Cache {
	tb.Helper()
	c, err := Open(path, memory.Options{Now: now}, cachetest.Codec{}, zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func newPath(tb testing.TB) string { return filepath.Join(tb.TempDir(), "number-verify.db") }

func TestConformance(t *testing.T) {
	cachetest.Run(t, func(t *testing.T, now func() time.Time) cache.Cache { return opened(t, newPath(t), now) })
}

func TestConformanceWhenFull(t *testing.T) {
	cachetest.RunFull(t, func(t *testing.T, now func() time.Time) cache.Cache {
		c, err := Open(newPath(t), memory.Options{Now: now, Records: 100}, cachetest.Codec{}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}

func TestDurability(t *testing.T) {
	cachetest.RunDurable(t, func(t *testing.T, now func() time.Time) func() cache.Cache {
		path := newPath(t)
		return func() cache.Cache { return opened(t, path, now) }
	})
}

func sessionKey(n int) cache.Key {
	return cache.Key{Kind: cache.KindSession, Realm: "www.example.com", Secret: fmt.Sprintf("cookie-of-visitor-%025d", n)}
}

func sessionRecord(n int, expires time.Time) *cache.Record {
	return &cache.Record{
		Value:   &cachetest.Value{Text: fmt.Sprintf("+336399800%02d Opérateur", n%100), N: n},
		Expires: expires,
	}
}

func TestStolenFileTellsNothing(t *testing.T) {
	path := newPath(t)
	c := opened(t, path, nil)
	key := sessionKey(1)
	if err := c.Put(t.Context(), key, sessionRecord(1, time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ref := key.Ref()
	if !bytes.Contains(content, ref[:]) {
		t.Error("the file does not hold the session")
	}
	for _, secret := range []string{key.Secret, "639980001", "Opérateur", "www.example.com"} {
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("the file holds %q", secret)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
}

func TestRecordCopiedToAnotherKeyDoesNotOpen(t *testing.T) {
	path := newPath(t)
	c := opened(t, path, nil)
	for n := range 2 {
		if err := c.Put(t.Context(), sessionKey(n), sessionRecord(n, time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	from, to := sessionKey(0).Ref(), sessionKey(1).Ref()
	change(t, path, func(tx *bbolt.Tx) error {
		value := bytes.Clone(tx.Bucket(recordsBucket).Get(from[:]))
		binary.BigEndian.PutUint32(value, checksum(to, value))
		return put(tx, to, value)
	})
	c = opened(t, path, nil)
	defer c.Close()
	if _, err := c.Get(t.Context(), sessionKey(1)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("the copied record: %v", err)
	}
	if _, err := c.Get(t.Context(), sessionKey(0)); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

// change changes a file behind the cache's back.
func change(t *testing.T, path string, f func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// full makes a file with a hundred sessions.
func full(t *testing.T, path string) {
	c := opened(t, path, nil)
	for n := range 100 {
		if err := c.Put(t.Context(), sessionKey(n), sessionRecord(n, time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// unusable are files that cannot be used, and what the error says.
var unusable = map[string]struct {
	make func(t *testing.T, path string)
	want string
}{
	"not a database": {func(t *testing.T, path string) { writeFile(t, path, bytes.Repeat([]byte("notes "), 4000)) }, "damaged or no bbolt database"},
	"a few bytes":    {func(t *testing.T, path string) { writeFile(t, path, []byte("x")) }, "damaged"},
	"of another program": {func(t *testing.T, path string) {
		change(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	}, "not one of number_verify"},
	"of a newer version": {func(t *testing.T, path string) {
		full(t, path)
		change(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte("4")) })
	}, `format "4"`},
	"of an older version": {func(t *testing.T, path string) {
		full(t, path)
		change(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte("2")) })
	}, `the file has format "2", this version of number_verify reads "3": use the version that wrote it, or name another file`},
	"a bucket missing": {func(t *testing.T, path string) {
		full(t, path)
		change(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket(endsBucket) })
	}, "damaged"},
	"a record cut short": {func(t *testing.T, path string) {
		full(t, path)
		change(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(recordsBucket).Put([]byte("short"), []byte("x")) })
	}, "damaged"},
	"a record without its end": {func(t *testing.T, path string) {
		full(t, path)
		change(t, path, func(tx *bbolt.Tx) error {
			key, _ := tx.Bucket(endsBucket).Cursor().First()
			return tx.Bucket(endsBucket).Delete(bytes.Clone(key))
		})
	}, "damaged"},
	"truncated": {func(t *testing.T, path string) {
		full(t, path)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()/2/4096*4096); err != nil {
			t.Fatal(err)
		}
	}, "damaged"},
	"overwritten in the middle": {func(t *testing.T, path string) {
		full(t, path)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		copy(content[2*4096:], bytes.Repeat([]byte{0xa5}, len(content)-2*4096))
		writeFile(t, path, content)
	}, "damaged"},
	"a directory":  {func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, "name a file in it"},
	"no directory": {func(t *testing.T, path string) { _ = os.Remove(filepath.Dir(path)) }, "make its directory first"},
	"in use": {func(t *testing.T, path string) {
		c := opened(t, path, nil)
		t.Cleanup(func() { _ = c.Close() })
	}, "in use by another process"},
}

func TestFileThatCannotBeUsedIsAnErrorAndLeftAlone(t *testing.T) {
	for name, test := range unusable {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			test.make(t, path)
			before, _ := os.ReadFile(path)
			c, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop())
			if err == nil {
				_ = c.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error does not say %q: %v", test.want, err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatHasEndedLeavesTheFile(t *testing.T) {
	var clock atomic.Int64 // the sweeping goroutine reads it too
	now := time.Now()
	f, err := openFile(newPath(t), func() time.Time { return now.Add(time.Duration(clock.Load())) }, cachetest.Codec{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := range 30 {
		key := sessionKey(n)
		if err := f.Store(key, key.Ref(), sessionRecord(n, now.Add(time.Duration(n)*time.Minute)), false); err != nil {
			t.Fatal(err)
		}
		// a second write must not leave its first end in the index
		if err := f.Store(key, key.Ref(), sessionRecord(n, now.Add(time.Duration(n+1)*time.Minute)), n%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{30 * time.Second, 30}, {10 * time.Minute, 20}, {time.Hour, 0}} {
		clock.Store(int64(c.after))
		sweepAll(t, f)
		if records, ends := count(t, f, recordsBucket), count(t, f, endsBucket); records != c.left || ends != c.left {
			t.Errorf("after %s %d records and %d ends are left, want %d", c.after, records, ends, c.left)
		}
	}
}

func sweepAll(t *testing.T, f *file) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = f.sweep(); err != nil {
			t.Fatal(err)
		}
	}
}

func count(t *testing.T, f *file, bucket []byte) (n int) {
	t.Helper()
	if err := f.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, _ []byte) error { n++; return nil })
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFileDoesNotGrowWithoutEnd(t *testing.T) {
	var clock atomic.Int64
	began, path := time.Now(), newPath(t)
	now := func() time.Time { return began.Add(time.Duration(clock.Load())) }
	f, err := openFile(path, now, cachetest.Codec{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := func(round int) int64 {
		for n := range 200 {
			key := sessionKey(round*200 + n)
			if err := f.Store(key, key.Ref(), sessionRecord(n, now().Add(time.Minute)), true); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.commit(nil); err != nil {
			t.Fatal(err)
		}
		clock.Add(int64(2 * time.Minute))
		sweepAll(t, f)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	first := size(0)
	for round := 1; round < 20; round++ {
		if got := size(round); got > 4*first {
			t.Fatalf("%d bytes after round %d, %d after the first", got, round, first)
		}
	}
}
