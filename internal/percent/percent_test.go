package percent

import (
	"net/url"
	"testing"
)

func TestDecodeLeavesWhatIsNoEncoding(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "plain": "plain", "%41%4a%4A": "AJJ", "%2541": "%41", "%": "%", "%4": "%4", "%zz%41": "%zzA", "%%41": "%A", "%4%41": "%4A", "%00": "\x00", "%c3%A9": "é",
	} {
		if got := Decode(s); got != want {
			t.Errorf("%q becomes %q, not %q", s, got, want)
		}
	}
	if got := DecodeOnly("%2f%41%2F", func(c byte) bool { return c != '/' }); got != "%2fA%2F" {
		t.Errorf("slashes that nobody wanted: %q", got)
	}
}

// Decode agrees with net/url on every string that net/url can decode.
func FuzzDecode(f *testing.F) {
	f.Add("/a%2Fb%20c%")
	f.Fuzz(func(t *testing.T, s string) {
		if want, err := url.PathUnescape(s); err == nil && Decode(s) != want {
			t.Errorf("%q becomes %q, not %q", s, Decode(s), want)
		}
	})
}
