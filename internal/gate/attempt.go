package gate

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// rememberEnded is how long an ended attempt is told from an unknown one.
	rememberEnded = 10 * time.Minute
	// settleTime is how long a request waits for the result before the visitor
	// sees the wait page.
	settleTime = 2 * time.Second
	// callTime bounds one call for the result, whatever the verifier's own
	// limit; after it another request may ask.
	callTime = 10 * time.Second
	// maxFailed is how many calls without a usable answer end the attempt.
	maxFailed = 3
)

// pauses are those between the calls for a result; the last one repeats.
var pauses = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}

func pauseAfter(asked int) time.Duration {
	return pauses[min(asked, len(pauses))-1]
}

// callback takes the browser back in. It accepts the nonce once, in time, and
// from the browser that started the attempt; from any other browser it ends the
// attempt for good: somebody had a visitor open an operator link of his own.
func (g *Gate) callback(w http.ResponseWriter, r *http.Request, v *Visit, o *origin) {
	query, nonce, ok := g.callbackQuery(v.url.RawQuery)
	if !ok {
		g.toProblem(w, r, AttemptUnknown, "")
		return
	}
	id := attemptID(nonce)
	key := g.attemptKey(o, id)
	browser, _ := v.secretCookie(o.browser)
	ctx := context.WithoutCancel(r.Context()) // a burning counts even if its cause hangs up
	for {
		a, rec, err := get[ledger.Attempt](ctx, g, key)
		if errors.Is(err, cache.ErrNotFound) || (err == nil && a.Account != g.account) {
			g.toProblem(w, r, AttemptUnknown, id)
			return
		}
		if err != nil {
			g.toProblem(w, r, g.failed("callback", err), id)
			return
		}
		if isOver(a) {
			g.afterEnd(w, r, v, o, a, browser)
			return
		}
		if isLate(a) {
			err = g.expire(ctx, o, key, rec, browser)
		} else if !sameBrowser(a, browser) {
			err = g.burn(ctx, key, rec, "another browser came back")
		} else if a.Phase == ledger.PhaseStarted {
			err = g.accept(ctx, o, key, rec, browser, query)
		} else {
			g.redirect(w, g.waitURL(id))
			return
		}
		switch {
		case errors.Is(err, cache.ErrConflict):
			continue // another callback was faster: look again
		case errors.Is(err, errBurned):
			g.toProblem(w, r, BrowserMismatch, id)
		case errors.Is(err, errExpired):
			g.toProblem(w, r, AttemptExpired, id)
		case err != nil:
			g.toProblem(w, r, g.failed("callback", err), id)
		default:
			g.proceed(w, r, v, o, id, browser, time.Now().Add(settleTime))
		}
		return
	}
}

// callbackQuery splits the query of a callback into the nonce and the rest.
func (g *Gate) callbackQuery(raw string) (rest url.Values, nonce string, ok bool) {
	rest, ok = g.parseCallback(raw)
	if !ok || len(rest["state"]) != 1 || !isID(rest["state"][0]) {
		return nil, "", false
	}
	nonce = rest["state"][0]
	rest.Del("state")
	return rest, nonce, true
}

// parseCallback reads the query of a callback as the verifier's provider writes it.
func (g *Gate) parseCallback(raw string) (url.Values, bool) {
	parser, ok := g.cfg.Verifier.(verifier.CallbackParser)
	if !ok {
		query, err := url.ParseQuery(raw)
		return query, err == nil
	}
	var query url.Values
	err := g.guarded("callback", func() error {
		query = parser.ParseCallback(raw)
		return nil
	})
	return query, err == nil
}

// What ends an attempt at its callback.
var (
	errBurned  = errors.New("attempt burned")
	errExpired = errors.New("attempt expired")
)

// burn ends an attempt for good. It returns errBurned, or why it could not.
func (g *Gate) burn(ctx context.Context, key cache.Key, rec *cache.Record, why string) error {
	ended, err := g.end(ctx, key, rec, string(BrowserMismatch))
	if err != nil {
		return err
	}
	g.log.Warn("attempt burned", zap.String("attempt", publicID(key.Secret)),
		zap.String("code", string(BrowserMismatch)), clientField(ctx),
		zap.String("number", phone.Mask(ended.Number)), zap.String("why", why))
	return errBurned
}

