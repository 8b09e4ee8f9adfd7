// Package percent undoes percent-encoding as lenient servers do: what is no
// encoding stays as it is, where net/url refuses the whole.
package percent

import "strings"

// Decode undoes the percent-encoding of s, once.
func Decode(s string) string {
	return DecodeOnly(s, func(byte) bool { return true })
}

// DecodeOnly undoes the percent-encoding of those bytes of s that are wanted.
func DecodeOnly(s string, wanted func(byte) bool) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, low := hexDigit[s[i+1]], hexDigit[s[i+2]]
			if high != 0 && low != 0 {
				if c := (high-1)<<4 | (low - 1); wanted(c) {
					out = append(out, c)
					i += 2
					continue
				}
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// hexDigit is the value of a hexadecimal digit and one; 0 for anything else.
var hexDigit = func() (table [256]byte) {
	for i, c := range []byte("0123456789abcdef") {
		table[c] = byte(i) + 1
	}
	for i, c := range []byte("ABCDEF") {
		table[c] = byte(i) + 11
	}
	return table
}()
