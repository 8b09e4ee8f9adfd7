package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/cache/sealed"
)

const (
	// flushEvery is how long the write of a use may wait. A crash may shorten the
	// life of an idle session by that much.
	flushEvery = time.Second
	// sweepEvery is how often expired records are deleted, and sweepBatch how many
	// of them in one transaction.
	sweepEvery = time.Minute
	sweepBatch = 1000
	// maxBatch is how many waiting writes go into one transaction.
	maxBatch = 1000
)

// A value consists of a checksum, kind, end, tags and the sealed record, in this
// order. The constants are positions in bytes.
const (
	kindAt   = 4
	endAt    = kindAt + 1
	tagsAt   = endAt + 8
	headSize = tagsAt + len(cache.Record{}.Tags)*len(cache.Tag{})
)

// file is a memory.Backing in a bbolt database. One goroutine writes. It puts all
// waiting writes into one transaction, so that many visitors share one sync of the
// disk.
type file struct {
	db      *bbolt.DB
	os      *os.File
	now     func() time.Time
	codec   cache.Codec
	log     *zap.Logger
	writes  chan write
	stop    chan struct{}
	stopped chan struct{}

	mu     sync.Mutex
	used   map[cache.Ref][]byte // uses that are not yet written
	broken error                // a fault, after which the database is not touched
}

// write is a change: a new value of a record, or no value to delete it.
type write struct {
	ref   cache.Ref
	value []byte
	done  chan error // nil where nobody waits
}

func openFile(path string, now func() time.Time, codec cache.Codec, log *zap.Logger) (*file, error) {
	db, opened, err := openDB(path, log)
	if err != nil {
		return nil, err
	}
	f := &file{
		db: db, os: opened, now: now, codec: codec, log: log, used: make(map[cache.Ref][]byte),
		writes: make(chan write), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go f.write()
	return f, nil
}

// Load implements memory.Backing.
func (f *file) Load(found func(cache.Ref, memory.Sealed)) error {
	if err := f.transact(view, func(tx *bbolt.Tx) error { return readAll(tx, found) }); err != nil {
		return explain(err)
	}
	// all of the file could be read; now see whether it can be written
	return f.transact(update, func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte(format)) })
}

// readAll calls found for every record. It also checks the records, their order and
// the index, so that damage is found when the configuration loads.
func readAll(tx *bbolt.Tx, found func(cache.Ref, memory.Sealed)) error {
	records, ends := 0, tx.Bucket(endsBucket)
	var last []byte
	err := tx.Bucket(recordsBucket).ForEach(func(ref, value []byte) error {
		if len(ref) != len(cache.Ref{}) || len(value) < headSize || bytes.Compare(last, ref) >= 0 {
			return berrors.ErrInvalid
		}
		at := cache.Ref(ref)
		if binary.BigEndian.Uint32(value) != checksum(at, value) || ends.Get(endKey(value, at)) == nil {
			return berrors.ErrChecksum
		}
		last = ref
		records++
		box := bytes.Clone(value[headSize:])
		found(at, memory.Sealed{
			Kind: cache.Kind(value[kindAt]), Ends: timeAt(value[endAt:]),
			Tags: tagsOf(value), Label: sealed.Label(box), Box: box,
		})
		return nil
	})
	if err != nil {
		return err
	}
	last = nil
	err = ends.ForEach(func(key, value []byte) error {
		records--
		if value == nil || bytes.Compare(last, key) >= 0 { // nil is a bucket
			return berrors.ErrInvalid
		}
		last = key
		return nil
	})
	if err == nil && records != 0 {
		err = berrors.ErrInvalid
	}
	return err
}

func tagsOf(value []byte) (tags [len(cache.Record{}.Tags)]cache.Tag) {
	for i := range tags {
		copy(tags[i][:], value[tagsAt+i*len(tags[i]):headSize])
	}
	return tags
}

// checksum returns the checksum of ref and the value, without the value's own
// checksum.
func checksum(ref cache.Ref, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(ref[:], table), table, value[kindAt:])
}

// Store implements memory.Backing.
func (f *file) Store(key cache.Key, ref cache.Ref, rec *cache.Record, used bool) error {
	box, err := sealed.Seal(f.codec, key, rec)
	if err != nil {
		return err
	}
	value := make([]byte, kindAt, headSize+len(box))
	value = append(value, byte(key.Kind))
	value = appendTime(value, rec.End())
	for i := range rec.Tags {
		value = append(value, rec.Tags[i][:]...)
	}
	value = append(value, box...)
	binary.BigEndian.PutUint32(value, checksum(ref, value))
	if used {
		f.mu.Lock()
		f.used[ref] = value
		f.mu.Unlock()
		return nil
	}
	return f.do(ref, value)
}

// Open implements memory.Backing.
func (f *file) Open(key cache.Key, box []byte) (*cache.Record, error) {
	return sealed.Open(f.codec, key, box)
}

// Delete implements memory.Backing.
func (f *file) Delete(ref cache.Ref) error {
	f.supersede(ref) // a waiting use would write the record back
	there := false
	err := f.transact(view, func(tx *bbolt.Tx) error {
		there = tx.Bucket(recordsBucket).Get(ref[:]) != nil
		return nil
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return cache.ErrClosed
	}
	if err != nil || !there {
		return err
	}
	return f.do(ref, nil)
}

// supersede drops the waiting use of a record that is about to change.
func (f *file) supersede(ref cache.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.used, ref)
}

