package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/cache/sealed"
)

// The buckets: records by Ref, and an index of them by their end, so that
// sweeping reads nothing else.
var (
	metaBucket    = []byte("number_verify")
	recordsBucket = []byte("records")
	endsBucket    = []byte("ends")
	formatKey     = []byte("format")
)

const (
	// format is that of the file, in metaBucket.
	format = "2"
	// lockTime is how long another process may take to let go of the file.
	lockTime = 2 * time.Second
	// flushEvery is how late uses of a record are written: what a crash may
	// take from an idle time.
	flushEvery = time.Second
	// sweepEvery is how often what has expired is removed, sweepBatch how much
	// of it in one transaction.
	sweepEvery = time.Minute
	sweepBatch = 1000
	// maxBatch is how many waiting writes one transaction takes.
	maxBatch = 1000
	// headSize is kind, end, end in flight and tag, before what is sealed.
	headSize = 1 + 8 + 8 + len(cache.Tag{})
)

var errNotOurs = errors.New("the file is a bbolt database, but not one of number_verify: name another file")

// file is the memory.Backing on a bbolt database. One goroutine writes: it takes
// together what waits, so that many visitors share one synced commit.
type file struct {
	db      *bbolt.DB
	now     func() time.Time
	log     *zap.Logger
	writes  chan write
	stop    chan struct{}
	stopped chan struct{}

	mu   sync.Mutex
	used map[cache.Ref][]byte // not yet written
}

// write is a change that somebody waits for; without a value it deletes.
type write struct {
	ref   cache.Ref
	value []byte
	done  chan error
}

// openFile opens the database, or makes it where there is none. It changes no
// file that it cannot use.
func openFile(path string, now func() time.Time, log *zap.Logger) (f *file, err error) {
	db, err := openDB(path)
	if err != nil {
		return nil, err
	}
	f = &file{
		db: db, now: now, log: log, used: make(map[cache.Ref][]byte),
		writes: make(chan write), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go f.write()
	return f, nil
}

func openDB(path string) (db *bbolt.DB, err error) {
	// a truncated file ends in a fault where it is read
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverDamage(&err)
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTime, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, explain(err)
	}
	if err := prepare(db); err != nil {
		return nil, errors.Join(explain(err), db.Close())
	}
	return db, nil
}

// explain says what to do about a file that cannot be opened.
func explain(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return errors.New("the file is in use by another process: each Caddy needs a file of its own")
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("the file is damaged or no bbolt database (%w): restore it, or move it away to begin with an empty one", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the user that runs Caddy must be able to write the file", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make its directory first", err)
	default:
		return err
	}
}

// recoverDamage turns what bbolt does over a damaged file into an error.
func recoverDamage(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the file is damaged (%v): restore it, or move it away to begin with an empty one", p)
	}
}

// prepare makes a new database ours, and checks that any other is.
func prepare(db *bbolt.DB) error {
	isNew := false
	err := db.View(func(tx *bbolt.Tx) error {
		name, _ := tx.Cursor().First()
		isNew = name == nil
		if isNew {
			return nil
		}
		return checkOurs(tx)
	})
	if err != nil || !isNew {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{metaBucket, recordsBucket, endsBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(formatKey, []byte(format))
	})
}

func checkOurs(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return errNotOurs
	}
	if got := string(meta.Get(formatKey)); got != format {
		return fmt.Errorf("the file has format %q, this version of number_verify reads %q: use the version that wrote it, or name another file", got, format)
	}
	if tx.Bucket(recordsBucket) == nil || tx.Bucket(endsBucket) == nil {
		return berrors.ErrInvalid
	}
	return nil
}

// Load implements memory.Backing.
func (f *file) Load(found func(cache.Ref, memory.Sealed)) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverDamage(&err)
	if err := f.db.View(func(tx *bbolt.Tx) error { return readAll(tx, found) }); err != nil {
		return explain(err)
	}
	// only now that all of it could be read: whether it can be written
	return f.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte(format)) })
}

// readAll reads every page, so that damage is found when the configuration loads.
func readAll(tx *bbolt.Tx, found func(cache.Ref, memory.Sealed)) error {
	records, ends := 0, 0
	err := tx.Bucket(recordsBucket).ForEach(func(ref, value []byte) error {
		if len(ref) != len(cache.Ref{}) || len(value) < headSize {
			return berrors.ErrInvalid
		}
		records++
		found(cache.Ref(ref), memory.Sealed{
			Kind: cache.Kind(value[0]), Ends: timeAt(value[1:]), InFlightUntil: timeAt(value[9:]),
			Tag: cache.Tag(value[17:headSize]),
			Box: append([]byte(nil), value[headSize:]...),
		})
		return nil
	})
	if err != nil {
		return err
	}
	err = tx.Bucket(endsBucket).ForEach(func(key, _ []byte) error {
		if len(key) != 8+len(cache.Ref{}) {
			return berrors.ErrInvalid
		}
		ends++
		return nil
	})
	if err == nil && records != ends {
		err = berrors.ErrInvalid
	}
	return err
}

