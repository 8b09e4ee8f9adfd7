package dqe

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// answer is an answer to any of DQE's calls. Types depend on the age of the server:
// numbers may be strings, and numVerify, a boolean today, may be a string.
type answer struct {
	Status      string
	ErrorID     json.RawMessage
	Operator    string
	AccessToken string
	ExpiresIn   json.RawMessage
	URL         string
	NumVerify   json.RawMessage
}

const (
	// defaultLifetime is that of a token if the answer gives none.
	defaultLifetime = 300 * time.Second
	// maxLifetime bounds the lifetime that an answer gives.
	maxLifetime = time.Hour
)

var errNonsense = errors.New("the answer is not what DQE documents")

// decode reads an answer. It returns DQE's error as a *verifier.Error, whose class
// depends on error_id alone: the texts vary, and the HTTP status is not documented.
// It returns errNonsense for what is no answer of DQE's.
func decode(call string, body []byte) (*answer, error) {
	fields, err := object(body)
	if err != nil {
		return nil, errNonsense // the cause could quote the body
	}
	var a answer
	for name, field := range map[string]any{
		"status": &a.Status, "error_id": &a.ErrorID, "operator": &a.Operator, "url": &a.URL,
		"access_token": &a.AccessToken, "expires_in": &a.ExpiresIn, "numVerify": &a.NumVerify,
	} {
		if raw, ok := fields[name]; ok && json.Unmarshal(raw, field) != nil {
			return nil, errNonsense
		}
	}
	if id := errorID(a.ErrorID); id != "" || a.Status == "error" {
		return nil, classify(call, id, a.Operator)
	}
	return &a, nil
}

// isToken tells whether a is the answer that issues a token.
func (a *answer) isToken() bool {
	return a.AccessToken != "" && (a.Status == "" || a.Status == "success")
}

// object reads a JSON object. It refuses one that has a name twice and keeps letter
// case, unlike json.Unmarshal, which takes the last of two equal names and ignores
// case: an answer must not say two things at once.
func object(body []byte) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return nil, errNonsense
	}
	fields := make(map[string]json.RawMessage)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		if _, ok := fields[name.(string)]; ok { // in an object, Token yields only strings as names
			return nil, errNonsense
		}
		fields[name.(string)] = value
	}
	if _, err := decoder.Token(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errNonsense
	}
	return fields, nil
}

// errorID returns the two-digit id, which may come as a number. It returns "" if
// there is none, and "?" if it cannot be read, so that it still refuses.
func errorID(raw json.RawMessage) string {
	text := strings.Trim(strings.TrimSpace(string(raw)), `"`)
	if text == "" || text == "null" {
		return ""
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n > 99 {
		return "?"
	}
	id := strconv.FormatUint(n, 10)
	if len(id) == 1 {
		id = "0" + id
	}
	return id
}

// lifetime reads expires_in: seconds, as a string or a number. It returns at most
// maxLifetime, and defaultLifetime if there is no valid number.
func lifetime(raw json.RawMessage) time.Duration {
	seconds, err := strconv.ParseFloat(strings.Trim(strings.TrimSpace(string(raw)), `" `), 64)
	if err != nil || !(seconds > 0) {
		return defaultLifetime
	}
	return time.Duration(min(seconds, maxLifetime.Seconds()) * float64(time.Second))
}

// outcome reads a result. Only true, "true" and "True" mean verified; any other value
// is a mismatch.
func outcome(a *answer) (verifier.Outcome, error) {
	switch a.Status {
	case "pending":
		return verifier.Pending, nil
	case "success":
	default:
		return verifier.Unknown, errNonsense
	}
	switch string(a.NumVerify) {
	case `true`, `"true"`, `"True"`:
		return verifier.Verified, nil
	default:
		return verifier.Unknown, &verifier.Error{Class: verifier.Mismatch, Call: callResult, Operator: a.Operator}
	}
}
