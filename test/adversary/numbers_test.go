package adversary

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// claim is a number that the one SIM of the test is claimed to have.
type claim struct {
	vector
	number string
	// ends is what becomes of it.
	ends ending
}

type ending string

const (
	isTheSIM ending = "the visitor is verified"
	isNobody ending = "it is refused before anybody is called"
	isNotHis ending = "the provider says no"
)

// The kinds of mistakes that claims imitate.
const (
	dropsCode  = "a number that is sent without its calling code: whoever has one of them is verified as all"
	otherPlace = "a national number that one side reads in another country than the other"
	otherForm  = "one number in a spelling that one side reads as another"
)

// sim is the number of the SIM in every visitor's phone.
const sim = stage.VisitorsNumber

// withMorocco are the countries of the French plan, and one beside it whose mobile
// numbers look the same.
const withMorocco = "countries FR GP GF MQ RE YT BL MF PM MA"

// expected is what becomes of the SIM's own number, typed as at home or with its
// calling code, and of real numbers that are not its own.
type expected struct{ typed, whole, saintPierre, morocco ending }

func claims(site string, want expected) []claim {
	all := []claim{
		{vector{"as a number of Guadeloupe", dropsCode}, "+590639980001", isNobody},
		{vector{"as a number of French Guiana", dropsCode}, "+594639980001", isNobody},
		{vector{"as a number of Martinique", dropsCode}, "+596639980001", isNobody},
		{vector{"as a number of Réunion", dropsCode}, "+262639980001", isNobody},
		{vector{"as a number of Saint-Pierre-et-Miquelon", dropsCode}, "+508639980001", isNobody},
		{vector{"as a number of Morocco", dropsCode}, "+212639980001", want.morocco},
		{vector{"as a number of Belgium", dropsCode}, "+32639980001", isNobody},
		{vector{"as a number of New Caledonia", dropsCode}, "+687639980001", isNobody},
		{vector{"as a number of Monaco", dropsCode}, "+377639980001", isNobody},
		{vector{"Guadeloupe by 00", otherForm}, "00590639980001", isNobody},
		{vector{"Guadeloupe by nothing", otherForm}, "590639980001", isNobody},
		{vector{"Réunion, blanks", otherForm}, "+262 6 39 98 00 01", isNobody},
		{vector{"Réunion by 00, dots", otherForm}, "00.262.6.39.98.00.01", isNobody},
		{vector{"Martinique with a zero", otherForm}, "+596 (0)639980001", isNobody},
		{vector{"Saint-Pierre-et-Miquelon within the plan", otherPlace}, "0508639980", want.saintPierre},
		{vector{"its own, as typed at home", otherPlace}, "06 39 98 00 01", want.typed},
		{vector{"its own, without a zero", otherForm}, "639980001", want.typed},
		{vector{"its own, by +33", otherForm}, "+33639980001", want.whole},
		{vector{"its own, by 0033", otherForm}, "0033639980001", want.whole},
		{vector{"its own, by 33", otherForm}, "33639980001", want.whole},
		{vector{"its own, with a zero", otherForm}, "+33 (0)6 39 98 00 01", want.whole},
	}
	for i := range all {
		all[i].name = site + ": " + all[i].name
	}
	return all
}

// TestOneSIMIsNeverVerifiedAsAnotherNumber has phones with one SIM only. The
// provider reads by himself what he is sent, so that what he understands may
// differ from what was typed.
func TestOneSIMIsNeverVerifiedAsAnotherNumber(t *testing.T) {
	for _, place := range []struct {
		name, options, format string
		want                  expected
	}{
		{"national", "", "national", expected{isTheSIM, isTheSIM, isNotHis, isNobody}},
		{"national, Réunion alone", "countries RE", "national", expected{isNobody, isNobody, isNobody, isNobody}},
		{"national, typed on Réunion", "region RE", "national", expected{isTheSIM, isTheSIM, isNotHis, isNobody}},
		{"E.164", withMorocco, "e164", expected{isTheSIM, isTheSIM, isNotHis, isNotHis}},
		{"E.164, typed in Morocco", withMorocco + "\nregion MA", "e164", expected{isNotHis, isTheSIM, isNobody, isNotHis}},
		{"MSISDN", withMorocco, "msisdn", expected{isTheSIM, isTheSIM, isNotHis, isNotHis}},
		{"IDD", withMorocco, "idd", expected{isTheSIM, isTheSIM, isNotHis, isNotHis}},
	} {
		body := strings.Replace(account, "GATE", strings.Replace(gate, "timeout 2s", "timeout 2s\nnumber_format "+place.format, 1)+place.options, 1)
		s := newSiteOf(t, body, simulator.New(simulator.Options{PendingFor: time.Second, SIM: func(*http.Request) string { return sim }}))
		all := claims(place.name, place.want)
		attack(t, "Numbers that share a SIM", all, func(t *testing.T, c claim) { s.claims(t, c) })
	}
}

// claims has a visitor type a number, and go as far as he gets.
func (s *site) claims(t *testing.T, c claim) {
	s.Upstream.Take()
	before := s.Provider.Calls()
	v := s.VisitorAt(t, s.Origin(stage.HTTP11))
	a := begin(v, c.number, "/account/")
	if a.StatusCode == http.StatusSeeOther {
		a = v.Arrive(a)
	}
	ends := isNotHis
	switch {
	case a.StatusCode == http.StatusOK && a.Path() == "/account/":
		ends = isTheSIM
	case s.Provider.Calls() == before:
		ends = isNobody
	}
	if ends != c.ends {
		t.Errorf("%s, where it should be that %s: %d %q", ends, c.ends, a.StatusCode, a.Code())
	}
	for _, got := range s.Upstream.Take() {
		if number := got.Header["X-Verified-Number"]; len(number) != 1 || number[0] != sim {
			t.Errorf("the SIM %s is at the site as %q", sim, number)
		}
	}
}
