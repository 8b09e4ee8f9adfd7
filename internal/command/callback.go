package command

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/remote"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// answerTime is how long the site may take to answer.
	answerTime = 10 * time.Second
	// maxStatus bounds what is read of the answer, in bytes.
	maxStatus = 64 << 10
)

// checkOrigins checks the addresses that visitors come back to.
func checkOrigins(ctx context.Context, g *Gate) []verifier.Finding {
	if len(g.Origins) == 0 {
		return []verifier.Finding{{Subject: "public_url", Grade: verifier.Noted, Text: "there is none: this gate is on loopback, only for trying"}}
	}
	var found []verifier.Finding
	for _, origin := range g.Origins {
		u, err := address.ParseOrigin(origin)
		if err != nil {
			continue // such a configuration does not load
		}
		switch {
		case address.IsLoopback(u.Hostname()):
			found = append(found, verifier.Finding{Subject: origin, Grade: verifier.Noted, Text: "is on loopback: only for trying, since no phone gets there"})
		case u.Scheme != "https":
			found = append(found, verifier.Finding{Subject: origin, Text: "is not https, so that numbers and cookies travel in the open",
				Remedy: "write https:// in public_url; Caddy gets the certificate"})
		}
		found = append(found, checkCallback(ctx, origin, u, g.Path))
	}
	return found
}

// checkCallback asks the gate at origin for the status of a visitor, as a browser could.
// The callback is at the same place.
func checkCallback(ctx context.Context, origin string, u *url.URL, path string) verifier.Finding {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, isGate, err := askGate(ctx, u.Scheme+"://"+u.Host+path+"/status")
	f := verifier.Finding{Subject: origin, Grade: verifier.Right, Text: "visitors come back to this gate"}
	switch {
	case err != nil:
		d := remote.Diagnose(err)
		f.Grade, f.Text, f.Remedy = verifier.Wrong, "cannot be reached from here ("+d.Layer.String()+"): "+d.Text, d.Remedy+"; or Caddy does not run"
	case !isGate:
		f.Grade, f.Text = verifier.Wrong, "something answers there, but not this gate: HTTP status "+strconv.Itoa(status)
		f.Remedy = "see whether the name leads to this Caddy, whether it runs with this configuration, and whether a proxy or another route answers " + path
	}
	return f
}

// askGate tells whether what answers at an address is the status of a gate.
func askGate(ctx context.Context, statusURL string) (status int, isGate bool, err error) {
	client := http.Client{
		Transport:     remote.NewTransport(answerTime, maxStatus, nil),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, statusURL, nil)
	if err != nil {
		return 0, false, err
	}
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return 0, false, err
	}
	var told struct {
		Verified *bool `json:"verified"`
	}
	isGate = resp.StatusCode == http.StatusOK && json.Unmarshal(body, &told) == nil && told.Verified != nil
	return resp.StatusCode, isGate, nil
}
