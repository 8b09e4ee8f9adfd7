package configuration_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// dqeBlock is a valid verifier in 6 lines.
const dqeBlock = `verifier dqe {
	server https://dqe.example.com
	licence code
	client_secret {env.X_SECRET}
	name "Example SAS"
}`

// TestMistakesAreToldWithLineAndRemedy holds that each mistake is an error of
// adapt that names file and line, and what to write instead.
func TestMistakesAreToldWithLineAndRemedy(t *testing.T) {
	// each option stands in line 9 of: www.example.com { number_verify { verifier… public_url … option } }
	site := func(option string) string {
		return "www.example.com {\n\tnumber_verify {\n" + dqeBlock + "\n" + option + "\npublic_url https://www.example.com\n}\n}\n"
	}
	for name, c := range map[string]struct {
		text, line, want string
	}{
		"unknown option":            {site("colour red"), ":9", `unknown subdirective "colour"`},
		"unknown store":             {site("cache memcached localhost"), ":9", "built in are bolt, memory, redis"},
		"redis without an address":  {site("cache redis"), ":9", "cache redis localhost:6379"},
		"redis by URL":              {site("cache redis redis://localhost"), ":9", "cache redis localhost:6379"},
		"unknown option of redis":   {site("cache redis localhost {\nsentinel x\n}"), ":10", "there are username, password, db, tls"},
		"redis, stale for too long": {site("cache redis localhost {\ndb 0\nstale_if_error 11s\n}"), ":11", "at most 10s"},
		"redis, prefix with braces": {site("cache redis localhost {\ndb 0\nprefix {a}\n}"), ":11", "must hold no braces"},
		"redis, option set twice":   {site("cache redis localhost {\ndb 0\ndb 1\n}"), ":11", "set twice, first in line 10"},
		"redis, half a certificate": {site("cache redis localhost {\ntls {\ncertificate a\n}\n}"), ":11", "two files"},
		"redis, db of a cluster":    {site("cache redis a b {\ndb 1\n}"), ":10", "remove it, or name one address"},
		"redis, user alone":         {site("cache redis localhost {\nusername a\n}"), ":9", "add 'password"},
		"bolt without a file":       {site("cache bolt"), ":9", "write 'cache bolt /var/lib/caddy/number-verify.db'"},
		"unknown option of bolt":    {site("cache bolt /x {\nsync off\n}"), ":10", "there is just secret"},
		"limits without a block":    {site("limits"), ":9", "needs a block"},
		"limits with an argument":   {site("limits off"), ":9", "takes no arguments"},
		"unknown limit":             {site("limits {\nip 5 1h\n}"), ":10", "there are number, client, global, attempts, sessions"},
		"limit without a window":    {site("limits {\nclient 5\n}"), ":10", "write 'client 60 10m 600 24h'"},
		"limit of nothing":          {site("limits {\nattempts 0\n}"), ":10", "write 'attempts 10000'"},
		"limit of no duration":      {site("limits {\nnumber 5 hour 30\n}"), ":10", "write 'number 5 1h 30'"},
		"limit off that cannot be":  {site("limits {\nclient off\n}"), ":10", "write 'client 60 10m 600 24h'"},
		"limit of too many":         {site("limits {\nglobal 9223372036854775807 1h\n}"), ":10", "a number from 1 to 9007199254740992 must be"},
		"limit set twice":           {site("limits {\nattempts 5\nattempts 6\n}"), ":11", "set twice, first in line 10"},
		"client of three values":    {site("limits {\nclient 60 10m 600\n}"), ":10", "takes 2 or 4 values; write 'client 60 10m 600 24h'"},
		"client, a shorter second":  {site("limits {\nclient 60 10m 600 5m\n}"), ":9", "must be longer than the first, and its number no smaller"},
		"client, the same twice":    {site("limits {\nclient 60 10m 600 10m\n}"), ":9", "or 'client 60 10m' for one window"},
		"client, less in a longer":  {site("limits {\nclient 60 10m 59 24h\n}"), ":9", "write 'client 60 10m 600 24h'"},
		"number, less from all":     {site("limits {\nnumber 30 1h 5\n}"), ":9", "the last being the larger one"},
		"set twice":                 {site("region FR\nregion FR"), ":10", "set twice, first in line 9"},
		"no value":                  {site("path"), ":9", "path takes exactly one value"},
		"two values":                {site("path /a /b"), ":9", "path takes exactly one value"},
		"a block":                   {site("path /a {\nx\n}"), ":9", "path takes no block"},
		"an empty block":            {site("path /a {\n}"), ":9", "path takes no block"},
		"a block after a list":      {site("countries FR {\nGP\n}"), ":9", "countries takes no block"},
		"a block after a flag":      {site("optional {\n}"), ":9", "optional takes no block"},
		"a block after a duration":  {site("max_age 5m {\n}"), ":9", "max_age takes no block"},
		"a block after the brand":   {site("brand a {\n}"), ":9", "brand takes no block"},
		"cache without a name":      {site("cache"), ":9", "cache needs the name of a module, like 'cache memory'"},
		"idle off and more":         {site("session_idle off 5m"), ":9", "session_idle takes exactly one value"},
		"empty value":               {site(`brand ""`), ":9", "brand takes a name"},
		"brand of three":            {site("brand a b c"), ":9", "brand takes a name and perhaps a logo"},
		"flag with value":           {site("optional yes"), ":9", "optional takes no value"},
		"zero duration":             {site("session_ttl 0s"), ":9", "longer than 0; write it like"},
		"negative duration":         {site("attempt_ttl -1m"), ":9", "longer than 0"},
		"no duration":               {site("refused_ttl soon"), ":9", "longer than 0"},
		"zero idle":                 {site("session_idle 0"), ":9", "longer than 0"},
		"max_age":                   {site("max_age never"), ":9", "longer than 0"},
		"calling code as a country": {site("region 001"), ":9", "two upper-case letters of ISO 3166-1"},
		"unknown country":           {site("region XX"), ":9", "two upper-case letters of ISO 3166-1"},
		"lower-case country":        {site("region fr"), ":9", "two upper-case letters of ISO 3166-1"},
		"no country":                {site("countries FR XX"), ":9", `"XX" is no country`},
		"numbers taken for GP's":    {site("countries FR BL"), ":9", "has no numbers that can be told from those of GP; add GP"},
		"no countries":              {site("countries"), ":9", "takes one or more values"},
		"country of another plan":   {site("countries FR MA"), ":9", "write 'number_format e164' (or msisdn, or idd) in verifier dqe if DQE reads that, or remove MA from countries"},
		"another plan, written out": {strings.Replace(site("countries BE"), "licence code", "licence code\nnumber_format national", 1), ":10", "has no numbers of BE"},
		"another plan, global":      {"{\nnumber_verify {\n" + dqeBlock + "\ncountries FR MA\n}\n}\nwww.example.com\n", ":9", "remove MA from countries"},
		"another plan, two blocks":  {"{\nnumber_verify {\n" + dqeBlock + "\n}\n}\nhttp://localhost {\nnumber_verify {\nregion FR\ncountries FR MA\n}\n}", ":14", "remove MA from countries"},
		"another plan, other block": {"{\nnumber_verify {\ncountries FR MA\n}\n}\nhttp://localhost {\nnumber_verify {\nregion FR\n" + dqeBlock + "\n}\n}", ":9", "remove MA from countries"},
		"another plan, overridden":  {"{\nnumber_verify {\n" + strings.Replace(dqeBlock, "licence code", "licence code\nnumber_format idd", 1) + "\ncountries FR MA\n}\n}\nhttp://localhost {\nnumber_verify {\n" + dqeBlock + "\n}\n}", ":15", "remove MA from countries"},
		"path without slash":        {site("path verify"), ":9", "must begin with a slash"},
		"path is the site":          {site("path /"), ":9", "write it like /.number-verify"},
		"path with a query":         {site("path /a?b=c"), ":9", "no plain path"},
		"path, half a placeholder":  {site("path /a{b"), ":9", "no plain path"},
		"path with dots":            {site("path /a/../b"), ":9", "no plain path"},
		"prefix of the gate's own":  {site("cookie_name __Host-x"), ":9", "the gate adds __Host- itself"},
		"name of the other cookie":  {site("cookie_name my-browser"), ":9", "the gate adds __Host- itself, and -browser"},
		"cookie name with blank":    {site(`cookie_name "a b"`), ":9", "is no name for a cookie"},
		"cookie domain, injection":  {site(`cookie_domain "example.com;x"`), ":9", "write it like example.com"},
		"cookie domain with dot":    {site("cookie_domain .example.com"), ":9", "write it like example.com"},
		"cookie domain elsewhere":   {site("cookie_domain example.net"), ":9", "does not cover the public_url"},
		"headers without dash":      {site("headers X"), ":9", "write it like X-Verified-, or off"},
		"link with a password":      {site("privacy_url https://a:b@www.example.com"), ":9", "is no link"},
		"link to another host":      {site("fallback_url //www.example.com"), ":9", "is no link"},
		"javascript link":           {site("support_url javascript:alert(1)"), ":9", "is no link"},
		"constant number":           {site("number 0639980001"), ":9", "must be a placeholder"},
		"unknown provider":          {strings.Replace(site(""), "verifier dqe", "verifier other", 1), ":3", `no provider "other" in this Caddy; built in are dqe`},
		"provider without a name":   {strings.Replace(site(""), "verifier dqe {", "verifier {", 1), ":3", ""},
		"memory with an argument":   {site("cache memory 5"), ":9", ""},
		"argument after directive":  {"www.example.com {\nnumber_verify /a /b {\n" + dqeBlock + "\n}\n}", ":2", "takes no arguments but a matcher"},
		"argument, global":          {"{\nnumber_verify /a {\n}\n}\nwww.example.com\n", ":2", "takes no arguments; put options in a block"},
		"wrong value, global":       {"{\nnumber_verify {\nregion fr\n}\n}\nwww.example.com\n", ":3", "two upper-case letters"},
		"global, seen with a site":  {"{\nnumber_verify {\ncookie_domain example.com\n}\n}\nwww.example.net {\nnumber_verify {\npublic_url https://www.example.net\n" + dqeBlock + "\n}\n}", ":7", "does not cover the public_url"},
		"no verifier":               {"www.example.com {\nnumber_verify {\npublic_url https://www.example.com\n}\n}", ":2", "add a block 'verifier dqe"},
		"no public_url":             {"www.example.com {\nnumber_verify {\n" + dqeBlock + "\n}\n}", ":2", "add 'public_url https://www.example.com'"},
		"no public_url, any host":   {":8080 {\nnumber_verify {\n" + dqeBlock + "\n}\n}", ":2", "public_url"},
		"no public_url, one of two": {"http://localhost, http://www.example.com {\nnumber_verify {\n" + dqeBlock + "\n}\n}", ":2", "public_url"},
		"public_url, empty port":    {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://www.example.com:", 1), ":10", "must end with a port from 1 to 65535"},
		"public_url, port too high": {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://www.example.com:99999", 1), ":10", "must end with a port from 1 to 65535"},
		"public_url, port 0443":     {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://www.example.com:0443", 1), ":10", "must end with a port from 1 to 65535"},
		"public_url, port 0":        {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://www.example.com:0", 1), ":10", "must end with a port from 1 to 65535"},
		"public_url with a path":    {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://www.example.com/x", 1), ":10", "must end after the host or port"},
		"public_url, no scheme":     {strings.Replace(site(""), "public_url https://www.example.com", "public_url www.example.com", 1), ":10", "must begin with https:// or http://"},
		"public_url, wildcard":      {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://*.example.com", 1), ":10", "without wildcards"},
		"public_url with a query":   {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://www.example.com?x=1", 1), ":10", "must end after the host or port"},
		"public_url with a user":    {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://me@www.example.com", 1), ":10", "nothing before it"},
		"public_url of websockets":  {strings.Replace(site(""), "public_url https://www.example.com", "public_url wss://www.example.com", 1), ":10", "must begin with https:// or http://"},
		"second public_url":         {strings.Replace(site(""), "public_url https://www.example.com", "public_url https://www.example.com example.com", 1), ":10", "must begin with https:// or http://"},
		"public_url without value":  {strings.Replace(site(""), "public_url https://www.example.com", "public_url", 1), ":10", "takes one or more values"},
		"plain http server":         {strings.Replace(site(""), "https://dqe", "http://dqe", 1), ":4", "must begin with https://"},
		"no licence":                {strings.Replace(site(""), "licence code", "", 1), ":3", "licence is required"},
		"no secret":                 {strings.Replace(site(""), "client_secret {env.X_SECRET}", "", 1), ":3", "client_secret is required"},
		"secret and token":          {strings.Replace(site(""), "licence code", "licence code\ntoken x", 1), ":6", "exclude each other"},
		"verifier option, block":    {strings.Replace(site(""), "licence code", "licence code {\n}", 1), ":5", "licence takes no block"},
		"bad word":                  {strings.Replace(site(""), "licence code", "licence code\nmethod put", 1), ":6", "must be one of post, get"},
		"bad timeout":               {strings.Replace(site(""), "licence code", "licence code\ntimeout 0s", 1), ":6", "longer than 0"},
		"route option, global":      {"{\nnumber_verify {\nmax_age 5m\n}\n}\nwww.example.com\n", ":3", "belongs to a route"},
		"global option twice":       {"{\nnumber_verify {\n}\nnumber_verify {\n}\n}\nwww.example.com\n", ":4", "set twice"},
		"missing, in route":         {"www.example.com {\nroute /a* {\nhandle {\nnumber_verify {\n" + dqeBlock + "\n}\n}\n}\n}", ":4", "public_url: is required"},
		"shared path, two handles":  {"http://localhost {\nhandle /a* {\nnumber_verify {\n" + dqeBlock + "\n}\n}\nhandle {\nnumber_verify {\n" + dqeBlock + "\nnumber {http.auth.user.phone}\n}\n}\n}", ":13", "Caddyfile:3 share the path /.number-verify"},
		"nested in handle":          {"www.example.com {\nhandle /a* {\nnumber_verify {\ncolour red\n}\n}\n}", ":4", "unknown subdirective"},
		"path within another":       {"http://localhost {\nnumber_verify /a {\n" + dqeBlock + "\npath /nv\n}\nnumber_verify /b {\n" + dqeBlock + "\npath /nv/b\n}\n}", ":11", "Caddyfile:2 have paths within one another, /nv/b and /nv"},
		"path around another":       {"http://localhost {\nnumber_verify /a {\n" + dqeBlock + "\npath /nv/a\n}\nnumber_verify /b {\n" + dqeBlock + "\npath /nv\n}\n}", ":11", "Caddyfile:2 have paths within one another, /nv and /nv/a"},
		"shared path, other region": {"http://localhost {\nnumber_verify /a {\n" + dqeBlock + "\n}\nnumber_verify /b {\n" + dqeBlock + "\nregion BE\n}\n}", ":10", "Caddyfile:2 share the path /.number-verify"},
		"shared path, what to do":   {"http://localhost {\nnumber_verify /a {\n" + dqeBlock + "\n}\nnumber_verify /b {\n" + dqeBlock + "\nresult_wait 1m\n}\n}", ":10", "give one a path of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stage.Adapt(c.text)
			if err == nil {
				t.Fatal("it adapts")
			}
			if !strings.Contains(err.Error()+",", "at Caddyfile"+c.line+",") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want Caddyfile%s and %q in: %v", c.line, c.want, err)
			}
		})
	}
}

func TestMistakesNeverRepeatASecret(t *testing.T) {
	for _, line := range []string{"client_secret top secret phrase", "client_secret topsecretphrase {\nx\n}", "token top secret", "server https://topsecret@dqe.example.com", "client_secret x\n}\npublic_url https://me:topsecret@www.example.com\nsupport_url /a {", "client_secret x\n}\nsupport_url https://me:topsecret@www.example.com\ncache memory {"} {
		_, err := stage.Adapt("http://localhost {\nnumber_verify {\nverifier dqe {\nlicence code\nname x\n" + line + "\n}\n}\n}")
		if err == nil || strings.Contains(err.Error(), "secret phrase") || strings.Contains(err.Error(), "topsecret") || strings.Contains(err.Error(), "top secret") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestDirectivesThatMayShareAPath(t *testing.T) {
	for name, text := range map[string]string{
		"other age, headers, lifetimes": "http://localhost {\nnumber_verify /a {\n" + dqeBlock + "\n}\nnumber_verify /b {\n" + dqeBlock + "\nmax_age 5m\noptional\npass_errors\nheaders off\nsession_ttl 1h\nsession_idle 5m\n}\n}",
		"other path":                    "http://localhost {\nnumber_verify /a {\n" + dqeBlock + "\n}\nnumber_verify /b {\n" + dqeBlock + "\nregion BE\npath /.other\n}\n}",
		"other site":                    "http://localhost:1 {\nnumber_verify {\n" + dqeBlock + "\n}\n}\nhttp://localhost:2 {\nnumber_verify {\n" + dqeBlock + "\nregion BE\n}\n}",
		"defaults written out":          "http://localhost {\nnumber_verify /a {\n" + dqeBlock + "\n}\nnumber_verify /b {\n" + dqeBlock + "\nregion FR\npath /.number-verify/\ncache memory\nattempt_ttl 3m\n}\n}",
		"two handle blocks":             "http://localhost {\nhandle /a* {\nnumber_verify {\n" + dqeBlock + "\npath /a/.verify\n}\n}\nhandle /b* {\nnumber_verify {\n" + dqeBlock + "\npath /b/.verify\nregion BE\n}\n}\n}",
		"no block, all is global":       "{\nnumber_verify {\n" + dqeBlock + "\n}\n}\nhttp://localhost {\nnumber_verify /a\nnumber_verify /b {\nmax_age 1m\n}\n}",
		"loopback without public_url":   "http://localhost:8080, http://127.0.0.1:8080, http://[::1]:8080, http://app.localhost {\nnumber_verify {\n" + dqeBlock + "\n}\n}",
	} {
		if _, err := stage.Adapt(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlaceholderThatIsEmptyIsAnErrorAtLoad(t *testing.T) {
	for option, text := range map[string]string{
		"licence":    strings.Replace(dqeBlock, "licence code", "licence {env.X_EMPTY}", 1),
		"public_url": dqeBlock + "\npublic_url {env.X_EMPTY}",
		"brand":      dqeBlock + "\nbrand {env.X_EMPTY}",
	} {
		t.Setenv("X_SECRET", "topsecret")
		t.Setenv("X_EMPTY", "")
		config, err := stage.Adapt("http://localhost:0 {\nnumber_verify {\n" + text + "\n}\n}")
		if err != nil {
			t.Fatal(err)
		}
		err = stage.Validate(config)
		if err == nil || !strings.Contains(err.Error(), option+": ") || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v", option, err)
		}
	}
}

// FuzzCaddyfile holds that no block makes the directive panic, or adapt in two
// ways.
func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{"", dqeBlock, dqeBlock + "\nmax_age 5m\noptional\ncountries FR GP", "brand \"a\" b\nsession_idle off", "cache memory {\n}", "verifier", "path /{x}",
		"limits {\nnumber 5 1h 30\nclient 60 10m 600 24h\nglobal off\nattempts 5\nsessions 6\n}", "cache bolt /x {\nsecret a\n}",
		"cache redis a b:1 {\nusername a\npassword b\ntls {\nca c\n}\ntimeout 1s\nstale_if_error 2s\n}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, options string) {
		if strings.Contains(options, "import") {
			return // would read files
		}
		text := "http://localhost {\nnumber_verify {\n" + options + "\n}\n}\n"
		config, err := stage.Adapt(text)
		if err != nil {
			return
		}
		if again, err := stage.Adapt(text); err != nil || string(again) != string(config) {
			t.Errorf("adapting twice differs: %v\n%s\n%s", err, config, again)
		}
		if !json.Valid(config) {
			t.Errorf("no JSON: %s", config)
		}
	})
}
