package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// The buckets: one with the format, one with the records by their Ref, and an index
// of the records by their end, for sweeping.
var (
	metaBucket    = []byte("number_verify")
	recordsBucket = []byte("records")
	endsBucket    = []byte("ends")
	formatKey     = []byte("format")
)

const (
	// format is the file's format, which stands in metaBucket.
	format = "3"
	// lockTime is how long to wait for another process to close the file.
	lockTime = 2 * time.Second
)

var (
	errDirectory = errors.New("this is a directory: name a file in it")
	errNotOurs   = errors.New("the file is a bbolt database, but not one of number_verify: name another file")
	errDamaged   = errors.New("the file is damaged: restore it, or move it away to begin with an empty one")
)

// openDB opens the database, and makes one where there is none. It changes no file
// that it cannot use. It also returns the open file, which holds the lock: closing
// that lets another Caddy in even if a fault keeps the database from being closed.
func openDB(path string, log *zap.Logger) (*bbolt.DB, *os.File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		log.Info("cache file is new", zap.String("file", path))
		err = makeFile(path)
	} else if err == nil && info.IsDir() {
		err = errDirectory
	} else if err == nil && info.Size() == 0 {
		log.Warn("cache file is empty: no session is in it", zap.String("file", path))
	} else if err == nil {
		err = inspect(path)
	}
	if err != nil {
		return nil, nil, explain(err)
	}
	db, file, err := open(path, false, prepare)
	if err != nil {
		return nil, nil, explain(err)
	}
	return db, file, nil
}

// inspect reads all of the file before anything is written to it. In a damaged file
// bbolt could take a page in use for a free one and overwrite it, or end the process.
func inspect(path string) error {
	db, _, err := open(path, true, func(db *bbolt.DB, file *os.File) error {
		if err := checkPages(file); err != nil {
			return err
		}
		return view(db, func(tx *bbolt.Tx) error {
			if err := checkOurs(tx); err != nil {
				return err
			}
			return readAll(tx, func(cache.Ref, memory.Sealed) {})
		})
	})
	if err != nil {
		return err
	}
	return db.Close()
}

// open opens the database and calls use with it. After an error nothing is left
// open.
func open(path string, readOnly bool, use func(*bbolt.DB, *os.File) error) (db *bbolt.DB, file *os.File, err error) {
	err = guarded(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			ReadOnly: readOnly, Timeout: lockTime, FreelistType: bbolt.FreelistMapType,
			// the free pages are found anew each time: if a stored list of them
			// were damaged, writes would overwrite pages in use
			NoFreelistSync: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		if err != nil {
			return err
		}
		return use(db, file)
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeDamaged(db, file))
	}
	return db, file, nil
}

// closeDamaged closes a database after a fault, which may have left bbolt's locks
// held for good: then it closes the file alone. Either may be nil.
func closeDamaged(db *bbolt.DB, file *os.File) error {
	if db != nil {
		done := make(chan error, 1)
		go func() { done <- guarded(db.Close) }()
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		select {
		case err := <-done:
			return err
		case <-timer.C:
		}
	}
	if file == nil {
		return nil
	}
	if err := file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// makeFile makes an empty database under another name and then links it to path, so
// that a crash never leaves an incomplete one there.
func makeFile(path string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // after success the file is also at path
	if err := temp.Close(); err != nil {
		return err
	}
	db, _, err := open(temp.Name(), false, prepare)
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// explain adds advice to the error of a file that cannot be opened.
func explain(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return errors.New("the file is in use by another process: each Caddy needs a file of its own")
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("the file is damaged or no bbolt database (%w): restore it, or move it away to begin with an empty one", err)
	case strings.Contains(err.Error(), "file size too small"): // bbolt exports no such error
		return fmt.Errorf("%w: it was cut short", errDamaged)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the user that runs Caddy must be able to write the file", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make its directory first", err)
	default:
		return err
	}
}

// guarded calls f and returns a panic or memory fault, which bbolt meets in a
// damaged file, as an error.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (%v)", errDamaged, p)
		}
	}()
	return f()
}

// view and update run a transaction. They catch panics within it as well, so that
// bbolt ends the transaction in order and the database can still be closed.
func view(db *bbolt.DB, f func(*bbolt.Tx) error) error {
	return guarded(func() error {
		return db.View(func(tx *bbolt.Tx) error { return guarded(func() error { return f(tx) }) })
	})
}

func update(db *bbolt.DB, f func(*bbolt.Tx) error) error {
	return guarded(func() error {
		return db.Update(func(tx *bbolt.Tx) error { return guarded(func() error { return f(tx) }) })
	})
}

// prepare makes the buckets of an empty database, and checks that any other has
// them.
func prepare(db *bbolt.DB, _ *os.File) error {
	isNew := false
	err := view(db, func(tx *bbolt.Tx) error {
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
	return update(db, func(tx *bbolt.Tx) error {
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
