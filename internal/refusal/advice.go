package refusal

// advice is what the site's operator is told of a code. Numbers in brackets are DQE's
// error ids.
type advice struct {
	// cause is what has happened, remedy what to do.
	cause, remedy string
}

// advices are the words of docs/troubleshooting.md, without its links.
var advices = map[Code]advice{
	VerificationRequired:  {"no verification, or it is too old", "verify"},
	NumberInvalid:         {"not a number, or DQE says so (10, 11)", "type it again"},
	NumberUnsupported:     {"the country, the kind of number or the operator cannot be verified (09, 13, 14, 15, 17), or the provider would take the number for another", "set countries; for 14 ask DQE; offer a fallback_url"},
	NumberMismatch:        {"the SIM has another number (20)", "use the mobile data of the right SIM"},
	AccessDenied:          {"the operator declined (21)", "the visitor asks the operator"},
	AttemptExpired:        {"the visitor came back too late, or the token expired (30)", "start again; set a longer attempt_ttl"},
	AttemptUnknown:        {"an old or incomplete link, one from before a sign-out, or Caddy was restarted", "start again; keep attempts through a restart"},
	NumberUnknown:         {"number is empty for this visitor", "check the handler that sets it, also for path"},
	BrowserMismatch:       {"the callback came in another browser, and the attempt was burned", "start again and stay in one browser. In-app browsers: open the page in the real one. Many of these: somebody may be sending out links"},
	CookiesRequired:       {"the browser drops a cookie of the gate, or has it twice", "allow cookies; in-app browsers: open the page in the real one; check that no proxy removes them. A browser that has lost its session twice may start again after a minute"},
	CrossOrigin:           {"started from another site", "check public_url"},
	RateLimited:           {"a limit on starts is reached", "wait, as Retry-After says. Many of these: an attack, or proxies that are not in trusted_proxies"},
	OperatorUnavailable:   {"the operator did not see the SIM (12, 16, 18)", "turn off Wi-Fi, VPN and private relay"},
	ProviderUnavailable:   {"DQE failed, was too slow, or answered nonsense (99)", "try later; the log says what happened"},
	ProviderMisconfigured: {"licence, secret, credits, or a token that was used before (01–07, 22, 31, 98); or a route that turns every verification down", "the log says what to fix"},
	ResultTimeout:         {"the result is still pending after result_wait", "turn off Wi-Fi, VPN and private relay; set a longer result_wait"},
	CacheUnavailable:      {"the cache failed", "see the log. Sessions are not lost by it"},
	Busy:                  {"too many attempts are under way, or the cache is full", "try again. Many of these may be an attack; see Limits"},
}

// Cause tells the site's operator what has happened; "" for an unknown code.
func (c Code) Cause() string { return advices[c].cause }

// Remedy tells the site's operator what to do about it; "" for an unknown code.
func (c Code) Remedy() string { return advices[c].remedy }
