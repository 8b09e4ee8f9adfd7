// Package percent decodes percent-encoding as lenient servers do: a % that begins
// no valid encoding stays as it is. Package net/url would refuse the whole string.
package percent

import "strings"

// Decode decodes s once.
func Decode(s string) string {
	return DecodeOnly(s, func(byte) bool { return true })
}

// DecodeOnly decodes s once, but leaves a byte encoded unless wanted returns true
// for it.
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

// hexDigit is one more than the value of a hexadecimal digit; 0 for other bytes.
var hexDigit = func() (table [256]byte) {
	for i, c := range []byte("0123456789abcdef") {
		table[c] = byte(i) + 1
	}
	for i, c := range []byte("ABCDEF") {
		table[c] = byte(i) + 11
	}
	return table
}()
