package simulator

import (
	"regexp"
	"strconv"
	"strings"
)

// fictional begins the numbers that the French regulator keeps for fiction,
// 06 39 98 00 00 to 06 39 98 99 99.
const fictional = "063998"

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
	"0639980001": {},              // verified
	"0639980002": mismatch,        // the SIM has another number
	"0639980003": {result: "21"},  // access denied
	"0639980004": {slow: true},    // pending for some seconds, then verified
	"0639980005": {start: "09"},   // number not eligible
	"0639980006": {start: "16"},   // operator unreachable
	"0639980007": {start: "15"},   // operator not supported yet
	"0639980008": {result: "18"},  // no data from the operator, as on Wi-Fi
	"0639980009": {stuck: true},   // pending for ever
	"0639980010": {stays: true},   // the operator never sends the visitor back
	"0639980011": {differs: true}, // numVerify is false
	"0639980012": {result: "99"},  // internal server error
	"0639980013": {result: "30"},  // token expired
	"0639980014": {start: "98"},   // credits exhausted
}

// outcomeOf returns what happens to a number in its national format: any other
// fictional number is verified, any other number does not exist.
func outcomeOf(national string) outcome {
	if !strings.HasPrefix(national, fictional) {
		return outcome{start: "10"}
	}
	return outcomes[national]
}

// status is what the operator's redirect says. It proves nothing.
func (o outcome) status() string {
	if o.result != "" {
		return "error"
	}
	return "success"
}

var operators = []string{"Orange", "SFR", "Bouygues Telecom", "Free"}

// operatorOf gives each number in its national format an operator, always the
// same one.
func operatorOf(national string) string {
	n, err := strconv.Atoi(national)
	if err != nil {
		return operators[0]
	}
	return operators[n%len(operators)]
}

var (
	// dialable is what any number looks like, in whichever format.
	dialable = regexp.MustCompile(`^\+?[0-9]{5,17}$`)
	// french captures the significant digits of a French number in any of the
	// formats 0639980001, +33639980001, 33639980001 and 0033639980001.
	french = regexp.MustCompile(`^(?:0|\+33|33|0033)([1-9][0-9]{8})$`)
)

// national returns a French number in its national format, or "".
func national(number string) string {
	m := french.FindStringSubmatch(number)
	if m == nil {
		return ""
	}
	return "0" + m[1]
}
