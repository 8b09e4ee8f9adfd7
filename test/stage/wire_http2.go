package stage

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func overHTTP2(secure bool) func(*Stage, Request) (*Answer, error) {
	return func(s *Stage, r Request) (*Answer, error) {
		conn, err := s.Dial(secure, "h2")
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			return nil, err
		}
		scheme := "http"
		if secure {
			scheme = "https"
		}
		f := http2.NewFramer(conn, conn)
		f.AllowIllegalWrites = true
		if err := writeHTTP2(f, r, scheme); err != nil {
			return nil, err
		}
		return readHTTP2(f)
	}
}

func writeHTTP2(f *http2.Framer, r Request, scheme string) error {
	if err := f.WriteSettings(); err != nil {
		return err
	}
	encoder := newFieldWriter(f)
	hasMore := r.Body != "" || len(r.Trailers) > 0
	if err := encoder.write(r.HeaderOf(scheme), !hasMore); err != nil || !hasMore {
		return err
	}
	if err := f.WriteData(1, len(r.Trailers) == 0, []byte(r.Body)); err != nil || len(r.Trailers) == 0 {
		return err
	}
	return encoder.write(pairs(r.Trailers), true)
}

// fieldWriter writes the headers and trailers of a connection's only stream.
type fieldWriter struct {
	*http2.Framer
	block   *bytes.Buffer
	encoder *hpack.Encoder
}

func newFieldWriter(f *http2.Framer) *fieldWriter {
	block := new(bytes.Buffer)
	return &fieldWriter{f, block, hpack.NewEncoder(block)}
}

// write sends fields in as many frames as they need.
func (w *fieldWriter) write(fields [][2]string, isLast bool) error {
	w.block.Reset()
	for _, p := range fields {
		if err := w.encoder.WriteField(hpack.HeaderField{Name: p[0], Value: p[1]}); err != nil {
			return err
		}
	}
	const most = 16 << 10
	rest := w.block.Bytes()
	first := rest[:min(most, len(rest))]
	rest = rest[len(first):]
	err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: isLast, EndHeaders: len(rest) == 0})
	for err == nil && len(rest) > 0 {
		part := rest[:min(most, len(rest))]
		rest = rest[len(part):]
		err = w.WriteContinuation(1, len(rest) == 0, part)
	}
	return err
}

func readHTTP2(f *http2.Framer) (*Answer, error) {
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	a := answerOf(0, http.Header{}, "")
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return nil, err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			for _, field := range frame.Fields {
				a.add(field.Name, field.Value)
			}
			if frame.StreamEnded() {
				return a, nil
			}
		case *http2.DataFrame:
			a.Body += string(frame.Data())
			if frame.StreamEnded() {
				return a, nil
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return a, nil
		}
	}
}

// add puts a field of HTTP/2 or 3 into the answer.
func (a *Answer) add(name, value string) {
	if name == ":status" {
		a.StatusCode, _ = strconv.Atoi(value)
		return
	}
	a.Header.Add(name, value)
}
