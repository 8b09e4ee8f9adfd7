// Package provider is the verifier as the gate sees it: what it says is checked
// here before it is used. link.go checks the URL that a visitor is sent to,
// operator.go the operator's name.
package provider