// expire ends an attempt whose callback came too late. It returns errExpired, or
// why it could not.
func (g *Gate) expire(ctx context.Context, o *origin, key cache.Key, rec *cache.Record, browser string) error {
	a := rec.Value.(*ledger.Attempt)
	if !sameBrowser(a, browser) {
		return errExpired // nothing to end, and not this browser's to be told
	}
	if err := g.finish(ctx, o, key, rec, browser, AttemptExpired); err != nil {
		return err
	}
	return errExpired
}

// accept takes the attempt: of all callbacks with its nonce one succeeds. A refusal
// of the provider ends the attempt; so does a verifier that panics, since it has
// said nothing of the callback. Any other error burns it.
func (g *Gate) accept(ctx context.Context, o *origin, key cache.Key, rec *cache.Record, browser string, query url.Values) error {
	a := *rec.Value.(*ledger.Attempt)
	var state verifier.State
	err := g.guarded("callback", func() (err error) {
		state, err = g.cfg.Verifier.Callback(a.State, query)
		return err
	})
	if errors.Is(err, errPanicked) {
		return errors.Join(err, g.finish(ctx, o, key, rec, browser, ProviderUnavailable))
	}
	if _, ok := errors.AsType[*verifier.Error](err); ok {
		return g.finish(ctx, o, key, rec, browser, g.failed("callback", err))
	}
	if err != nil {
		return g.burn(ctx, key, rec, "the callback was not the provider's: "+err.Error())
	}
	now := time.Now()
	a.Phase, a.State, a.ReturnedAt, a.AskAt = ledger.PhaseReturned, state, now, now
	return g.replace(ctx, key, rec, g.attemptRecord(&a))
}

// wait serves the page of an attempt that waits for its result.
func (g *Gate) wait(w http.ResponseWriter, r *http.Request, v *Visit, o *origin, id string) {
	browser, _ := v.secretCookie(o.browser)
	a, _, err := get[ledger.Attempt](r.Context(), g, g.attemptKey(o, id))
	switch {
	case errors.Is(err, cache.ErrNotFound) || (err == nil && (a.Phase == ledger.PhaseStarted || a.Account != g.account)):
		g.toProblem(w, r, AttemptUnknown, id)
	case err != nil:
		g.toProblem(w, r, g.failed("wait", err), id)
	case !sameBrowser(a, browser):
		g.toProblem(w, r, BrowserMismatch, id)
	case v.method == http.MethodHead:
		g.waitPage(w, r, id, a)
	default:
		g.proceed(w, r, v, o, id, browser, time.Now())
	}
}

// proceed brings an accepted attempt as far as it will come now, asking for the
// result where that is due before the given time, and sends the visitor on.
func (g *Gate) proceed(w http.ResponseWriter, r *http.Request, v *Visit, o *origin, id, browser string, until time.Time) {
	key := g.attemptKey(o, id)
	for {
		rec, err := g.settle(r.Context(), o, key, browser, until)
		if errors.Is(err, cache.ErrNotFound) {
			g.toProblem(w, r, AttemptUnknown, id)
			return
		}
		if err != nil {
			g.toProblem(w, r, g.failed("result", err), id)
			return
		}
		a := rec.Value.(*ledger.Attempt)
		switch a.Phase {
		case ledger.PhaseProven:
			if r.Context().Err() != nil {
				return // the visitor has gone: the next request makes the session
			}
			err := g.mint(w, r, v, o, browser, key, rec)
			if errors.Is(err, cache.ErrConflict) {
				continue
			}
			if err != nil {
				g.toProblem(w, r, g.failed("session", err), id)
				return
			}
			g.redirect(w, returnPath(a.Return, g.cfg.Path))
		case ledger.PhaseReturned:
			g.pending(w, r, v, id, a)
		default:
			g.afterEnd(w, r, v, o, a, browser)
		}
		return
	}
}

