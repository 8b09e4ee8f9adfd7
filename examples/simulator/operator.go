package simulator

import (
	"html/template"
	"math"
	"net/http"
	"net/url"
	"strconv"
)

// operatorPath is the beginning of an operator's page's path; the page's id follows.
const operatorPath = "/operator/"

// serveOperator recognises the SIM and sends the visitor back to the redirect_uri
// of the start call.
func (s *Simulator) serveOperator(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	_ = r.ParseForm() // for Intercept only
	if s.opts.Intercept != nil && s.opts.Intercept(CallOperator, w, r) {
		return
	}
	a, ok := s.recognise(r, id)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if a.outcome.stays {
		s.show(w, stayPage, operatorOf(a.Number), "")
		return
	}
	back := s.back(a)
	if s.opts.Interstitial > 0 {
		seconds := int(math.Ceil(s.opts.Interstitial.Seconds()))
		w.Header().Set("Refresh", strconv.Itoa(seconds)+"; url="+back)
		s.show(w, interstitialPage, operatorOf(a.Number), back)
		return
	}
	// Not http.Redirect, which would clean the address that Options.Redirect
	// may have made odd on purpose.
	w.Header().Set("Location", back)
	w.WriteHeader(http.StatusFound)
}

// recognise records a visit of the page with this id, and returns a copy of its
// attempt; false if there is no such page. The first visit fixes the outcome for
// good: later visits change nothing, whatever their SIM.
func (s *Simulator) recognise(r *http.Request, id string) (attempt, bool) {
	sim := ""
	if s.opts.SIM != nil {
		sim = subscriber(s.opts.SIM(r))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.links[id]
	if !ok {
		return attempt{}, false
	}
	a.Visits++
	if a.Visits == 1 {
		a.recognised = s.opts.Now()
		if sim != "" && sim != a.Number {
			a.outcome = mismatch
		}
	}
	return *a, true
}

// back returns the address to go back to: redirect_uri with its query kept, and
// token and status added.
func (s *Simulator) back(a attempt) string {
	status := a.outcome.status()
	if s.opts.Redirect != nil {
		return s.opts.Redirect(a.redirectURI, a.Token, status)
	}
	u, err := url.Parse(a.redirectURI)
	if err != nil {
		return a.redirectURI
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += url.Values{"token": {a.Token}, "status": {status}}.Encode()
	return u.String()
}

func (s *Simulator) show(w http.ResponseWriter, page *template.Template, operator, back string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, struct{ Operator, Back string }{operator, back}) // fails only where the visitor has gone
}

var stayPage = template.Must(template.New("stay").Parse(`<!doctype html>
<html lang="fr">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Operator}} (simulation)</title>
<h1>{{.Operator}} (simulation)</h1>
<p>Cette page ne vous renvoie jamais vers le site : c’est ce que ce numéro simule.</p>
<p lang="en">This page never sends you back to the site: that is what this number simulates.</p>
</html>
`))

var interstitialPage = template.Must(template.New("interstitial").Parse(`<!doctype html>
<html lang="fr">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Operator}} (simulation)</title>
<h1>{{.Operator}} (simulation)</h1>
<p>Votre carte SIM est reconnue, vous allez revenir au site.</p>
<p lang="en">Your SIM card is recognised, you are about to return to the site.</p>
<p><a href="{{.Back}}">Continuer <span lang="en">(Continue)</span></a></p>
</html>
`))
