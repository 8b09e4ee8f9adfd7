package dqe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// maxSkew is how far the clocks of DQE and of this machine may be apart.
const maxSkew = time.Minute

// subjects are what the error ids of a call for a token are about.
var subjects = map[string]string{
	"02": "licence", "03": "client_secret", "04": "scope", "22": "licence and client_secret", "31": "grant type", "98": "credits",
}

// Check implements verifier.Checker. It asks for a token, which is not billed, and does
// not use it. Where tokens come from elsewhere it looks at the way to DQE alone.
func (c *client) Check(ctx context.Context) []verifier.Finding {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	path, params := pathToken, c.forToken()
	if c.token != nil {
		path, params = "/", nil
	}
	r, err := c.roundTrip(ctx, path, params)
	if err != nil {
		return verifier.Reached(c.server, err)
	}
	found := verifier.Reached(c.server, nil)
	if c.token != nil {
		found = append(found, c.checkStaticToken())
	} else {
		found = append(found, c.checkToken(r)...)
	}
	return append(found, checkClock(r.date, time.Now())...)
}

func (c *client) checkStaticToken() verifier.Finding {
	if value, err := c.token(); err != nil || value == "" {
		return verifier.Finding{Subject: "token", Text: "the option token yields nothing", Remedy: "check its placeholder"}
	}
	return verifier.Finding{Subject: "token", Grade: verifier.Noted,
		Text: "there is one from elsewhere; licence, name and credits are not looked at, since that would use it up"}
}

// checkToken reads the answer to the call for a token.
func (c *client) checkToken(r *response) []verifier.Finding {
	a, err := c.read(callToken, c.forToken(), r)
	told, isTold := errors.AsType[*verifier.Error](err)
	switch {
	case err == nil && a.isToken():
		return []verifier.Finding{
			{Subject: "token", Grade: verifier.Right, Text: "DQE issues one, so licence and client_secret are right"},
			{Subject: "credits", Grade: verifier.Right, Text: "DQE says nothing against them"},
			{Subject: "name", Grade: verifier.Noted, Text: "only a start shows whether DQE knows it",
				Remedy: "verify a number of yours, or run caddy number-verify trace"},
		}
	case isTold && told.ID != "":
		return []verifier.Finding{{
			Subject: cmp.Or(subjects[told.ID], "token"), Text: "DQE refuses, with error id " + told.ID,
			Remedy: cmp.Or(told.Hint, "ask DQE what error id "+told.ID+" means for a call for a token"),
		}}
	case r.status == http.StatusBadRequest:
		return []verifier.Finding{{Subject: "licence and client_secret", Text: "DQE refuses them, with HTTP status 400", Remedy: "check both as DQE gave them to you"}}
	case isTold && told.Hint != "":
		return []verifier.Finding{{Subject: "token", Text: fmt.Sprintf("there is none: HTTP status %d", r.status), Remedy: told.Hint}}
	default:
		return []verifier.Finding{notDQE(r.status)}
	}
}

// notDQE is the finding of an answer that DQE would not give.
func notDQE(status int) verifier.Finding {
	f := verifier.Finding{Subject: "DQE", Text: "something answers, but not as DQE does: HTTP status " + strconv.Itoa(status),
		Remedy: "check server: it is another web server, or a proxy in between answers in its place"}
	switch {
	case status == http.StatusProxyAuthRequired:
		f.Remedy = "a proxy in between wants a password: let this machine reach DQE without it"
	case status >= 300 && status <= 399:
		f.Remedy = "check server: what answers there sends callers elsewhere, as a web site or a proxy does"
	}
	return f
}

// checkClock compares this machine's clock with the date of an answer, if there is one.
func checkClock(date string, now time.Time) []verifier.Finding {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return nil
	}
	skew, direction := now.Sub(theirs).Round(time.Second), "ahead of"
	if skew < 0 {
		skew, direction = -skew, "behind"
	}
	if skew <= maxSkew {
		return []verifier.Finding{{Subject: "clock", Grade: verifier.Right, Text: "it agrees with DQE's to a minute"}}
	}
	return []verifier.Finding{{Subject: "clock", Text: "this machine's is " + skew.String() + " " + direction + " DQE's",
		Remedy: "set it, and keep it right with NTP"}}
}