// pending answers while there is no result: a callback goes to the wait page,
// so that no token stays in the address bar.
func (g *Gate) pending(w http.ResponseWriter, r *http.Request, v *Visit, id string, a *ledger.Attempt) {
	if v.url.Path == g.cfg.Path+"/callback" {
		g.redirect(w, g.waitURL(id))
		return
	}
	g.waitPage(w, r, id, a)
}

// settle asks for the result as often as that is due before until, and returns
// how the attempt stands.
func (g *Gate) settle(ctx context.Context, o *origin, key cache.Key, browser string, until time.Time) (*cache.Record, error) {
	patience := time.Now().Add(settleTime)
	for {
		a, rec, err := get[ledger.Attempt](ctx, g, key)
		if err != nil || a.Phase != ledger.PhaseReturned {
			return rec, err
		}
		now := time.Now()
		if a.Asked > 0 && !now.Before(a.AskAt) && !now.Before(g.resultDeadline(a)) {
			err := g.finish(ctx, o, key, rec, browser, ResultTimeout)
			if err != nil && !errors.Is(err, cache.ErrConflict) {
				return nil, err
			}
			continue
		}
		if a.AskAt.After(until) && a.AskAt.After(now) {
			return rec, nil
		}
		if !pause(ctx, a.AskAt.Sub(now)) {
			return rec, nil // the visitor has gone
		}
		done, err := g.ask(ctx, o, key, rec, browser)
		if errors.Is(err, cache.ErrConflict) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !waitFor(ctx, done, time.Until(patience)) {
			return rec, nil
		}
	}
}

