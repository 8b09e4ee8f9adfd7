package acceptance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// roomy is a site whose limits let many visitors of one number in.
const roomy = `
http://:NODE {
	bind 127.0.0.1
	number_verify /account* {
		public_url http://SITE
		result_wait 20s
		limits {
			number 1000 1h 1000
			client 1000 1h
		}
		VERIFIER
		CACHE
	}
	reverse_proxy UPSTREAM
}
`

// onEveryCache runs a test on a site with each cache, one of them on two nodes.
func onEveryCache(t *testing.T, site string, test func(*testing.T, *stage.Fleet)) {
	t.Helper()
	for name, c := range map[string]struct {
		nodes int
		cache func() string
	}{
		"memory":              {1, func() string { return "cache memory" }},
		"bolt":                {1, func() string { return "cache bolt " + filepath.Join(t.TempDir(), "number-verify.db") }},
		"redis and two nodes": {2, func() string { return patientRedis(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, stage.NewFleet(t, simulator.Options{}, c.nodes, site, c.cache()))
		})
	}
}

// found are the sessions that an administrator finds for a number.
func found(n *stage.Node, number string) (sessions []map[string]string) {
	a := n.Admin(http.MethodPost, "/number-verify/find", `{"number":"`+number+`"}`)
	var body struct {
		Number   string
		Sessions []map[string]string
	}
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil || a.StatusCode != http.StatusOK {
		return []map[string]string{{"answer": a.Body}}
	}
	return body.Sessions
}

// revoke revokes on a node.
func revoke(t *testing.T, n *stage.Node, body, want string) {
	t.Helper()
	a := n.Admin(http.MethodPost, "/number-verify/revoke", body)
	if a.StatusCode != http.StatusOK || strings.TrimSpace(a.Body) != want {
		t.Errorf("revoking %s: %d %s", body, a.StatusCode, a.Body)
	}
}

// knows waits until a node, the one that the balancer uses, knows that a visitor's
// session has ended. It must take no longer than a second.
func knows(v *stage.Visitor) {
	v.T.Helper()
	began := time.Now()
	wait.Until(v.T, "the node knows", func() bool { return v.Open("/account/").StatusCode != http.StatusOK })
	if took := time.Since(began); took > time.Second {
		v.T.Errorf("the node knew after %v", took)
	}
}

func TestAdministratorEndsSessionsOfANumberASessionARealmAndAll(t *testing.T) {
	onEveryCache(t, roomy, func(t *testing.T, f *stage.Fleet) {
		last := len(f.Nodes) - 1
		enter := func(number string) *stage.Visitor {
			v := f.Visitor()
			if a := v.Verify("/account/", number); a.StatusCode != http.StatusOK {
				t.Fatalf("verifying: %d %s", a.StatusCode, a.Code())
			}
			return v
		}
		refusedEverywhere := func(name string, v *stage.Visitor) {
			t.Helper()
			for node := range f.Nodes {
				f.On(node)
				knows(v)
				if a := v.Refused("/account/"); a.StatusCode != http.StatusSeeOther {
					t.Errorf("%s on node %d: %d", name, node, a.StatusCode)
				}
			}
		}
		passesEverywhere := func(v *stage.Visitor) {
			t.Helper()
			for node := range f.Nodes {
				f.On(node)
				// a node that does not know of the revocation yet does not know the
				// verification after it either
				wait.Until(t, "the node knows", func() bool { return v.Open("/account/").StatusCode == http.StatusOK })
				v.Passes("/account/")
			}
		}
		first := enter("06 39 98 00 01")
		own := found(f.Nodes[last], "+33639980001")
		second, other := enter("06 39 98 00 01"), enter("06 39 98 00 21")
		for _, v := range []*stage.Visitor{first, second, other} {
			passesEverywhere(v)
		}
		held := found(f.Nodes[last], "+33 6 39 98 00 01")
		if len(own) != 1 || len(held) != 2 || held[0]["realm"] != "127.0.0.1" || held[0]["method"] != "silent" || held[0]["operator"] != "SFR" || held[0]["verified_at"] == "" || held[0]["expires_at"] <= held[0]["verified_at"] {
			t.Fatalf("found: %v, %v", own, held)
		}
		var status struct{ Sessions, Attempts int }
		if a := f.Nodes[0].Admin(http.MethodGet, "/number-verify/", ""); json.Unmarshal([]byte(a.Body), &status) != nil || status.Sessions != 3 {
			t.Errorf("status: %d %s", a.StatusCode, a.Body)
		}

		revoke(t, f.Nodes[last], `{"session":"`+own[0]["session"]+`"}`, `{"sessions":1}`)
		refusedEverywhere("the session that was revoked", first)
		passesEverywhere(second)

		revoke(t, f.Nodes[last], `{"number":"+33639980001"}`, `{"sessions":1}`)
		refusedEverywhere("the number that was revoked", second)
		passesEverywhere(other)
		if left := found(f.Nodes[0], "+33639980001"); len(left) != 0 {
			t.Errorf("after the revocation there is %v", left)
		}

		// who was sent away verifies again
		for _, body := range []string{`{"realm":"127.0.0.1"}`, `{"all":true}`} {
			second = enter("06 39 98 00 01")
			passesEverywhere(second)
			revoke(t, f.Nodes[last], body, `{}`)
			refusedEverywhere(body, second)
			refusedEverywhere(body, other)
			if left := found(f.Nodes[0], "+33639980001"); len(left) != 0 {
				t.Errorf("after %s there is %v", body, left)
			}
			wait.Until(t, "they are erased", func() bool {
				a := f.Nodes[0].Admin(http.MethodGet, "/number-verify/", "")
				return strings.HasPrefix(a.Body, `{"sessions":0,`)
			})
		}
		passesEverywhere(enter("06 39 98 00 01"))
	})
}