// Store implements memory.Backing.
func (f *file) Store(key cache.Key, ref cache.Ref, rec *cache.Record, used bool) error {
	box, err := sealed.Seal(key, rec)
	if err != nil {
		return err
	}
	value := make([]byte, 0, headSize+len(box))
	value = append(value, byte(key.Kind))
	value = appendTime(value, rec.End())
	value = appendTime(value, rec.InFlightUntil())
	value = append(value, rec.Tag[:]...)
	value = append(value, box...)
	if used {
		f.mu.Lock()
		f.used[ref] = value
		f.mu.Unlock()
		return nil
	}
	return f.do(ref, value)
}

// Delete implements memory.Backing.
func (f *file) Delete(ref cache.Ref) error { return f.do(ref, nil) }

// do has a change written, and waits until it is on disk.
func (f *file) do(ref cache.Ref, value []byte) error {
	f.mu.Lock()
	delete(f.used, ref) // this change is newer
	f.mu.Unlock()
	w := write{ref, value, make(chan error, 1)}
	select {
	case f.writes <- w:
		return <-w.done
	case <-f.stopped:
		return cache.ErrClosed
	}
}

// write is the goroutine that changes the database.
func (f *file) write() {
	defer close(f.stopped)
	flush, sweep := time.NewTicker(flushEvery), time.NewTicker(sweepEvery)
	defer flush.Stop()
	defer sweep.Stop()
	for {
		var err error
		select {
		case w := <-f.writes:
			err = f.commit(f.waiting(w))
		case <-flush.C:
			err = f.commit(nil)
		case <-sweep.C:
			err = f.sweep()
		case <-f.stop:
			if err := f.commit(nil); err != nil {
				f.log.Warn("uses of sessions not written", zap.Error(err))
			}
			return
		}
		if err != nil {
			f.log.Error("cache file not written", zap.Error(err))
		}
	}
}

// waiting takes the writes that wait behind the first.
func (f *file) waiting(first write) []write {
	batch := []write{first}
	for len(batch) < maxBatch {
		select {
		case w := <-f.writes:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit writes the batch, and the uses that nobody waits for.
func (f *file) commit(batch []write) error {
	for ref, value := range f.takeUsed() {
		batch = append(batch, write{ref: ref, value: value})
	}
	if len(batch) == 0 {
		return nil
	}
	err := f.update(func(tx *bbolt.Tx) error {
		for _, w := range batch {
			if err := apply(tx, w.ref, w.value); err != nil {
				return err
			}
		}
		return nil
	})
	for _, w := range batch {
		if w.done != nil {
			w.done <- err
		}
	}
	return err
}

// takeUsed takes the uses that are not yet written. Where that fails they are
// lost: sessions end earlier then, never later.
func (f *file) takeUsed() map[cache.Ref][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	used := f.used
	f.used = make(map[cache.Ref][]byte)
	return used
}

// sweep removes what has ended, by the index.
func (f *file) sweep() error {
	if err := f.commit(nil); err != nil { // what was used lives longer
		return err
	}
	for more := true; more; {
		err := f.update(func(tx *bbolt.Tx) error {
			ended := endedBefore(tx, f.now(), sweepBatch)
			more = len(ended) == sweepBatch
			for _, ref := range ended {
				if err := apply(tx, ref, nil); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func endedBefore(tx *bbolt.Tx, now time.Time, most int) []cache.Ref {
	var ended []cache.Ref
	c := tx.Bucket(endsBucket).Cursor()
	for k, _ := c.First(); k != nil && len(ended) < most && !now.Before(timeAt(k)); k, _ = c.Next() {
		ended = append(ended, cache.Ref(k[8:]))
	}
	return ended
}

// update runs a transaction; a damaged file is an error and stops nothing else.
func (f *file) update(change func(*bbolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverDamage(&err)
	return f.db.Update(change)
}

// apply stores a value and its place in the index; without one it deletes.
func apply(tx *bbolt.Tx, ref cache.Ref, value []byte) error {
	records, ends := tx.Bucket(recordsBucket), tx.Bucket(endsBucket)
	if old := records.Get(ref[:]); old != nil {
		if err := ends.Delete(endKey(old, ref)); err != nil {
			return err
		}
	}
	if value == nil {
		return records.Delete(ref[:])
	}
	if err := ends.Put(endKey(value, ref), nil); err != nil {
		return err
	}
	return records.Put(ref[:], value)
}

func endKey(value []byte, ref cache.Ref) []byte {
	return append(append(make([]byte, 0, 8+len(ref)), value[1:9]...), ref[:]...)
}

// Close implements memory.Backing.
func (f *file) Close() error {
	close(f.stop)
	<-f.stopped
	return f.db.Close()
}

// appendTime appends t in milliseconds, so that times sort as their bytes do;
// the zero time is 0.
func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(max(0, t.UnixMilli())))
}

func timeAt(b []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
}

// Interface guard
var _ memory.Backing = (*file)(nil)
