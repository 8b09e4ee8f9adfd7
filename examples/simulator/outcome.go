package simulator

import (
	"strconv"
	"strings"
)

// fictional begins the numbers that the French regulator keeps for fiction,
// 06 39 98 00 00 to 06 39 98 99 99, in E.164.
const fictional = "+3363998"

// outcome is what happens to an attempt. The zero value is a verified number.
type outcome struct {
	start   string // the error id that the start call answers
	result  string // the error id that the result call answers
	slow    bool   // the result is pending for Options.PendingFor
	stuck   bool   // the result is pending for ever
	differs bool   // numVerify is false
	stays   bool   // the operator never sends the visitor back
}

// mismatch is the outcome for a SIM with another number.
var mismatch = outcome{result: "20"}

// outcomes are those of the numbers that are not simply verified.
//
// DQE reports exhausted credits (98) at the token call. That call carries no
// number, so here the start call answers 98; see also Simulator.SetCredits.
//
// Number 10 is verified although its visitor never comes back: whoever asks for
// a result without a callback would let somebody in, and tests can tell.
var outcomes = map[string]outcome{
	"+33639980001": {},              // verified
	"+33639980002": mismatch,        // the SIM has another number
	"+33639980003": {result: "21"},  // access denied
	"+33639980004": {slow: true},    // pending for some seconds, then verified
	"+33639980005": {start: "09"},   // number not eligible
	"+33639980006": {start: "16"},   // operator unreachable
	"+33639980007": {start: "15"},   // operator not supported yet
	"+33639980008": {result: "18"},  // no data from the operator, as on Wi-Fi
	"+33639980009": {stuck: true},   // pending for ever
	"+33639980010": {stays: true},   // the operator never sends the visitor back
	"+33639980011": {differs: true}, // numVerify is false
	"+33639980012": {result: "99"},  // internal server error
	"+33639980013": {result: "30"},  // token expired
	"+33639980014": {start: "98"},   // credits exhausted
}

// outcomeOf returns what happens to a number in E.164: any other fictional number
// is verified, any other number does not exist.
func outcomeOf(e164 string) outcome {
	if !strings.HasPrefix(e164, fictional) || len(e164) != len("+33639980000") {
		return outcome{start: "10"}
	}
	return outcomes[e164]
}

// status is what the operator's redirect says. It proves nothing.
func (o outcome) status() string {
	if o.result != "" {
		return "error"
	}
	return "success"
}

var operators = []string{"Orange", "SFR", "Bouygues Telecom", "Free"}

// operatorOf gives each number in E.164 an operator, always the same one.
func operatorOf(e164 string) string {
	n, err := strconv.Atoi(e164)
	if err != nil {
		return operators[0]
	}
	return operators[n%len(operators)]
}
