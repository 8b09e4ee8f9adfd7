package gate

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// maxForm is the largest size of a posted form, in bytes.
const maxForm = 16 << 10

// ownFields reads the fields that a page of this site has posted. If the page is
// another site's, or the fields cannot be read, it answers, and ok is false.
func (x *exchange) ownFields() (fields url.Values, ok bool) {
	if err := x.cross.Check(x.r); err != nil {
		x.refuse(refusal.CrossOrigin, "/")
		return nil, false
	}
	fields, status := postedFields(x.w, x.r)
	if status != 0 {
		x.problemJSON(x.w, x.r, status, "")
		return nil, false
	}
	return fields, true
}

// postedFields reads a form or a JSON object of strings. The status is 0, or that of
// the refusal.
func postedFields(w http.ResponseWriter, r *http.Request) (fields url.Values, status int) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Header.Get("Content-Type") == "":
		return url.Values{}, 0 // a known number needs no form
	case err != nil:
		return nil, http.StatusUnsupportedMediaType
	case mediaType == "application/json":
		fields, err = jsonFields(r.Body)
	case mediaType == "application/x-www-form-urlencoded":
		err = r.ParseForm()
		fields = r.PostForm
	case mediaType == "multipart/form-data":
		err = r.ParseMultipartForm(maxForm)
		fields = r.PostForm
	default:
		return nil, http.StatusUnsupportedMediaType
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		return nil, http.StatusBadRequest
	default:
		return fields, 0
	}
}

func jsonFields(body io.Reader) (url.Values, error) {
	decoder := json.NewDecoder(body)
	var object struct {
		Number string `json:"number"`
		Return string `json:"return"`
	}
	if err := decoder.Decode(&object); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return url.Values{"number": {object.Number}, "return": {object.Return}}, nil
}
