package pages

import (
	"io/fs"
	"net/http"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// Templates returns the built-in templates.
func Templates() fs.FS {
	sub, _ := fs.Sub(builtin, "templates") // fails for an invalid path only
	return sub
}

// State is a page as visitors may see it.
type State struct {
	// ID is made of the page's name, and a dot and what is special. It suits a path.
	ID string
	// Title says in English what is special.
	Title string
	Page  Name
	// Data is what the page shows, without language and nonce.
	Data Data
}

// States returns all states of all pages, with made-up data. The path of the gate's
// endpoints is base.
func States(base string) []State {
	plain := sample
	plain.Base, plain.RefreshURL, plain.RefreshAfter, plain.Masked = base, "", 0, ""
	known, verified := plain, plain
	known.Known, known.Masked = true, sample.Masked
	verified.ContinueURL = sample.Return
	pending, done, nowhere := plain, plain, plain
	pending.RefreshURL, pending.RefreshAfter = base+"/wait/sample", time.Hour // the page is to stay
	done.Done, done.RefreshURL, done.RefreshAfter = true, sample.Return, time.Hour
	nowhere.Status = http.StatusNotFound
	turnedDown := plain
	turnedDown.TurnedDown, turnedDown.RetryAfter = true, time.Minute
	turnedDown.Code, turnedDown.Status = string(refusal.ProviderMisconfigured), refusal.ProviderMisconfigured.Status()
	states := []State{
		{string(Form), "the form", Form, plain},
		{string(Form) + ".known", "the form, where the site knows the number", Form, known},
		{string(Form) + ".verified", "the form, for a visitor who is verified already", Form, verified},
		{string(Wait), "the result is awaited", Wait, pending},
		{string(Wait) + ".done", "the number is verified", Wait, done},
		{string(Problem), "an address without a page", Problem, nowhere},
		{string(Problem) + ".turned-down", "the site turns every verification down", Problem, turnedDown},
	}
	for _, code := range refusal.Codes() {
		refused := plain
		refused.Code, refused.Status, refused.RetryAfter = string(code), code.Status(), code.Retry()
		states = append(states,
			State{string(Form) + "." + string(code), "the form after the refusal " + string(code), Form, refused},
			State{string(Problem) + "." + string(code), "the refusal " + string(code), Problem, refused})
	}
	return states
}

// Languages returns the languages of the pages, the default first.
func Languages() []string {
	names := make([]string, len(tags))
	for i, tag := range tags {
		names[i] = tag.String()
	}
	return names
}
