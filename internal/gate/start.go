package gate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// pressTTL is how long the same press of the button leads to the same
	// attempt.
	pressTTL = 15 * time.Second
	// claimTTL is how long a press that is being answered keeps others waiting
	// once its node has died.
	claimTTL = 3 * time.Second
	// failedPressTTL is the same for one that failed: long enough for those
	// that wait for it, too short for a person who tries again.
	failedPressTTL = time.Second
	// startTime bounds the calls of a start, whatever the verifier's own limit.
	startTime = 25 * time.Second
	// pressPoll is how often a second press looks for the first one's answer.
	pressPoll = 50 * time.Millisecond
)

// starter is what one press of the button stands for.
type starter struct {
	origin  *origin
	browser string // the browser cookie
	number  phone.Number
	back    string // return path
	client  client
}

func (g *Gate) pressKey(s starter) cache.Key {
	return g.browserKey(cache.KindPress, s.origin, s.browser+" "+s.number.E164+" "+s.back)
}

// start begins an attempt, or finds that of the same press a moment ago: an
// impatient tap is not billed twice. The press it returns has a URL, or a code.
// The work goes on when the visitor's request ends, since the second tap ends the
// first request.
func (g *Gate) start(r *http.Request, s starter) *cache.Press {
	ctx, cancel := context.WithTimeout(r.Context(), startTime+pressTTL)
	defer cancel()
	for {
		press, rec, err := get[cache.Press](ctx, g, g.pressKey(s))
		switch {
		case errors.Is(err, cache.ErrNotFound):
			rec = nil
		case err != nil:
			return pressOf(g.failed("start", err))
		case press.Code != "":
			return press
		case press.URL == "":
			if !pause(ctx, pressPoll) {
				return pressOf(Busy)
			}
			continue
		case g.isWaiting(ctx, s.origin, press.Attempt):
			return press
		}
		err = g.replace(ctx, g.pressKey(s), rec, newClaim())
		if errors.Is(err, cache.ErrConflict) {
			continue
		}
		if err != nil {
			return pressOf(g.failed("start", err))
		}
		return g.firstPress(context.WithoutCancel(ctx), s)
	}
}

// pressOf is a press that was refused.
func pressOf(code Code) *cache.Press { return &cache.Press{Code: string(code)} }

// isWaiting tells whether the attempt's visitor has not come back yet.
func (g *Gate) isWaiting(ctx context.Context, o *origin, id string) bool {
	a, _, err := get[cache.Attempt](ctx, g, g.attemptKey(o, id))
	return err == nil && a.Phase == cache.PhaseStarted && time.Now().Before(a.Deadline)
}

// firstPress starts the attempt and leaves its answer for later presses.
func (g *Gate) firstPress(ctx context.Context, s starter) *cache.Press {
	began := time.Now()
	letGo := g.keepClaimed(ctx, g.pressKey(s))
	press := g.begin(ctx, s)
	letGo()
	life := max(pressTTL-time.Since(began), failedPressTTL)
	if press.Code != "" {
		life = failedPressTTL
	}
	stored := *press
	if err := g.put(ctx, g.pressKey(s), &cache.Record{Value: &stored, Expires: time.Now().Add(life)}); err != nil {
		g.log.Warn("press not remembered", zap.Error(err))
	}
	return press
}

// newClaim is a press that is being answered.
func newClaim() *cache.Record {
	return &cache.Record{Value: &cache.Press{}, Expires: time.Now().Add(claimTTL)}
}

