package pages

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// texts are the sentences of a page.
type texts struct {
	Title  string
	Reason string
	Advice []string
}

// Codes are those that have texts.
func Codes() []string { return slices.Sorted(maps.Keys(problems["en"])) }

// offersFallback tells whether another way may help: where this number,
// operator or device cannot be verified.
func offersFallback(code string) bool {
	switch code {
	case "number_unsupported", "number_unknown", "operator_unavailable", "provider_unavailable",
		"provider_misconfigured", "result_timeout", "access_denied", "number_mismatch":
		return true
	default:
		return false
	}
}

func textsOf(name Name, data Data) texts {
	if data.Code != "" {
		if t, ok := problems[data.Lang][data.Code]; ok {
			if name == Form {
				t.Title = words[data.Lang]["form_title"]
			}
			return t
		}
	}
	ui := words[data.Lang]
	switch {
	case name == Wait && data.Done:
		return texts{Title: ui["done_title"]}
	case name == Wait:
		return texts{Title: ui["wait_title"]}
	default:
		return texts{Title: ui["form_title"]}
	}
}

// inWords says a duration as people do, or "".
func inWords(lang string, d time.Duration) string {
	unit, n := "second", int((d+time.Second-1)/time.Second)
	switch {
	case d <= 0:
		return ""
	case d >= 48*time.Hour:
		unit, n = "day", int(d/(24*time.Hour))
	case d >= 2*time.Hour || d == time.Hour:
		unit, n = "hour", int(d/time.Hour)
	case d >= time.Minute:
		unit, n = "minute", int((d+time.Minute-1)/time.Minute)
	}
	if lang == "fr" {
		unit = map[string]string{"second": "seconde", "minute": "minute", "hour": "heure", "day": "jour"}[unit]
	}
	if n > 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d\u00a0%s", n, unit)
}

// words are the fixed words of the pages.
var words = map[string]map[string]string{
	"en": {
		"form_title":    "Confirm your phone number",
		"this_site":     "This site",
		"why":           "wants to be sure that this number is yours before it lets you in.",
		"how":           "Your mobile operator checks that the SIM card in this phone has this number. It takes a few seconds. No SMS is sent.",
		"mobile_data":   "Use mobile data: turn off Wi-Fi and any VPN first.",
		"field":         "Mobile number",
		"example":       "For example 06 39 98 12 34",
		"known":         "The number to confirm:",
		"submit":        "Confirm my number",
		"continue":      "Continue",
		"still_holds":   "Your number is already confirmed.",
		"data":          "Your number is sent to DQE and to your mobile operator for this check only. The outcome is kept for",
		"privacy":       "Privacy",
		"support":       "Help",
		"what_to_do":    "What you can do",
		"again":         "Start again",
		"fallback":      "Use another way",
		"wait_title":    "One moment, please",
		"wait_text":     "Your operator is confirming your number. This page goes on by itself.",
		"wait_link":     "Nothing happens? Look again",
		"done_title":    "Your number is confirmed",
		"done_text":     "You are being taken back.",
		"retry_after":   "Try again in",
	},
	"fr": {
		"form_title":    "Confirmez votre numéro de mobile",
		"this_site":     "Ce site",
		"why":           "veut s’assurer que ce numéro est bien le vôtre avant de vous laisser entrer.",
		"how":           "Votre opérateur mobile vérifie que la carte SIM de ce téléphone porte ce numéro. Cela prend quelques secondes. Aucun SMS n’est envoyé.",
		"mobile_data":   "Utilisez les données mobiles\u00a0: coupez d’abord le Wi-Fi et tout VPN.",
		"field":         "Numéro de mobile",
		"example":       "Par exemple 06\u00a039\u00a098\u00a012\u00a034",
		"known":         "Le numéro à confirmer\u00a0:",
		"submit":        "Confirmer mon numéro",
		"continue":      "Continuer",
		"still_holds":   "Votre numéro est déjà confirmé.",
		"data":          "Votre numéro est transmis à DQE et à votre opérateur mobile pour cette seule vérification. Le résultat est conservé",
		"privacy":       "Confidentialité",
		"support":       "Aide",
		"what_to_do":    "Ce que vous pouvez faire",
		"again":         "Recommencer",
		"fallback":      "Utiliser un autre moyen",
		"wait_title":    "Un instant, s’il vous plaît",
		"wait_text":     "Votre opérateur confirme votre numéro. Cette page avance toute seule.",
		"wait_link":     "Rien ne se passe\u00a0? Vérifier à nouveau",
		"done_title":    "Votre numéro est confirmé",
		"done_text":     "Nous vous ramenons à votre page.",
		"retry_after":   "Réessayez dans",
	},
}

