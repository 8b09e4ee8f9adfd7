package pages

import (
	"cmp"
	"fmt"
	"time"
)

// texts are all texts of one language. The comment of a text with gaps (%s) says what
// goes into them.
type texts struct {
	words    words
	nowhere  problem            // for an address without a page
	problems map[string]problem // by code
	// turnedDown is for a visitor who was verified in vain
	turnedDown problem

	thisSite string // if there is no brand
	aService string // if the recipient has no name
	introOf  string // brand
	keptOf   string // brand, duration
	againIn  string // duration
	quoteIt  string // reference
	and      string // between two parts of a duration
	units    map[time.Duration]unit
}

// problem explains a code to the visitor.
type problem struct {
	Title  string   // what is wrong, in a few words
	Reason string   // what has happened
	Advice []string // what to do, one step each
}

// unit is a unit of time.
type unit struct{ one, many string }

// words are the fixed words of the pages.
type words struct {
	FormTitle string // heading of the form
	How       string // what happens, and that no SMS is sent
	Before    string // on the form: mobile data, not Wi-Fi
	Field     string // label of the number field
	Example   string // hint below the number field
	Known     string // before a known number
	Submit    string // the form's button
	Data      string // who gets the number; gap: recipient
	Verified  string // with a live session: the number is verified already
	Continue  string // the link to go on with
	WhatToDo  string // heading of the advice
	Again     string // the link to the form
	Back      string // the link to the site's first page
	Fallback  string // the link to FallbackURL
	WaitTitle string // heading while the result is awaited
	WaitText  string // what happens meanwhile
	WaitLink  string // the link for a browser that does not renew the page
	DoneTitle string // heading after success
	DoneText  string // what happens next
	Privacy   string // the link to PrivacyURL
	Support   string // the link to SupportURL
}

// problem returns the text for the code of a page. A code without a text gets that
// of provider_misconfigured, "not available now". A problem page without a code is
// for an address without a page.
func (t *texts) problem(name Name, data Data) problem {
	switch p, ok := t.problems[data.Code]; {
	case data.Code == "" && name != Problem:
		return problem{}
	case data.Code == "":
		return t.nowhere
	case data.TurnedDown:
		return t.turnedDown
	case ok:
		return p
	default:
		return t.problems["provider_misconfigured"]
	}
}

func (t *texts) title(name Name, data Data) string {
	switch {
	case name == Problem:
		return t.problem(name, data).Title
	case name == Wait && data.Done:
		return t.words.DoneTitle
	case name == Wait:
		return t.words.WaitTitle
	default:
		return t.words.FormTitle
	}
}

func (t *texts) who(brand string) string { return cmp.Or(brand, t.thisSite) }

// wordsFor returns the fixed words, with the recipient of the number in them.
func (t *texts) wordsFor(recipient string) words {
	filled := t.words
	filled.Data = fmt.Sprintf(filled.Data, cmp.Or(recipient, t.aService))
	return filled
}

func (t *texts) intro(brand string) string { return fmt.Sprintf(t.introOf, t.who(brand)) }

func (t *texts) kept(brand string, d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return fmt.Sprintf(t.keptOf, t.who(brand), t.duration(d))
}

func (t *texts) tryAgainIn(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return fmt.Sprintf(t.againIn, t.duration(d))
}

func (t *texts) quote(reference string) string {
	if reference == "" {
		return ""
	}
	return fmt.Sprintf(t.quoteIt, reference)
}

const day = 24 * time.Hour

// duration writes d as people say it: rounded up, in two units at most.
func (t *texts) duration(d time.Duration) string {
	d = roundUp(d, time.Second)
	if d > time.Minute {
		d = roundUp(d, time.Minute)
	}
	if d >= 2*day {
		d = roundUp(d, time.Hour)
	}
	switch {
	case d < time.Minute:
		return t.count(d, time.Second)
	case d < time.Hour:
		return t.count(d, time.Minute)
	case d < 2*day:
		return t.pair(d, time.Hour, time.Minute)
	default:
		return t.pair(d, day, time.Hour)
	}
}

func (t *texts) pair(d, large, small time.Duration) string {
	if d%large == 0 {
		return t.count(d, large)
	}
	return t.count(d, large) + t.and + t.count(d%large, small)
}

func (t *texts) count(d, in time.Duration) string {
	n, name := d/in, t.units[in].many
	if n == 1 {
		name = t.units[in].one
	}
	return fmt.Sprintf("%d\u00a0%s", n, name)
}

func roundUp(d, to time.Duration) time.Duration { return (d + to - 1) / to * to }