// keepClaimed renews the claim on a press until letGo is called: only a node that
// lives keeps others waiting.
func (g *Gate) keepClaimed(ctx context.Context, key cache.Key) (letGo func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, claimTTL/3) {
			if err := g.put(ctx, key, newClaim()); err != nil && ctx.Err() == nil {
				g.log.Warn("press not claimed any longer", zap.Error(err))
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// begin counts the start and makes the attempt's record, so that nothing is
// billed that was too much or could not be finished, calls the provider, and
// completes the record.
func (g *Gate) begin(ctx context.Context, s starter) *cache.Press {
	g.CheckSecret(ctx)
	nonce := newID()
	id := attemptID(nonce)
	key := g.attemptKey(s.origin, id)
	attempt := &cache.Attempt{
		Phase: cache.PhaseStarted, Browser: hashID(s.browser), Client: g.callerOf(s.client),
		Account: g.account, Number: s.number.E164, Region: s.number.Region,
		Return: s.back, Deadline: time.Now().Add(g.cfg.AttemptTTL),
	}
	counted, code, retry := g.admit(ctx, s, attempt)
	if code != "" {
		return &cache.Press{Code: string(code), RetryAt: retryAt(retry)}
	}
	// only now: what a limit refuses must not take up calls
	done, err := g.cfg.Breaker.Start(caller{s.number.E164, attempt.Client})
	if err != nil {
		g.uncount(ctx, counted)
		return &cache.Press{Code: string(g.notAllowed("start", err)), RetryAt: suspendedUntil(err)}
	}
	reserved := g.attemptRecord(attempt)
	if err := g.replace(ctx, key, nil, reserved); err != nil {
		done(errNotCalled)
		g.uncount(ctx, counted)
		return pressOf(g.failed("start", err))
	}
	started, err := g.callStart(ctx, s, nonce)
	done(err)
	if err != nil {
		return pressOf(g.startFailed(ctx, s, key, attempt, err))
	}
	full := *attempt
	full.Operator, full.State, full.AskUntil = operatorName(started.Operator), started.State, started.Expires
	if full.AskUntil.Before(full.Deadline) {
		full.Deadline = full.AskUntil
	}
	if err := g.replace(ctx, key, reserved, g.attemptRecord(&full)); err != nil {
		return pressOf(g.startFailed(ctx, s, key, attempt, err))
	}
	if err := g.remove(ctx, g.refusalKey(s.origin, s.browser).Ref()); err != nil {
		g.log.Warn("earlier refusal not forgotten", zap.Error(err))
	}
	g.log.Info("attempt started", zap.String("attempt", publicID(id)), clientField(ctx),
		zap.String("number", phone.Mask(full.Number)), zap.String("operator", full.Operator))
	return &cache.Press{Attempt: id, URL: started.URL}
}

// callStart has the provider begin the attempt.
func (g *Gate) callStart(ctx context.Context, s starter, nonce string) (*verifier.Started, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var started *verifier.Started
	err := g.guarded("start", func() (err error) {
		started, err = g.cfg.Verifier.Start(ctx, verifier.StartRequest{
			Number:      s.number.E164,
			CallbackURL: s.origin.url + g.cfg.Path + "/callback",
			State:       nonce,
			Claim:       g.claim,
		})
		return err
	})
	if err == nil && (started == nil || started.URL == "") {
		err = &verifier.Error{Call: "start", Err: errors.New("no address to send the visitor to")}
	}
	return started, err
}

func retryAt(after time.Duration) time.Time {
	if after == 0 {
		return time.Time{}
	}
	return time.Now().Add(after)
}

// startFailed ends an attempt that the provider did not begin.
func (g *Gate) startFailed(ctx context.Context, s starter, key cache.Key, attempt *cache.Attempt, err error) Code {
	code := g.failed("start", err)
	g.release(ctx, attempt, false)
	if err := errors.Join(
		g.remove(ctx, key.Ref()),
		g.putRefusal(ctx, s.origin, s.browser, code),
	); err != nil {
		g.log.Warn("failed start not recorded", zap.Error(err))
	}
	return code
}

// claim lets each value serve one attempt, in all realms and on all nodes.
func (g *Gate) claim(ctx context.Context, value string, until time.Time) error {
	key := cache.Key{Kind: cache.KindClaim, Realm: g.account, Secret: value}
	err := g.replace(ctx, key, nil, &cache.Record{Value: &cache.Claim{}, Expires: until})
	if errors.Is(err, cache.ErrConflict) {
		return verifier.ErrClaimed
	}
	return err
}

// notAllowed returns the visitor's code where the provider is not to be called.
func (g *Gate) notAllowed(step string, err error) Code {
	g.log.Info("provider not called", zap.String("step", step), zap.String("code", string(codeOf(err))), zap.Error(err))
	return codeOf(err)
}

// failed logs an error that the site's operator may have to act on and returns
// the visitor's code for it.
func (g *Gate) failed(step string, err error) Code {
	code := codeOf(err)
	fields := []zap.Field{zap.String("step", step), zap.String("code", string(code)), zap.Error(err)}
	var refused *verifier.Error
	if errors.As(err, &refused) {
		fields = append(fields, zap.String("error_id", refused.ID), zap.String("operator", operatorName(refused.Operator)))
		if refused.Hint != "" {
			fields = append(fields, zap.String("hint", refused.Hint))
		}
	}
	g.log.Log(severity(code, refused, err), "verification failed", fields...)
	return code
}

// severity is an error where somebody has to mend something, a warning where
// more of the same would be a reason to look.
func severity(code Code, refused *verifier.Error, err error) zapcore.Level {
	switch {
	case errors.Is(err, context.Canceled):
		return zapcore.DebugLevel // the visitor went away
	case code == ProviderMisconfigured, code == ProviderUnavailable, code == CacheUnavailable:
		return zapcore.ErrorLevel
	case code == OperatorUnavailable, code == Busy, refused != nil && refused.Hint != "":
		return zapcore.WarnLevel
	default:
		return zapcore.InfoLevel
	}
}

// attemptID derives the attempt's id from its nonce: the key of its record, and
// the id of its wait page. Neither nonce nor hash of it can be told from the id.
func attemptID(nonce string) string {
	sum := sha256.Sum256([]byte("attempt\x00" + nonce))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func (g *Gate) attemptKey(o *origin, id string) cache.Key {
	return cache.Key{Kind: cache.KindAttempt, Realm: o.realm, Secret: id}
}

// attemptRecord keeps an attempt for a while beyond its end, so that a late
// callback is told what happened.
func (g *Gate) attemptRecord(a *cache.Attempt) *cache.Record {
	end := a.Deadline
	if end.Before(a.AskUntil) {
		end = a.AskUntil
	}
	return &cache.Record{Value: a, Expires: end.Add(rememberEnded), Tags: g.tags(a.Number, sourcesOf(a.Browser))}
}

// pause waits; it returns false where ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
