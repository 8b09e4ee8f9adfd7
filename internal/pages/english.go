package pages

import "time"

var english = &texts{
	words: words{
		FormTitle: "Confirm your phone number",
		How:       "Your mobile operator checks that the SIM card in this phone has this number. It takes a few seconds. No SMS is sent.",
		Before:    "Use the phone that has this number, and turn off Wi-Fi and VPN first: the check needs mobile data.",
		Field:     "Mobile number",
		Example:   "For example 06\u00a039\u00a098\u00a012\u00a034",
		Known:     "Number to confirm",
		Submit:    "Confirm my number",
		Data:      "The number is sent to %s, which runs the check, and to your mobile operator.",
		Verified:  "Your number is already confirmed.",
		Continue:  "Continue",
		WhatToDo:  "What you can do",
		Again:     "Start again",
		Back:      "Back to the site",
		Fallback:  "Use another way",
		WaitTitle: "One moment, please",
		WaitText:  "Your operator is confirming your number. This page moves on by itself.",
		WaitLink:  "Nothing happens? Look again",
		DoneTitle: "Your number is confirmed",
		DoneText:  "You are being taken back to your page.",
		Privacy:   "Privacy",
		Support:   "Help",
	},
	thisSite: "This site",
	aService: "a verification service",
	introOf:  "%s wants to be sure that this mobile number is yours before you go on.",
	keptOf:   "%s keeps the result for %s.",
	againIn:  "You can try again in %s.",
	quoteIt:  "Reference %s. Support can find out with it what happened.",
	and:      " and ",
	units: map[time.Duration]unit{
		time.Second: {"second", "seconds"},
		time.Minute: {"minute", "minutes"},
		time.Hour:   {"hour", "hours"},
		day:         {"day", "days"},
	},
	nowhere: problem{
		"There is no page here",
		"The address may be mistyped, or out of date.",
		[]string{"Go back to the page that you came from, or start again."},
	},
	turnedDown: problem{
		"This site asks again and again",
		"Your number is confirmed, but this site does not take that for an answer. You did nothing wrong: it is the site that has to be mended.",
		[]string{"Go back to the site, and try again later.", "If it happens again, tell the site."},
	},
	problems: map[string]problem{
		"verification_required": {
			"Confirm your number first",
			"This page opens once your mobile number is confirmed. What you have just sent was not processed.",
			[]string{"Confirm your number, then go back and send it again."},
		},
		"number_invalid": {
			"Check the number",
			"There is no such phone number: a digit may be missing or wrong.",
			[]string{
				"Write the number again, with all its digits.",
				"For a number of another country, begin with + and the country code.",
				"If the number comes from your account, correct it there.",
			},
		},
		"number_unsupported": {
			"This number cannot be confirmed",
			"The check works for mobile numbers of certain countries and operators only. This number is not one of them.",
			[]string{"Check the digits.", "Use another mobile number of yours, on the phone that has it."},
		},
		"number_mismatch": {
			"The SIM card has another number",
			"Your operator says that the SIM card in use does not have this number.",
			append([]string{"Check the number."}, networkAdviceEN...),
		},
		"access_denied": {
			"The check was declined",
			"You or your operator did not allow this check.",
			[]string{
				"If you declined by mistake, try again.",
				"If your line blocks such checks, ask your operator to allow them.",
			},
		},
		"attempt_expired": {
			"That took too long",
			"The check was not finished in time.",
			[]string{
				"Turn off Wi-Fi and VPN: without mobile data, your operator cannot answer.",
				"Start again, and go through without a break.",
			},
		},
		"attempt_unknown": {
			"This check is no longer valid",
			"The link is old or incomplete, or it was used already.",
			[]string{"Start again: it takes a few seconds."},
		},
		"number_unknown": {
			"There is no number to confirm",
			"No mobile number is known for your account.",
			[]string{"Sign in, if you have not yet.", "Add your mobile number to your account, then come back."},
		},
		"browser_mismatch": {
			"This check was cancelled",
			"It was started in another browser, perhaps by somebody else. For your safety it no longer counts.",
			[]string{
				"If somebody sent you a link, do not open it again.",
				"If you started the check yourself, start again and stay in the same browser. A private window counts as another one.",
			},
		},
		"cookies_required": {
			"Your browser did not keep a cookie",
			"The check needs a cookie of this site, to know your browser again when you come back.",
			[]string{
				"Allow cookies for this site.",
				"If you opened this page inside another app, open it in your browser instead.",
				"Then start again.",
			},
		},
		"cross_origin": {
			"This did not come from this site",
			"The request came from another site, so nothing was done.",
			[]string{"If you want to confirm your number, start again from here."},
		},
		"rate_limited": {
			"Too many attempts",
			"There were too many attempts in a short time.",
			[]string{"Wait a while, then try again."},
		},
		"operator_unavailable": {
			"Your operator did not recognise the SIM card",
			"This often happens on Wi-Fi. The number may well be right.",
			networkAdviceEN,
		},
		"provider_unavailable": {
			"The check does not work at the moment",
			"It is not your fault, and the number may well be right.",
			[]string{"Try again in a few minutes."},
		},
		"provider_misconfigured": {
			"Not available now",
			"The check is not available now.",
			[]string{"Try again later."},
		},
		"result_timeout": {
			"Your operator did not answer",
			"No answer came in time. This often happens on Wi-Fi.",
			networkAdviceEN,
		},
		"cache_unavailable": {
			"Not available for a moment",
			"We cannot tell right now whether your number is confirmed.",
			[]string{"Try again in a few seconds."},
		},
		"busy": {
			"Many people are here right now",
			"There is no room for another check at the moment.",
			[]string{"Try again in a few seconds."},
		},
	},
}

// networkAdviceEN helps if the operator did not see the right SIM card.
var networkAdviceEN = []string{
	"Turn off Wi-Fi, so that the phone uses mobile data.",
	"Turn off VPN, iCloud Private Relay and data saver.",
	"With two SIM cards, use the mobile data of the one that has this number.",
	"Use the phone that has this number, not another phone’s hotspot.",
	"Then try again.",
}
