package pages

import "time"

var french = &texts{
	words: words{
		FormTitle: "Confirmez votre numéro de mobile",
		How:       "Votre opérateur mobile vérifie que la carte SIM de ce téléphone porte ce numéro. Cela prend quelques secondes. Aucun SMS n’est envoyé.",
		Before:    "Utilisez le téléphone qui porte ce numéro et coupez d’abord le Wi-Fi et le VPN\u00a0: la vérification passe par les données mobiles.",
		Field:     "Numéro de mobile",
		Example:   "Par exemple 06\u00a039\u00a098\u00a012\u00a034",
		Known:     "Numéro à confirmer",
		Submit:    "Confirmer mon numéro",
		Data:      "Le numéro est transmis à %s, qui effectue la vérification, et à votre opérateur mobile.",
		Verified:  "Votre numéro est déjà confirmé.",
		Continue:  "Continuer",
		WhatToDo:  "Ce que vous pouvez faire",
		Again:     "Recommencer",
		Back:      "Retour au site",
		Fallback:  "Utiliser un autre moyen",
		WaitTitle: "Un instant, s’il vous plaît",
		WaitText:  "Votre opérateur confirme votre numéro. Cette page avance toute seule.",
		WaitLink:  "Rien ne se passe\u00a0? Vérifier à nouveau",
		DoneTitle: "Votre numéro est confirmé",
		DoneText:  "Vous allez retrouver votre page.",
		Privacy:   "Confidentialité",
		Support:   "Aide",
	},
	thisSite: "Ce site",
	aService: "un service de vérification",
	introOf:  "%s veut s’assurer que ce numéro de mobile est bien le vôtre avant de vous laisser continuer.",
	keptOf:   "%s conserve le résultat pendant %s.",
	againIn:  "Vous pourrez réessayer dans %s.",
	quoteIt:  "Référence %s. Elle permet à l’assistance de voir ce qui s’est passé.",
	and:      " et ",
	units: map[time.Duration]unit{
		time.Second: {"seconde", "secondes"},
		time.Minute: {"minute", "minutes"},
		time.Hour:   {"heure", "heures"},
		day:         {"jour", "jours"},
	},
	nowhere: problem{
		"Il n’y a pas de page ici",
		"L’adresse est peut-être mal saisie, ou n’est plus valable.",
		[]string{"Revenez à la page d’où vous venez, ou recommencez."},
	},
	turnedDown: problem{
		"Ce site redemande sans cesse",
		"Votre numéro est confirmé, mais ce site ne s’en contente pas. Vous n’y êtes pour rien\u00a0: c’est le site qui doit être corrigé.",
		[]string{"Retournez au site et réessayez plus tard.", "Si cela se reproduit, signalez-le au site."},
	},
	problems: map[string]problem{
		"verification_required": {
			"Confirmez d’abord votre numéro",
			"Cette page s’ouvre une fois votre numéro de mobile confirmé. Ce que vous venez d’envoyer n’a pas été traité.",
			[]string{"Confirmez votre numéro, puis revenez en arrière et renvoyez."},
		},
		"number_invalid": {
			"Vérifiez le numéro",
			"Ce numéro de téléphone n’existe pas\u00a0: un chiffre manque peut-être ou est faux.",
			[]string{
				"Saisissez à nouveau le numéro, avec tous ses chiffres.",
				"Pour un numéro d’un autre pays, commencez par + et l’indicatif du pays.",
				"Si le numéro vient de votre compte, corrigez-le dans votre compte.",
			},
		},
		"number_unsupported": {
			"Ce numéro ne peut pas être confirmé",
			"La vérification n’est possible que pour les numéros de mobile de certains pays et opérateurs. Ce numéro n’en fait pas partie.",
			[]string{"Vérifiez les chiffres.", "Utilisez un autre de vos numéros de mobile, sur le téléphone qui le porte."},
		},
		"number_mismatch": {
			"La carte SIM porte un autre numéro",
			"Selon votre opérateur, la carte SIM utilisée ne porte pas ce numéro.",
			append([]string{"Vérifiez le numéro."}, networkAdviceFR...),
		},
		"access_denied": {
			"La vérification a été refusée",
			"Vous ou votre opérateur n’avez pas autorisé cette vérification.",
			[]string{
				"Si vous avez refusé par erreur, réessayez.",
				"Si votre ligne bloque ces vérifications, demandez à votre opérateur de les autoriser.",
			},
		},
		"attempt_expired": {
			"Cela a pris trop de temps",
			"La vérification n’a pas été terminée à temps.",
			[]string{
				"Coupez le Wi-Fi et le VPN\u00a0: sans données mobiles, votre opérateur ne peut pas répondre.",
				"Recommencez et allez jusqu’au bout sans pause.",
			},
		},
		"attempt_unknown": {
			"Cette vérification n’est plus valable",
			"Le lien est ancien ou incomplet, ou il a déjà servi.",
			[]string{"Recommencez\u00a0: cela prend quelques secondes."},
		},
		"number_unknown": {
			"Il n’y a pas de numéro à confirmer",
			"Aucun numéro de mobile n’est connu pour votre compte.",
			[]string{"Connectez-vous, si ce n’est pas déjà fait.", "Ajoutez votre numéro de mobile à votre compte, puis revenez."},
		},
		"browser_mismatch": {
			"Cette vérification a été annulée",
			"Elle a été commencée dans un autre navigateur, peut-être par quelqu’un d’autre. Pour votre sécurité, elle ne compte plus.",
			[]string{
				"Si quelqu’un vous a envoyé un lien, ne l’ouvrez plus.",
				"Si vous avez commencé vous-même, recommencez et restez dans le même navigateur. Une fenêtre privée compte comme un autre navigateur.",
			},
		},
		"cookies_required": {
			"Votre navigateur n’a pas gardé de cookie",
			"La vérification a besoin d’un cookie de ce site, pour reconnaître votre navigateur à votre retour.",
			[]string{
				"Autorisez les cookies de ce site.",
				"Si vous avez ouvert cette page dans une autre application, ouvrez-la plutôt dans votre navigateur.",
				"Puis recommencez.",
			},
		},
		"cross_origin": {
			"Cela ne venait pas de ce site",
			"La demande venait d’un autre site\u00a0; rien n’a été fait.",
			[]string{"Si vous voulez confirmer votre numéro, recommencez à partir d’ici."},
		},
		"rate_limited": {
			"Trop de tentatives",
			"Il y a eu trop de tentatives en peu de temps.",
			[]string{"Attendez un moment, puis réessayez."},
		},
		"operator_unavailable": {
			"Votre opérateur n’a pas reconnu la carte SIM",
			"Cela arrive souvent en Wi-Fi. Le numéro est peut-être juste.",
			networkAdviceFR,
		},
		"provider_unavailable": {
			"La vérification ne fonctionne pas pour le moment",
			"Vous n’y êtes pour rien, et le numéro est peut-être juste.",
			[]string{"Réessayez dans quelques minutes."},
		},
		"provider_misconfigured": {
			"Indisponible actuellement",
			"La vérification est indisponible actuellement.",
			[]string{"Réessayez plus tard."},
		},
		"result_timeout": {
			"Votre opérateur n’a pas répondu",
			"Aucune réponse n’est arrivée à temps. Cela arrive souvent en Wi-Fi.",
			networkAdviceFR,
		},
		"cache_unavailable": {
			"Indisponible pour un instant",
			"Impossible de savoir pour le moment si votre numéro est confirmé.",
			[]string{"Réessayez dans quelques secondes."},
		},
		"busy": {
			"Beaucoup de monde en ce moment",
			"Il n’y a pas de place pour une vérification de plus pour le moment.",
			[]string{"Réessayez dans quelques secondes."},
		},
	},
}

// networkAdviceFR helps if the operator did not see the right SIM card.
var networkAdviceFR = []string{
	"Coupez le Wi-Fi, pour que le téléphone utilise les données mobiles.",
	"Désactivez le VPN, le relais privé iCloud et l’économiseur de données.",
	"Avec deux cartes SIM, utilisez les données mobiles de celle qui porte ce numéro.",
	"Utilisez le téléphone qui porte ce numéro, sans partage de connexion.",
	"Puis réessayez.",
}
