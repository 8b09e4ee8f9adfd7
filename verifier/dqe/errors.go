package dqe

import "github.com/numberverify/caddy-number-verify/verifier"

// meaning is the class of one of DQE's error ids, and what the site's operator can
// do about it. Source: DQE's pages on the responses of IDMOBILE.
type meaning struct {
	class verifier.Class
	hint  string
}

var meanings = map[string]meaning{
	"01": {verifier.Misconfigured, "DQE calls the request invalid: check server and method"},
	"02": {verifier.Misconfigured, "DQE does not know the licence: check licence"},
	"03": {verifier.Misconfigured, "DQE refuses the client secret: check client_secret"},
	"04": {verifier.Misconfigured, "DQE refuses the scope: ask DQE to enable numVerify for this licence"},
	"05": {verifier.Misconfigured, "DQE misses user_infos: check with DQE that the server speaks number verification"},
	"06": {verifier.Misconfigured, "DQE cannot read user_infos: check with DQE that the server speaks number verification"},
	"07": {verifier.Misconfigured, "DQE misses the phone number: check number_format"},
	"09": {verifier.NumberUnsupported, ""},
	"10": {verifier.NumberInvalid, ""},
	"11": {verifier.NumberInvalid, ""},
	"12": {verifier.OperatorUnavailable, ""},
	"13": {verifier.NumberUnsupported, ""},
	"14": {verifier.NumberUnsupported, "this operator is not authorised for the licence: ask DQE to add it"},
	"15": {verifier.NumberUnsupported, ""},
	"16": {verifier.OperatorUnavailable, ""},
	"17": {verifier.NumberUnsupported, ""},
	"18": {verifier.OperatorUnavailable, ""},
	"20": {verifier.Mismatch, ""},
	"21": {verifier.Denied, ""},
	"22": {verifier.Misconfigured, "DQE does not accept this client: check licence and client_secret"},
	"30": {verifier.Expired, ""},
	"31": {verifier.Misconfigured, "DQE does not support the grant type: check with DQE that the server issues tokens for client_idmobile"},
	"98": {verifier.Misconfigured, "the credits at DQE are exhausted: buy more, nobody can be verified until then"},
	"99": {verifier.ProviderUnavailable, ""},
}

// classify returns the error for an id. An unknown id is a failure of the provider.
func classify(call, id, operator string) *verifier.Error {
	m := meanings[id] // the zero value is ProviderUnavailable
	return &verifier.Error{Class: m.class, Call: call, ID: id, Operator: operator, Hint: m.hint}
}
