package simulator

import (
	"slices"
	"strconv"
	"strings"
)

// fictional is the beginning, in E.164, of the numbers that the French regulator
// keeps for fiction: 06 39 98 00 00 to 06 39 98 99 99.
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

// Number is a fictional number to try, and its outcome.
type Number struct {
	// National is the number as it is written in France.
	National string
	// English and French describe the outcome in a few words.
	English, French string

	outcome outcome
}

// numbers are the numbers to try, each with another outcome.
//
// DQE reports exhausted credits (98) at the token call. That call carries no
// number, so here the start call answers 98; see also Simulator.SetCredits.
//
// Number 10 is verified although its visitor never comes back. A gate that asked
// for the result without a callback would let them in, and tests would notice.
var numbers = []Number{
	{"06 39 98 00 01", "verified", "vérifié", outcome{}},
	{"06 39 98 00 02", "the SIM card has another number", "la carte SIM a un autre numéro", mismatch},
	{"06 39 98 00 03", "the operator declines", "l’opérateur refuse", outcome{result: "21"}},
	{"06 39 98 00 04", "pending for some seconds, then verified", "en attente quelques secondes, puis vérifié", outcome{slow: true}},
	{"06 39 98 00 05", "a number that cannot be verified", "un numéro qui ne peut pas être vérifié", outcome{start: "09"}},
	{"06 39 98 00 06", "the operator cannot be reached", "l’opérateur est injoignable", outcome{start: "16"}},
	{"06 39 98 00 07", "an operator that is not supported", "un opérateur qui n’est pas pris en charge", outcome{start: "15"}},
	{"06 39 98 00 08", "no data from the operator, as on Wi-Fi", "pas de données de l’opérateur, comme en Wi-Fi", outcome{result: "18"}},
	{"06 39 98 00 09", "pending for ever", "en attente sans fin", outcome{stuck: true}},
	{"06 39 98 00 10", "the operator never sends the visitor back", "l’opérateur ne renvoie jamais le visiteur", outcome{stays: true}},
	{"06 39 98 00 11", "not verified", "non vérifié", outcome{differs: true}},
	{"06 39 98 00 12", "the provider fails", "le prestataire est en panne", outcome{result: "99"}},
	{"06 39 98 00 13", "the attempt expires at the provider", "la demande expire chez le prestataire", outcome{result: "30"}},
	{"06 39 98 00 14", "the provider’s credits are exhausted", "les crédits chez le prestataire sont épuisés", outcome{start: "98"}},
}

// Numbers returns the numbers to try, each with another outcome. Any other
// fictional number is verified.
func Numbers() []Number { return slices.Clone(numbers) }

// outcomes are the outcomes of numbers, by number in E.164.
var outcomes = func() map[string]outcome {
	byNumber := make(map[string]outcome, len(numbers))
	for _, n := range numbers {
		byNumber[subscriber(strings.ReplaceAll(n.National, " ", ""))] = n.outcome
	}
	return byNumber
}()

// outcomeOf returns what happens to a number in E.164: any other fictional number
// is verified, any other number does not exist.
func outcomeOf(e164 string) outcome {
	if !strings.HasPrefix(e164, fictional) || len(e164) != len("+33639980000") {
		return outcome{start: "10"}
	}
	return outcomes[e164]
}

// status returns the parameter status of the operator's redirect. It proves nothing.
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
