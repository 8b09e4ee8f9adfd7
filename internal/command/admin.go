package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// The addresses of the admin API.
const (
	pathStatus  = "/number-verify/"
	pathFind    = "/number-verify/find"
	pathRevoke  = "/number-verify/revoke"
	pathExplain = "/number-verify/explain"
)

// maxAnswer bounds an answer of the admin API, in bytes.
const maxAnswer = 64 << 20

var errAnswer = errors.New("the admin API did not answer as it does in this version: is the running Caddy of another version than this command?")

// ask sends a request to the admin API that the command's flags name, and reads its
// answer into into. It returns the answer too, as it came. A body of nil makes it a GET.
func ask(cmd *cobra.Command, path string, body, into any) (answer []byte, err error) {
	address, err := flags{cmd.Flags()}.adminAddress()
	if err != nil {
		return nil, err
	}
	method, content := http.MethodGet, io.Reader(nil)
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		method, content = http.MethodPost, bytes.NewReader(encoded)
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, path, http.Header{"Accept": {"application/json"}}, content)
	if err != nil {
		return nil, readError(address, err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the answer of the admin API was cut off: %w", err)
	}
	if json.Unmarshal(answer, into) != nil {
		return nil, errAnswer
	}
	return answer, nil
}

// problem is an error of the admin API (RFC 9457), or of Caddy's own part of it.
type problem struct {
	Title, Detail string
	Caddy         string `json:"error"`
	status        int
}

// isNotFound tells whether the API has nothing of what was asked for. Without a title it
// is Caddy that has no such API.
func (p *problem) isNotFound() bool { return p.status == http.StatusNotFound && p.Title != "" }

// Error implements error.
func (p *problem) Error() string {
	text := printable(cmp.Or(p.Detail, p.Title, p.Caddy))
	switch {
	case text != "":
		return text
	case p.status == http.StatusNotFound:
		return "the running Caddy has no admin API of number_verify: it was built without the module, or with an older version"
	default:
		return fmt.Sprintf("the admin API refuses, with HTTP status %d", p.status)
	}
}

// readError makes a sentence of an error of caddycmd.AdminAPIRequest. That gives an
// answer of Caddy only as part of its text.
func readError(address string, err error) error {
	answer, isAnswer := strings.CutPrefix(err.Error(), "caddy responded with error: HTTP ")
	if !isAnswer {
		return fmt.Errorf("no Caddy answers at the admin address %s: start it, or name its address with --address or --config (%w)", address, err)
	}
	status, body, _ := strings.Cut(answer, ": ")
	p := new(problem)
	_ = json.Unmarshal([]byte(body), p) // any other text is not repeated
	p.status, _ = strconv.Atoi(status)
	return p
}
