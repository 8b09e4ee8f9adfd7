package redis

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/numberverify/caddy-number-verify/cache/cachetest"
)

// quoting starts a server that refuses every command with the given words followed by
// the command itself, as Redis does with unknown ones.
func quoting(t *testing.T, words string) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go refuse(conn, words)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

func refuse(conn net.Conn, words string) {
	defer conn.Close()
	for reader := bufio.NewReader(conn); ; {
		var parts, size int
		if _, err := fmt.Fscanf(reader, "*%d\r\n", &parts); err != nil {
			return
		}
		var args []string
		for range parts {
			if _, err := fmt.Fscanf(reader, "$%d\r\n", &size); err != nil {
				return
			}
			arg := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(reader, arg); err != nil {
				return
			}
			args = append(args, string(arg[:size]))
		}
		if _, err := fmt.Fprintf(conn, "-%s, with args beginning with: '%s'\r\n", words, strings.Join(args, "', '")); err != nil {
			return
		}
	}
}

func TestServerThatQuotesWhatItRefusesWritesNoPasswordIntoTheLog(t *testing.T) {
	for _, words := range []string{"ERR unknown command", "NOPERM no permissions", "WRONGPASS invalid", "the-password", "the-password: ERR"} {
		t.Run(words, func(t *testing.T) {
			var logs bytes.Buffer
			core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(zapcore.AddSync(&logs)), zap.DebugLevel)
			c, err := Open(Options{Addresses: []string{quoting(t, words)}, Username: "caddy", Password: "the-password", Timeout: time.Second}, cachetest.Codec{}, zap.New(core))
			if err == nil {
				_, err = c.Get(t.Context(), sessionKey)
				must(t, c.Close())
			}
			if err == nil || strings.Contains(err.Error(), "the-password") {
				t.Errorf("the error is %v", err)
			}
			if logged := logs.String(); logged == "" || strings.Contains(logged, "the-password") {
				t.Errorf("the log is %s", logged)
			}
		})
	}
}
