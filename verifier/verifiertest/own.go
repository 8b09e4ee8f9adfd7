package verifiertest

import (
	"errors"
	"fmt"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// checkOwnCheck holds what a Checker finds to what is the case. Any other verifier
// passes.
func checkOwnCheck(b *bench) error {
	v := b.New()
	checker, ok := v.(verifier.Checker)
	if !ok {
		return nil
	}
	for _, fault := range []Fault{Works, Fails, Echoes, Garbles, Hangs} {
		found, err := b.look(checker, fault)
		if err == nil {
			err = b.badFindings(v, found, fault)
		}
		if err != nil {
			return fmt.Errorf("Check of a provider that %s: %w", fault, err)
		}
	}
	return nil
}

// look calls Check while the provider has a fault.
func (b *bench) look(checker verifier.Checker, fault Fault) ([]verifier.Finding, error) {
	ctx, mend := b.broken(fault)
	defer mend()
	var found []verifier.Finding
	var err error
	late := inTime(fault, func() {
		err = guarded(func() error {
			found = checker.Check(ctx)
			return nil
		})
	})
	if late != nil {
		return nil, late // and leaves found and err to the call that goes on
	}
	return found, err
}

// badFindings returns what is wrong with findings.
func (b *bench) badFindings(v verifier.Verifier, found []verifier.Finding, fault Fault) error {
	isWrong := false
	for _, f := range found {
		if what := b.revealing(v, f.Subject+"\n"+f.Text+"\n"+f.Remedy, nil); what != nil {
			return fmt.Errorf("a finding reveals %w", what)
		}
		if f.Subject == "" || f.Text == "" || f.Grade == verifier.Wrong && f.Remedy == "" {
			return fmt.Errorf("a finding lacks a subject, a text or a remedy: %+v", f)
		}
		isWrong = isWrong || f.Grade == verifier.Wrong
	}
	switch {
	case len(found) == 0:
		return errors.New("it finds nothing, not even that all is right")
	case isWrong != (fault != Works):
		return fmt.Errorf("it finds something wrong: %t", isWrong)
	default:
		return nil
	}
}
