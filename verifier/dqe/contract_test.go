package dqe

import (
	"net/url"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/verifier"
	"github.com/numberverify/caddy-number-verify/verifier/verifiertest"
)

func TestContract(t *testing.T) {
	for name, change := range map[string]func(*settings){
		"by default":             func(*settings) {},
		"by GET":                 func(s *settings) { s.get = true },
		"callback_token require": func(s *settings) { s.callbackToken = callbackRequire },
		"callback_token ignore":  func(s *settings) { s.callbackToken = callbackIgnore },
		"operator_hosts":         func(s *settings) { s.operatorHosts = []string{"127.0.0.1"} },
	} {
		t.Run(name, func(t *testing.T) {
			verifiertest.Run(t, func(t *testing.T) verifiertest.Subject {
				sim := simulator.New(simulator.Options{})
				server := verifiertest.NewServer(t, sim)
				u, err := url.Parse(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				s := settings{
					server: u, licence: simulator.DefaultLicence, name: simulator.DefaultName, clientSecret: simulator.DefaultClientSecret,
					numberFormat: phone.National, timeout: 10 * time.Second, callbackToken: callbackLog,
				}
				change(&s)
				t.Cleanup(func() {
					for _, violation := range sim.Violations() {
						t.Error(violation)
					}
				})
				return verifiertest.Subject{
					New: func() verifier.Verifier { return newClient(s, zap.NewNop()) },
					Far: server, Secrets: []string{simulator.DefaultLicence},
					Numbers: verifiertest.Numbers{
						Verified: "+33639980001", Mismatch: "+33639980002", Pending: "+33639980009", Unsupported: "+33639980005", Denied: "+33639980003",
						Foreign: []string{"+590639980001", "+262639980001", "0639980001", "+33"},
					},
				}
			})
		})
	}
}
