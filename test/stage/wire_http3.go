package stage

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// Frames of HTTP/3, RFC 9114.
const (
	frameData    = 0
	frameHeaders = 1
)

func overHTTP3(s *Stage, r Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	conn, err := quic.DialAddr(ctx, s.secureAddr(), trusting("h3"), nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.CloseWithError(0x100, "") }()
	control, err := conn.OpenUniStream()
	if err != nil {
		return nil, err
	}
	if _, err := control.Write([]byte{0, 4, 0}); err != nil { // a control stream, with no settings
		return nil, err
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	_ = stream.SetDeadline(time.Now().Add(Patience))
	out := frameHTTP3(frameHeaders, packed(r.HeaderOf("https")))
	if r.Body != "" || len(r.Trailers) > 0 {
		out = append(out, frameHTTP3(frameData, []byte(r.Body))...)
	}
	if len(r.Trailers) > 0 {
		out = append(out, frameHTTP3(frameHeaders, packed(pairs(r.Trailers)))...)
	}
	if _, err := stream.Write(out); err != nil {
		return nil, err
	}
	_ = stream.Close()
	return readHTTP3(bufio.NewReader(stream))
}

func packed(fields [][2]string) []byte {
	var block bytes.Buffer
	encoder := qpack.NewEncoder(&block)
	for _, p := range fields {
		_ = encoder.WriteField(qpack.HeaderField{Name: p[0], Value: p[1]}) // to memory
	}
	return block.Bytes()
}

func frameHTTP3(kind uint64, payload []byte) []byte {
	return append(quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(payload))), payload...)
}

func readHTTP3(in *bufio.Reader) (*Answer, error) {
	a := answerOf(0, http.Header{}, "")
	for {
		kind, err := quicvarint.Read(in)
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return nil, err
		}
		size, err := quicvarint.Read(in)
		if err != nil {
			return nil, err
		}
		payload := make([]byte, min(size, 1<<20))
		if _, err := io.ReadFull(in, payload); err != nil {
			return nil, err
		}
		switch kind {
		case frameHeaders:
			next := qpack.NewDecoder().Decode(payload)
			for field, err := next(); err == nil; field, err = next() {
				a.add(field.Name, field.Value)
			}
		case frameData:
			a.Body += string(payload)
		}
	}
}