func waitFor(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// resultDeadline is until when the provider is asked. It is asked once all the
// same, and what an asker at work brings home still counts.
func (g *Gate) resultDeadline(a *ledger.Attempt) time.Time {
	deadline := a.ReturnedAt.Add(g.cfg.ResultWait)
	if a.AskUntil.Before(deadline) {
		return a.AskUntil
	}
	return deadline
}

// ask asks the provider for the result, once, if no other request does:
// cache.ErrConflict says that one does. The call goes on when the visitor's
// request ends, since its answer may be given only once; done is closed when
// the answer is in the cache.
func (g *Gate) ask(ctx context.Context, o *origin, key cache.Key, rec *cache.Record, browser string) (done <-chan struct{}, err error) {
	a := *rec.Value.(*ledger.Attempt)
	isLast := a.Asked == 0 && time.Until(g.resultDeadline(&a)) <= lastChance
	called, err := g.cfg.Account.breaker.Result(caller{a.Number, a.Client}, isLast)
	if err != nil {
		return closed, g.postpone(ctx, o, key, rec, browser, err)
	}
	defer func() {
		if done == nil { // also where a cache panics
			called(errNotCalled)
		}
	}()
	a.Asked++
	a.AskAt = time.Now().Add(callTime) // nobody else asks until then
	taken := g.attemptRecord(&a)
	if err := g.replace(ctx, key, rec, taken); err != nil {
		return nil, err
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		defer g.survive("result")
		ctx := context.WithoutCancel(ctx) // also for the record, when the call has used up its time
		call, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		var outcome verifier.Outcome
		err := g.guarded("result", func() (err error) {
			outcome, err = g.cfg.Verifier.Result(call, a.State)
			return err
		})
		called(err)
		if err := g.record(ctx, o, key, taken, browser, outcome, err); err != nil {
			g.log.Warn("result not recorded", zap.Error(err))
		}
	}()
	return finished, nil
}

// closed stands for a call that is over.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// postpone waits with asking while the provider is not to be called: what was paid
// for is not given up before its time.
func (g *Gate) postpone(ctx context.Context, o *origin, key cache.Key, rec *cache.Record, browser string, why error) error {
	a := *rec.Value.(*ledger.Attempt)
	now := time.Now()
	if !now.Before(g.resultDeadline(&a)) {
		return g.finish(ctx, o, key, rec, browser, g.notAllowed("result", why))
	}
	a.AskAt = now.Add(pauseAfter(a.Asked + 1))
	return g.replace(ctx, key, rec, g.attemptRecord(&a))
}

// record writes down what the provider said. Whatever is not a confirmation or
// a reason to ask again refuses. A conflict means that the attempt was burned
// meanwhile: then the answer no longer counts.
func (g *Gate) record(ctx context.Context, o *origin, key cache.Key, rec *cache.Record, browser string, outcome verifier.Outcome, err error) error {
	a := *rec.Value.(*ledger.Attempt)
	var refused *verifier.Error
	again := errors.As(err, &refused) && refused.Again
	if again {
		a.Failed++
	}
	switch {
	case err == nil && outcome == verifier.Verified:
		a.Phase, a.ProvenAt = ledger.PhaseProven, time.Now()
	case err == nil && outcome == verifier.Pending, again && a.Failed < maxFailed:
		a.AskAt = time.Now().Add(pauseAfter(a.Asked))
	case err == nil:
		return g.finish(ctx, o, key, rec, browser, NumberMismatch) // fail closed
	default:
		return g.finish(ctx, o, key, rec, browser, g.failed("result", err))
	}
	return g.replace(ctx, key, rec, g.attemptRecord(&a))
}

// end ends an attempt: of all who try one succeeds, and takes back what it has
// counted.
func (g *Gate) end(ctx context.Context, key cache.Key, rec *cache.Record, outcome string) (*ledger.Attempt, error) {
	a := rec.Value.(*ledger.Attempt)
	ended := *a
	ended.Phase, ended.Outcome, ended.State = ledger.PhaseEnded, outcome, nil
	ended.InFlight, ended.Counted = nil, nil
	if err := g.replace(ctx, key, rec, g.attemptRecord(&ended)); err != nil {
		return nil, err
	}
	g.release(ctx, a, outcome == verified)
	return &ended, nil
}

// finish ends an attempt with a refusal, which its browser is told.
func (g *Gate) finish(ctx context.Context, o *origin, key cache.Key, rec *cache.Record, browser string, code Code) error {
	ended, err := g.end(ctx, key, rec, string(code))
	if err != nil {
		return err
	}
	g.log.Info("not verified", zap.String("attempt", publicID(key.Secret)), zap.String("code", string(code)), clientField(ctx),
		zap.String("number", phone.Mask(ended.Number)), zap.String("operator", ended.Operator))
	return g.putRefusal(ctx, o, browser, code)
}

func (g *Gate) putRefusal(ctx context.Context, o *origin, browser string, code Code) error {
	return g.put(ctx, g.refusalKey(o, browser), &cache.Record{
		Value: &ledger.Refusal{Code: string(code)}, Expires: time.Now().Add(g.cfg.RefusedTTL),
	})
}

// isOver tells whether nothing can come of the attempt any more.
func isOver(a *ledger.Attempt) bool {
	switch a.Phase {
	case ledger.PhaseStarted, ledger.PhaseReturned, ledger.PhaseProven:
		return false
	default:
		return true
	}
}

// isLate tells whether the attempt's browser did not come back in time.
func isLate(a *ledger.Attempt) bool {
	return a.Phase == ledger.PhaseStarted && !time.Now().Before(a.Deadline)
}

// afterEnd answers a callback or a reload after the attempt's end: a verified
// visitor goes on, any other is told why not.
func (g *Gate) afterEnd(w http.ResponseWriter, r *http.Request, v *Visit, o *origin, a *ledger.Attempt, browser string) {
	back := "/"
	if sameBrowser(a, browser) {
		back = returnPath(a.Return, g.cfg.Path)
	}
	session, err := g.validSession(r, v, o, g.endpointRoute())
	switch {
	case err != nil:
		g.toProblem(w, r, CacheUnavailable, "")
	case session != nil:
		g.redirect(w, back)
	case a.Outcome == string(BrowserMismatch):
		g.toProblem(w, r, BrowserMismatch, "")
	case a.ReturnedAt.IsZero() && a.Outcome == string(AttemptExpired):
		g.toProblem(w, r, AttemptExpired, "")
	default:
		g.redirect(w, g.formURL(v, back, 0))
	}
}

func sameBrowser(a *ledger.Attempt, browser string) bool {
	hash := hashID(browser)
	return browser != "" && subtle.ConstantTimeCompare(hash[:], a.Browser[:]) == 1
}
