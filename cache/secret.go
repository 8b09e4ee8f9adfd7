package cache

import "errors"

// minSecret is the least number of bytes of a secret from which keys are derived.
const minSecret = 16

// CheckSecret returns an error if an Opener's secret is too short. The error does
// not repeat the secret.
func CheckSecret(secret string) error {
	if len(secret) < minSecret {
		return errors.New("must have at least 16 characters, random ones: 'openssl rand -base64 24' writes such")
	}
	return nil
}
