package verifiertest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// withMistake makes a verifier that speaks the lab's silent protocol.
func withMistake(t *testing.T, mistake string) Subject {
	server := NewServer(t, newLab())
	return Subject{
		Far: server, Numbers: numbers, Secrets: []string{labLicence},
		New: func() verifier.Verifier { return newSilent(server.URL, mistake) },
	}
}

// oauthWithMistake makes one that speaks the other.
func oauthWithMistake(t *testing.T, mistake string) Subject {
	server := NewServer(t, newLab())
	subject := Subject{
		Far: server, Numbers: numbers, Secrets: []string{labLicence},
		New: func() verifier.Verifier { return &oauth{newSilent(server.URL, mistake)} },
	}
	subject.Numbers.Unsupported = "" // which only a call to start could tell
	return subject
}

func TestVerifierWithoutAMistakePasses(t *testing.T) {
	t.Run("silent", func(t *testing.T) {
		Run(t, func(t *testing.T) Subject { return withMistake(t, "") })
	})
	t.Run("OAuth", func(t *testing.T) {
		Run(t, func(t *testing.T) Subject {
			return oauthWithMistake(t, "")
		})
	})
}

// mistakes returns those that a fake can make, from its source: "check: mistake".
func mistakes(t *testing.T) []string {
	source, err := os.ReadFile("fakes_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = regexp.QuoteMeta(c.name)
	}
	var found []string
	for _, m := range regexp.MustCompile(`"((?:`+strings.Join(names, "|")+`): [^"]+)"`).FindAllStringSubmatch(string(source), -1) {
		found = append(found, m[1])
	}
	return found
}

// TestEachMistakeIsFoundByItsCheck shows that every check can fail.
func TestEachMistakeIsFoundByItsCheck(t *testing.T) {
	ofOAuth := map[string]bool{
		"start: shows the state without saying so": true, "refusals: burns whom the visitor denied": true, "refusals: quotes the callback": true,
		"callback proves nothing by itself: needs no code": true,
	}
	found := make(map[string]bool)
	for _, mistake := range mistakes(t) {
		name, _, _ := strings.Cut(mistake, ": ")
		for _, c := range checks {
			if c.name != name {
				continue
			}
			found[name] = true
			t.Run(mistake, func(t *testing.T) {
				setUp := withMistake
				if ofOAuth[mistake] {
					setUp = oauthWithMistake
				}
				subject := setUp(t, mistake)
				err := c.run(&bench{Subject: &subject, ctx: t.Context()})
				if err == nil {
					t.Fatal("not found")
				}
				t.Log(err)
			})
		}
	}
	for _, c := range checks {
		if !found[c.name] {
			t.Errorf("no mistake shows that %q can fail", c.name)
		}
	}
}
