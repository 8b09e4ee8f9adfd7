// Package redistest runs real redis-servers for tests, each in a directory of its
// own, and ends them with the test.
package redistest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage/port"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// Server is a redis-server on a port of loopback.
type Server struct {
	Addr string
	Port string

	dir  string
	args []string
	cmd  *exec.Cmd
	log  output
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// New prepares a server with arguments such as "--maxmemory", "4mb", and does not
// start it.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	number := freePort(t)
	s := &Server{Addr: "127.0.0.1:" + number, Port: number, dir: t.TempDir(), args: args}
	t.Cleanup(s.Kill)
	return s
}

// Args adds arguments for the next Start.
func (s *Server) Args(args ...string) { s.args = append(s.args, args...) }

// Start starts a server.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := New(t, args...)
	s.Start(t)
	return s
}

// Start starts the server, empty, and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	args := append([]string{
		"--port", s.Port, "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no",
	}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("redis-server: %v; .ci/test installs it", err)
	}
	wait.Until(t, "redis-server answers", func() bool { return strings.Contains(s.log.String(), "Ready to accept connections") })
}

// Kill ends the server at once; what it held is lost.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
	s.log = output{}
}

// Hang keeps the server from answering until Resume.
func (s *Server) Hang(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Resume lets the server answer again.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// Do runs a command with redis-cli and returns its answer.
func (s *Server) Do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-p", s.Port}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Dump returns all that the server holds, keys and values, as one text.
func (s *Server) Dump(t testing.TB) string {
	t.Helper()
	s.Do(t, "SAVE")
	file, err := os.ReadFile(filepath.Join(s.dir, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

// Cluster starts a Cluster of three primaries, and a replica of the first, and
// returns them in this order.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	nodes := make([]*Server, 4)
	for i := range nodes {
		nodes[i] = Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
			"--cluster-replica-validity-factor", "0", "--cluster-port", freePort(t))
	}
	parts := []string{"0 5460", "5461 10922", "10923 16383"}
	for i, part := range parts {
		nodes[i].Do(t, append([]string{"CLUSTER", "ADDSLOTSRANGE"}, strings.Fields(part)...)...)
		nodes[i].Do(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, node := range nodes[1:] {
		node.Do(t, "CLUSTER", "MEET", "127.0.0.1", nodes[0].Port, nodes[0].busPort())
	}
	all := func(text string, least int) func() bool {
		return func() bool {
			for _, node := range nodes {
				if strings.Count(node.Do(t, "CLUSTER", "NODES"), text) < least {
					return false
				}
			}
			return true
		}
	}
	wait.Until(t, "the nodes have met", all(" connected", len(nodes)))
	first := nodes[0].Do(t, "CLUSTER", "MYID")
	nodes[3].Do(t, "CLUSTER", "REPLICATE", first)
	wait.Until(t, "the replica is known", all("slave "+first, 1))
	wait.Until(t, "the cluster is up", func() bool {
		for _, node := range nodes {
			if !strings.Contains(node.Do(t, "CLUSTER", "INFO"), "cluster_state:ok") {
				return false
			}
		}
		return strings.Contains(nodes[3].Do(t, "INFO", "replication"), "master_link_status:up")
	})
	return nodes
}

func (s *Server) busPort() string {
	for i, arg := range s.args {
		if arg == "--cluster-port" {
			return s.args[i+1]
		}
	}
	return "0"
}

func freePort(t testing.TB) string {
	t.Helper()
	addr, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	_, number, _ := net.SplitHostPort(addr)
	return number
}