// do hands a change to the writing goroutine, and waits until it is on disk.
func (f *file) do(ref cache.Ref, value []byte) error {
	f.supersede(ref)
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
	flush, sweep := time.NewTicker(flushEvery), time.NewTimer(sweepEvery)
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
			more := false
			if more, err = f.sweep(); more {
				sweep.Reset(time.Millisecond) // lets visitors' writes go first
			} else {
				sweep.Reset(sweepEvery)
			}
		case <-f.stop:
			if err := f.commit(nil); err != nil {
				f.log.Warn("uses not written", zap.Error(err))
			}
			return
		}
		if err != nil {
			f.log.Error("cache file not written", zap.Error(err))
		}
	}
}

// waiting returns first and the writes that wait behind it.
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

// commit writes the waiting uses and the batch. If that fails, as on a full disk, the
// uses go on waiting, and the batch is tried without them, deletes first.
func (f *file) commit(batch []write) error {
	used := f.takeUsed()
	err := f.apply(append(used, batch...))
	if err == nil {
		answer(batch, nil)
		return nil
	}
	f.putBack(used, batch)
	var deletes, stores []write
	for _, w := range batch {
		if w.value == nil {
			deletes = append(deletes, w)
		} else {
			stores = append(stores, w)
		}
	}
	answer(deletes, f.apply(deletes))
	answer(stores, f.apply(stores))
	return err
}

func answer(batch []write, err error) {
	for _, w := range batch {
		w.done <- err
	}
}

func (f *file) takeUsed() []write {
	f.mu.Lock()
	defer f.mu.Unlock()
	used := make([]write, 0, len(f.used))
	for ref, value := range f.used {
		used = append(used, write{ref: ref, value: value})
	}
	clear(f.used)
	return used
}

// putBack lets uses wait again, except those of records that have changed since.
func (f *file) putBack(used, batch []write) {
	newer := make(map[cache.Ref]bool, len(batch))
	for _, w := range batch {
		newer[w.ref] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range used {
		if _, ok := f.used[w.ref]; !ok && !newer[w.ref] {
			f.used[w.ref] = w.value
		}
	}
}

// apply writes a batch in one transaction, in its order.
func (f *file) apply(batch []write) error {
	if len(batch) == 0 {
		return nil
	}
	return f.transact(update, func(tx *bbolt.Tx) error {
		for _, w := range batch {
			if err := put(tx, w.ref, w.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// put stores a value and its place in the index. Without a value it deletes both.
func put(tx *bbolt.Tx, ref cache.Ref, value []byte) error {
	records, ends := tx.Bucket(recordsBucket), tx.Bucket(endsBucket)
	if old := records.Get(ref[:]); old != nil {
		if err := ends.Delete(endKey(old, ref)); err != nil {
			return err
		}
	}
	if value == nil {
		return records.Delete(ref[:])
	}
	if err := ends.Put(endKey(value, ref), []byte{}); err != nil {
		return err
	}
	return records.Put(ref[:], value)
}

// sweep deletes up to sweepBatch expired records, and tells whether there are more.
func (f *file) sweep() (more bool, err error) {
	// a use lengthens a life, so uses go first; on a full disk they fail, and
	// sweeping makes room for them
	flushed := f.commit(nil)
	var ended []write
	err = f.transact(view, func(tx *bbolt.Tx) error {
		ended = f.endedBefore(tx, f.now())
		return nil
	})
	if err == nil {
		err = f.apply(ended)
	}
	return len(ended) == sweepBatch && err == nil, errors.Join(flushed, err)
}

// endedBefore returns deletes of up to sweepBatch records that have ended by now. It
// leaves out records with a use that could not be written.
func (f *file) endedBefore(tx *bbolt.Tx, now time.Time) []write {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ended []write
	c := tx.Bucket(endsBucket).Cursor()
	for k, _ := c.First(); k != nil && len(ended) < sweepBatch && !now.Before(timeAt(k)); k, _ = c.Next() {
		ref := cache.Ref(k[8:])
		if _, kept := f.used[ref]; !kept {
			ended = append(ended, write{ref: ref})
		}
	}
	return ended
}

// transact runs a transaction with view or update. After a fault it refuses all
// others: the fault may have left bbolt's locks held for good.
func (f *file) transact(run func(*bbolt.DB, func(*bbolt.Tx) error) error, do func(*bbolt.Tx) error) error {
	f.mu.Lock()
	broken := f.broken
	f.mu.Unlock()
	if broken != nil {
		return broken
	}
	err := run(f.db, do)
	if errors.Is(err, errDamaged) {
		f.mu.Lock()
		f.broken = err
		f.mu.Unlock()
	}
	return err
}

// endKey returns the key of a value in the index: its end, and then ref.
func endKey(value []byte, ref cache.Ref) []byte {
	return append(append(make([]byte, 0, 8+len(ref)), value[endAt:tagsAt]...), ref[:]...)
}

// Close implements memory.Backing.
func (f *file) Close() error {
	close(f.stop)
	<-f.stopped
	if f.broken != nil {
		return closeDamaged(f.db, f.os)
	}
	return f.db.Close()
}

// appendTime appends t in milliseconds, big-endian, so that bytes sort as times do.
// The zero time is 0.
func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(max(0, t.UnixMilli())))
}

func timeAt(b []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
}

// Interface guard
var _ memory.Backing = (*file)(nil)
