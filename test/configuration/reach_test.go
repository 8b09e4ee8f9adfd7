package configuration_test

import (
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// A gate whose own pages nobody can reach locks everybody out: loading it says so.
func TestGateWhosePagesNobodyCanReachDoesNotLoad(t *testing.T) {
	const gate = "number_verify {\npublic_url http://SITE\nVERIFIER\n}\n"
	for name, c := range map[string]struct{ site, want string }{
		"handle":           {"handle /account/* {\n" + gate + "}", "like 'path /account/.number-verify'"},
		"named matcher":    {"@a path /account/*\nhandle @a {\n" + gate + "}", "like 'path /account/.number-verify'"},
		"route":            {"route /account/* {\n" + gate + "}", "like 'path /account/.number-verify'"},
		"handle_path":      {"handle_path /account/* {\n" + gate + "}", "like 'path /account/.number-verify'"},
		"nested":           {"handle {\nhandle /account/* {\nroute {\n" + gate + "}\n}\n}", "like 'path /account/.number-verify'"},
		"regexp":           {"@a path_regexp ^/account\nhandle @a {\n" + gate + "}", "give it a 'path' that the matcher matches"},
		"left out by name": {"@a not path /.number-verify/*\nhandle @a {\n" + gate + "}", "give it a 'path' that the matcher matches"},
		"one site of two":  {"handle /account/* {\n" + gate + "}\n}\nhttp://localhost:PORT {\n" + gate, "like 'path /account/.number-verify'"},
		"one page":         {"handle /account {\n" + gate + "}", "add '/.number-verify/*' to the matcher"},
		"a suffix":         {"@a path *.php\nhandle @a {\n" + gate + "}", "add '/.number-verify/*' to the matcher"},
		"invoked":          {"handle /account/* {\ninvoke gate\n}", "like 'path /account/.number-verify'"},
		"two of them":      {"handle /a/* {\n" + gate + "}\nhandle /b/* {\n" + gate + "}", "like 'path "},
	} {
		t.Run(name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			named := "&(gate) {\n" + gate + "}\n"
			err := w.TryLoad("", named+"http://SITE {\n"+c.site+"\n}\n")
			if err == nil || !strings.Contains(err.Error(), "no visitor can reach the gate's own pages under /.number-verify") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("loading says %v", err)
			}
		})
	}
	for name, site := range map[string]string{
		"path within":            "handle /account/* {\n" + strings.Replace(gate, "{", "{\npath /account/.number-verify", 1) + "}",
		"matcher of others":      "@get method GET POST\nhandle @get {\n" + gate + "}",
		"host":                   "@host host " + "127.0.0.1" + "\nhandle @host {\n" + gate + "}",
		"one of two":             "handle /a/* {\n" + gate + "}\nhandle {\n" + gate + "}",
		"both named":             "@a path /account/* /.number-verify/*\nhandle @a {\n" + gate + "}",
		"after one of the site":  "rewrite * /app{uri}\nhandle /app/* {\n" + gate + "}",
		"after a rewrite":        "route {\nrewrite * /app{uri}\nroute /app/* {\n" + gate + "}\n}",
		"rewritten within":       "route {\nroute {\nrewrite * /app{uri}\n}\nroute /app/* {\n" + gate + "}\n}",
		"by a placeholder":       "@a path {env.TEST_NOTHING}/account/*\nhandle @a {\n" + gate + "}",
		"named route":            "handle /account/* {\n" + gate + "}\nhandle {\ninvoke gate\n}",
		"beside one of the site": strings.Replace(gate, "{", "/other/* {", 1) + "handle /account/* {\n" + gate + "}",
	} {
		t.Run(name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			named := "&(gate) {\n" + gate + "}\n"
			if err := w.TryLoad("", named+"http://SITE {\n"+site+"\n}\n"); err != nil {
				t.Errorf("loading says %v", err)
			}
		})
	}
}