// Fifty visitors come back from their operators while their number is revoked. All of
// them were on their way before.
func TestRevocationOfANumberLeavesNoneOfItsFiftyVerificationsUnderWay(t *testing.T) {
	onEveryCache(t, roomy, func(t *testing.T, f *stage.Fleet) {
		visitors := make([]*stage.Visitor, 50)
		callbacks := make([]string, len(visitors))
		for i := range visitors {
			f.OnNext()
			visitors[i] = f.Visitor()
			callbacks[i] = visitors[i].Callback(fmt.Sprint("/account/", i), stage.TypedNumber)
		}
		var under sync.WaitGroup
		for i, v := range visitors {
			under.Go(func() { v.ArriveFrom(callbacks[i]) })
		}
		a := f.Nodes[0].Admin(http.MethodPost, "/number-verify/revoke", `{"number":"+33639980001"}`)
		if a.StatusCode != http.StatusOK {
			t.Errorf("revoking: %d %s", a.StatusCode, a.Body)
		}
		t.Logf("while they came back: %s", a.Body)
		under.Wait()
		for i, v := range visitors {
			f.OnNext()
			knows(v)
			v.Refused(fmt.Sprint("/account/", i))
			v.Refused(fmt.Sprint("/account/", i)) // also after the form, which may give a session again
			v.Open("/.number-verify/")
			v.Refused(fmt.Sprint("/account/", i))
		}
	})
}

func TestAdministratorIsToldWhatIsWrongWithARequest(t *testing.T) {
	f := stage.NewFleet(t, simulator.Options{}, 1, roomy, "cache memory")
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "", `{"number":"+33639980001"}`, 405, `send GET`},
		{"GET", "find", "", 405, "send POST"},
		{"DELETE", "revoke", "", 405, "send POST"},
		{"GET", "elsewhere", "", 404, "find, revoke and explain"},
		{"POST", "find", "{", 400, "not understood"},
		{"POST", "revoke", `{"all":true}}`, 400, "not understood"},
		{"POST", "find", `{"number":"+33639980001"} {}`, 400, "not understood"},
		{"POST", "find", `{"phone":"+33639980001"}`, 400, "not understood"},
		{"POST", "find", `{}`, 422, "country code"},
		{"POST", "find", `{"number":"06 39 98 00 01"}`, 422, "country code"},
		{"POST", "find", `{"number":"+33639980001","all":true}`, 400, "nothing else"},
		{"POST", "revoke", `{}`, 400, "name what to revoke"},
		{"POST", "revoke", `{"all":false}`, 400, "name what to revoke"},
		{"POST", "revoke", `{"number":"+33639980001","session":"a1b2c3d4e5f6"}`, 400, "one thing"},
		{"POST", "revoke", `{"number":"nobody"}`, 422, "country code"},
		{"POST", "revoke", `{"session":"+33639980001"}`, 400, "public id"},
		{"POST", "revoke", `{"session":"A1B2C3D4E5F6"}`, 400, "public id"},
		{"POST", "revoke", `{"realm":"www.example.net"}`, 404, "127.0.0.1"},
		{"POST", "revoke", `{"number":"` + strings.Repeat("0", 5000) + `"}`, 413, "too large"},
	} {
		a := f.Nodes[0].Admin(c.method, "/number-verify/"+c.path, c.body)
		if a.StatusCode != c.status || !strings.Contains(a.Body, c.want) || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s %.60s: %d %s %s", c.method, c.path, c.body, a.StatusCode, a.Header.Get("Content-Type"), a.Body)
		}
		if allow := a.Header.Get("Allow"); (c.status == 405) != (allow != "") {
			t.Errorf("%s %s: Allow %q", c.method, c.path, allow)
		}
	}
	for _, body := range []string{`{"session":"a1b2c3d4e5f6"}`, `{"number":"+33639980099"}`} {
		if a := f.Nodes[0].Admin("POST", "/number-verify/revoke", body); a.StatusCode != 200 || strings.TrimSpace(a.Body) != `{"sessions":0}` {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.Body)
		}
	}
}