// What helps where the operator could not see the SIM.
var (
	networkEN = []string{
		"Turn off Wi-Fi, so that the phone uses mobile data.",
		"Turn off VPN, iCloud Private Relay and data saver.",
		"With two SIM cards: use mobile data of the one with this number.",
		"Then try again, on the phone that has this number.",
	}
	networkFR = []string{
		"Coupez le Wi-Fi, pour que le téléphone utilise les données mobiles.",
		"Désactivez le VPN, le relais privé iCloud et l’économiseur de données.",
		"Avec deux cartes SIM\u00a0: utilisez les données mobiles de celle qui porte ce numéro.",
		"Puis réessayez, sur le téléphone qui porte ce numéro.",
	}
)

// problems are the texts of the codes.
var problems = map[string]map[string]texts{
	"en": {
		"verification_required":  {"Your number has to be confirmed first", "This page opens once your mobile number is confirmed. What you sent has not been processed.", []string{"Confirm your number, then send it again."}},
		"number_invalid":         {"This is not a phone number", "This number does not exist.", []string{"Check the digits and write the number again."}},
		"number_unsupported":     {"This number cannot be confirmed", "This number, its country or its operator does not support this check.", []string{"Use another mobile number of yours."}},
		"number_mismatch":        {"This is not the number of this SIM card", "Your operator says that the SIM card in use has another number.", networkEN},
		"access_denied":          {"Your operator has declined", "Your operator did not allow this check.", []string{"If your line blocks such checks, ask your operator.", "Try again, or use another mobile number of yours."}},
		"attempt_expired":        {"That took too long", "The check has expired.", []string{"Start again and go through without a break."}},
		"attempt_unknown":        {"This check is not known", "The link is old, or was used already.", []string{"Start again."}},
		"number_unknown":         {"There is no number to confirm", "The site has no mobile number in your account.", []string{"Add your mobile number to your account, then come back."}},
		"browser_mismatch":       {"This check was cancelled", "It was started in another browser, or by somebody else. For your safety it no longer counts.", []string{"If somebody sent you a link: do not open it again.", "Otherwise start again, and stay in one and the same browser."}},
		"cookies_required":       {"Your browser refuses cookies", "Without this site’s own cookies nobody can be recognised.", []string{"Allow cookies for this site.", "If you opened the page inside another app, open it in your browser.", "Then start again."}},
		"cross_origin":           {"This did not come from this site", "The check was started from another site, so nothing was done.", []string{"Start again from here."}},
		"rate_limited":           {"Too many attempts", "There were too many attempts in a short time.", []string{"Wait a while, then try again."}},
		"operator_unavailable":   {"Your operator did not recognise the SIM card", "This often happens on Wi-Fi. Your number may be right.", networkEN},
		"provider_unavailable":   {"The check does not work at the moment", "It is not your fault.", []string{"Try again in a few minutes."}},
		"provider_misconfigured": {"Not available now", "The check is not available now. It is not your fault.", []string{"Try again later."}},
		"result_timeout":         {"Your operator did not answer", "There was no answer in time. This often happens on Wi-Fi.", networkEN},
		"cache_unavailable":      {"Not available for a moment", "We cannot look up your confirmation right now. It is not lost.", []string{"Try again in a few seconds."}},
		"busy":                   {"Many people are being checked right now", "There is no room for another check at the moment.", []string{"Try again in a few seconds."}},
	},
	"fr": {
		"verification_required":  {"Votre numéro doit d’abord être confirmé", "Cette page s’ouvre une fois votre numéro de mobile confirmé. Votre envoi n’a pas été traité.", []string{"Confirmez votre numéro, puis renvoyez."}},
		"number_invalid":         {"Ce n’est pas un numéro de téléphone", "Ce numéro n’existe pas.", []string{"Vérifiez les chiffres et saisissez à nouveau le numéro."}},
		"number_unsupported":     {"Ce numéro ne peut pas être confirmé", "Ce numéro, son pays ou son opérateur ne permet pas cette vérification.", []string{"Utilisez un autre numéro de mobile qui vous appartient."}},
		"number_mismatch":        {"Ce n’est pas le numéro de cette carte SIM", "Selon votre opérateur, la carte SIM utilisée porte un autre numéro.", networkFR},
		"access_denied":          {"Votre opérateur a refusé", "Votre opérateur n’a pas permis cette vérification.", []string{"Si votre ligne bloque ces vérifications, demandez à votre opérateur.", "Réessayez, ou utilisez un autre numéro de mobile qui vous appartient."}},
		"attempt_expired":        {"Cela a pris trop de temps", "La vérification a expiré.", []string{"Recommencez et allez jusqu’au bout sans pause."}},
		"attempt_unknown":        {"Cette vérification est inconnue", "Le lien est ancien ou a déjà servi.", []string{"Recommencez."}},
		"number_unknown":         {"Il n’y a pas de numéro à confirmer", "Le site n’a pas de numéro de mobile dans votre compte.", []string{"Ajoutez votre numéro de mobile à votre compte, puis revenez."}},
		"browser_mismatch":       {"Cette vérification a été annulée", "Elle a été commencée dans un autre navigateur ou par quelqu’un d’autre. Pour votre sécurité, elle ne compte plus.", []string{"Si quelqu’un vous a envoyé un lien\u00a0: ne l’ouvrez plus.", "Sinon, recommencez et restez dans un seul et même navigateur."}},
		"cookies_required":       {"Votre navigateur refuse les cookies", "Sans les cookies de ce site, personne ne peut être reconnu.", []string{"Autorisez les cookies de ce site.", "Si vous avez ouvert la page dans une autre application, ouvrez-la dans votre navigateur.", "Puis recommencez."}},
		"cross_origin":           {"Cela ne venait pas de ce site", "La vérification a été lancée depuis un autre site\u00a0; rien n’a été fait.", []string{"Recommencez d’ici."}},
		"rate_limited":           {"Trop de tentatives", "Il y a eu trop de tentatives en peu de temps.", []string{"Attendez un moment, puis réessayez."}},
		"operator_unavailable":   {"Votre opérateur n’a pas reconnu la carte SIM", "Cela arrive souvent en Wi-Fi. Votre numéro est peut-être juste.", networkFR},
		"provider_unavailable":   {"La vérification ne fonctionne pas pour le moment", "Vous n’y êtes pour rien.", []string{"Réessayez dans quelques minutes."}},
		"provider_misconfigured": {"Pas disponible actuellement", "La vérification n’est pas disponible actuellement. Vous n’y êtes pour rien.", []string{"Réessayez plus tard."}},
		"result_timeout":         {"Votre opérateur n’a pas répondu", "Aucune réponse n’est arrivée à temps. Cela arrive souvent en Wi-Fi.", networkFR},
		"cache_unavailable":      {"Indisponible pour un instant", "Nous ne pouvons pas retrouver votre confirmation pour le moment. Elle n’est pas perdue.", []string{"Réessayez dans quelques secondes."}},
		"busy":                   {"Beaucoup de vérifications sont en cours", "Il n’y a pas de place pour une vérification de plus pour le moment.", []string{"Réessayez dans quelques secondes."}},
	},
}
