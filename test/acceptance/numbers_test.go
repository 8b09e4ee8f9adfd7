package acceptance_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// asIfOf are the spellings of a number that no SIM has, but whose national part
// is that of +33639980001.
var asIfOf = []string{"+590639980001", "+594639980001", "+596639980001", "+262639980001", "+508639980001", "00262639980001", "+262 6 39 98 00 01", "+590.639.980.001", "+212639980001"}

// TestOneSIMHasOneBucketOfLimitsWhateverCountryItIsClaimedToBeOf holds that nobody
// gets more starts of one SIM by calling it a number of Guadeloupe, of Réunion….
func TestOneSIMHasOneBucketOfLimitsWhateverCountryItIsClaimedToBeOf(t *testing.T) {
	w := stage.New(t, simulator.Options{SIM: func(*http.Request) string { return "0639980002" }})
	w.LoadWith(stage.FromAnywhere, limited("number 3 1h 3"))
	own := []string{"06 39 98 00 01", "+33639980001", "0033639980001", "639980001", "33639980001"}
	started := 0
	for i, spelled := range append(asIfOf, own...) {
		a := w.From(fmt.Sprint("192.0.2.", i)).Press(spelled, "/account/")
		switch {
		case i < len(asIfOf):
			a.Is(t, http.StatusUnprocessableEntity, "number_unsupported")
		case started < 3:
			started++
			if a.StatusCode != http.StatusSeeOther {
				t.Errorf("%q: %d %q", spelled, a.StatusCode, a.Code())
			}
		default:
			a.Is(t, http.StatusTooManyRequests, "rate_limited")
		}
		if calls := w.Provider.Calls(); calls.Start != started || calls.Token != started {
			t.Fatalf("%q: %+v, want %d starts", spelled, calls, started)
		}
	}
}

// TestNumberThatTheSiteKnowsIsReadLikeATypedOne holds that a site's own records
// make nobody a number that his SIM does not have.
func TestNumberThatTheSiteKnowsIsReadLikeATypedOne(t *testing.T) {
	w := stage.New(t, simulator.Options{SIM: func(*http.Request) string { return "0639980001" }})
	w.Load(known)
	visitor := w.Visitor()
	phone := "" // of who is logged in
	visitor.Always("X-Test-Login", func() string { return phone })
	phone = "06 39 98 00 01"
	visitor.Follow(visitor.Open("/account/"))
	for _, number := range asIfOf {
		phone = number
		visitor.Follow(visitor.Open("/account/")).Is(t, http.StatusUnprocessableEntity, "number_unsupported")
		visitor.Press("0639980001", "/account/").Is(t, http.StatusUnprocessableEntity, "number_unsupported")
	}
	if calls := w.Provider.Calls(); calls.Token != 0 {
		t.Errorf("the provider is called: %+v", calls)
	}
	phone = "06 39 98 00 01"
	if end := visitor.Arrive(visitor.Press("", "/account/")); end.Request.URL.Path != "/account/" {
		t.Fatalf("the owner ends at %s %q", end.Request.URL, end.Code())
	}
	w.Upstream.Take()
	for _, number := range asIfOf {
		phone = number
		visitor.Open("/account/")
	}
	if got := w.Upstream.Take(); len(got) != 0 {
		t.Errorf("a session of +33… passes as another: %v", got[0].Header["X-Verified-Number"])
	}
}

// TestNumbersOfTheTerritoriesGoOutAsTheyAreDialled holds that the provider is sent
// ten digits, those of six among them, however a number was typed.
func TestNumbersOfTheTerritoriesGoOutAsTheyAreDialled(t *testing.T) {
	var mu sync.Mutex
	var sent []string
	w := stage.New(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, r *http.Request) bool {
		if call == simulator.CallStart {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, r.Form.Get("number"))
		}
		return false
	}})
	w.Load(account)
	for typed, want := range map[string]string{
		"+508 55 12 34":     "0508551234",
		"0508 55 12 34":     "0508551234",
		"00 508 55 12 34":   "0508551234",
		"+508 708 40 12 34": "0708401234",
		"+590 690 00 12 34": "0690001234",
		"0690 00 12 34":     "0690001234",
		"+594 694 00 12 34": "0694001234",
		"+596 696 00 12 34": "0696001234",
		"+262 692 00 12 34": "0692001234",
		"+262 639 97 12 34": "0639971234",
		"+262 709 35 12 34": "0709351234",
		"+33 690 00 12 34":  "",
	} {
		sent = nil
		visitor := w.Visitor()
		visitor.Follow(visitor.Open("/account/"))
		a := visitor.Press(typed, "/account/")
		if want == "" && len(sent) == 0 {
			continue
		}
		if len(sent) != 1 || sent[0] != want {
			t.Errorf("%q goes out as %q, want %q: %d %q", typed, sent, want, a.StatusCode, a.Code())
		}
	}
}
