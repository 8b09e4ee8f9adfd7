package command

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
)

// searchLogs returns the events of files of Caddy's log that have the reference, in the
// order of time.
func searchLogs(cmd *cobra.Command, files []string, reference string) ([]event, error) {
	s := &search{reference: reference}
	for _, name := range files {
		if err := s.file(cmd.InOrStdin(), name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if s.unread > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s with %s that cannot be read, since it is no JSON: see log { format json } in Caddy's documentation.\n",
			quantity(s.unread, "line", "lines"), reference)
	}
	// lines of one moment stay in the order of the file
	slices.SortStableFunc(s.found, func(a, b event) int { return a.at().Compare(b.at()) })
	return s.found, nil
}

// search is what was found so far.
type search struct {
	reference string
	found     []event
	// unread is how many lines have the reference and cannot be read.
	unread int64
}

// file searches a file, or standard input for "-".
func (s *search) file(stdin io.Reader, name string) error {
	if name == "-" {
		return s.content(stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return errors.Unwrap(err) // the name is told by the caller
	}
	defer func() { _ = file.Close() }()
	return s.content(file)
}

// content searches a log, which may be compressed as Caddy does it.
func (s *search) content(log io.Reader) error {
	lines := bufio.NewReader(log)
	switch begin, _ := lines.Peek(4); {
	case bytes.HasPrefix(begin, []byte("\x1f\x8b")):
		unpacked, err := gzip.NewReader(lines)
		if err != nil {
			return err
		}
		lines = bufio.NewReader(unpacked)
	case bytes.Equal(begin, []byte("\x28\xb5\x2f\xfd")):
		return errors.New("it is compressed by zstd: pipe it in, with zstd -dc <file> | caddy number-verify explain <reference> --log -")
	}
	for {
		line, err := lines.ReadBytes('\n')
		if bytes.Contains(line, []byte(s.reference)) {
			s.line(line)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// line keeps a line if the reference is its own, and does not only occur in it.
func (s *search) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		s.unread++
		return
	}
	if e.text("reference") != s.reference {
		return
	}
	e["time"], e["message"] = cmp.Or(e["ts"], e["time"]), cmp.Or(e["msg"], e["message"])
	delete(e, "ts")
	delete(e, "msg")
	s.found = append(s.found, e)
}
