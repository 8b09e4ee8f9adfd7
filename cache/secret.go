package cache

import "errors"

// minSecret is how many bytes a secret must have that keys are derived from.
const minSecret = 16

// CheckSecret tells what is wrong with a secret that an Opener was configured
// with, without repeating it.
func CheckSecret(secret string) error {
	if len(secret) < minSecret {
		return errors.New("must have at least 16 characters, random ones: 'openssl rand -base64 24' writes such")
	}
	return nil
}
