package stage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// Binary is the absolute path of the Caddy that processes run. If it is "", the test
// binary itself is that Caddy, and its TestMain must call Main.
var Binary string

// isCaddy is the environment variable that makes a test binary run as Caddy.
const isCaddy = "STAGE_IS_CADDY"

// Main must be the first call in TestMain. If the process was started as a Caddy, Main
// runs Caddy with the process's command line, and does not return.
func Main() {
	if os.Getenv(isCaddy) != "" {
		caddycmd.Main()
		os.Exit(0)
	}
}

// Process is a Caddy in a process of its own, which ends with the test.
type Process struct {
	t testing.TB
	// file is its Caddyfile, serves tells whether it answers.
	file   string
	serves func() bool
	cmd    *exec.Cmd
	ended  chan error
}

// newProcess prepares a Caddy with an expanded Caddyfile, and does not start it.
func newProcess(t testing.TB, caddyfile string, serves func() bool) *Process {
	t.Helper()
	p := &Process{t: t, file: filepath.Join(t.TempDir(), "Caddyfile"), serves: serves}
	if err := os.WriteFile(p.file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// RunWith starts a Caddy in a process of its own with sites, which are expanded, and
// more global options. It returns once serves returns true.
func (s *Stage) RunWith(global, sites string, serves func() bool) *Process {
	s.T.Helper()
	p := newProcess(s.T, s.caddyfile("off", s.LogFile, global, sites), serves)
	p.Start()
	return p
}

// Command returns a command of Caddy, to be run in a process of its own.
func Command(args ...string) *exec.Cmd {
	binary := Binary
	if binary == "" {
		binary = os.Args[0]
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), isCaddy+"=1")
	return cmd
}

// Start starts Caddy and waits until it serves.
func (p *Process) Start() {
	p.t.Helper()
	if err := p.start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Process) start() error {
	p.cmd = Command("run", "--config", p.file, "--adapter", "caddyfile")
	var out bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &out, &out
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	p.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(p.cmd, p.ended)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < time.Minute; {
		select {
		case err := <-p.ended:
			p.cmd = nil
			return fmt.Errorf("the process of Caddy ended: %w\n%s", err, &out)
		case <-tick.C:
		}
		if p.serves() {
			return nil
		}
	}
	return errors.New("the process of Caddy does not serve")
}

// Kill ends Caddy at once.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	p.cmd = nil
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }
