package gate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/provider"
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
func (g *Gate) start(r *http.Request, s starter) *ledger.Press {
	return g.presses.do(r.Context(), g.pressKey(s), func() *ledger.Press {
		return g.press(context.WithoutCancel(r.Context()), s)
	})
}

// press looks for the same press, on whichever node, and begins an attempt where
// there is none.
func (g *Gate) press(ctx context.Context, s starter) *ledger.Press {
	patience, cancel := context.WithTimeout(ctx, startTime+pressTTL)
	defer cancel()
	for {
		earlier, rec, err := get[ledger.Press](patience, g, g.pressKey(s))
		switch {
		case errors.Is(err, cache.ErrNotFound):
			rec = nil
		case err != nil:
			return pressOf(g.failed("start", err))
		case earlier.Code != "":
			return earlier
		case earlier.URL == "":
			if !pause(patience, pressPoll) {
				return pressOf(Busy)
			}
			continue
		default:
			isWaiting, err := g.isWaiting(patience, s.origin, earlier.Attempt)
			if err != nil {
				return pressOf(g.failed("start", err)) // not billed twice for it
			}
			if isWaiting {
				return earlier
			}
		}
		press, err := g.firstPress(ctx, s, rec)
		if errors.Is(err, cache.ErrConflict) {
			continue // another node was faster
		}
		if err != nil {
			return pressOf(g.failed("start", err))
		}
		return press
	}
}

// pressOf is a press that was refused.
func pressOf(code Code) *ledger.Press { return &ledger.Press{Code: string(code)} }

// isWaiting tells whether the attempt's visitor has not come back yet.
func (g *Gate) isWaiting(ctx context.Context, o *origin, id string) (bool, error) {
	a, _, err := get[ledger.Attempt](ctx, g, g.attemptKey(o, id))
	if errors.Is(err, cache.ErrNotFound) {
		return false, nil
	}
	return err == nil && a.Phase == ledger.PhaseStarted && time.Now().Before(a.Deadline), err
}

// firstPress starts the attempt and leaves its answer for later presses, in place
// of an earlier one. Nothing is stored before the start is admitted.
// cache.ErrConflict means that the same press was made elsewhere.
func (g *Gate) firstPress(ctx context.Context, s starter, earlier *cache.Record) (*ledger.Press, error) {
	admitted, refused := g.admit(ctx, s)
	if refused != nil {
		return refused, nil
	}
	defer admitted.called(errNotCalled) // also where a cache panics
	if err := g.replace(ctx, g.pressKey(s), earlier, newClaim()); err != nil {
		g.withdraw(ctx, admitted)
		return nil, err
	}
	began := time.Now()
	press := g.beginClaimed(ctx, s, admitted)
	life := max(pressTTL-time.Since(began), failedPressTTL)
	if press.Code != "" {
		life = failedPressTTL
	}
	stored := *press
	if err := g.put(ctx, g.pressKey(s), &cache.Record{Value: &stored, Expires: time.Now().Add(life)}); err != nil {
		g.log.Warn("press not remembered", zap.Error(err))
	}
	return press, nil
}

// beginClaimed begins the attempt while the claim on its press is kept up.
func (g *Gate) beginClaimed(ctx context.Context, s starter, admitted *admission) *ledger.Press {
	letGo := g.keepClaimed(ctx, g.pressKey(s))
	defer letGo()
	return g.begin(ctx, s, admitted)
}

// newClaim is a press that is being answered.
func newClaim() *cache.Record {
	return &cache.Record{Value: &ledger.Press{}, Expires: time.Now().Add(claimTTL)}
}

// keepClaimed renews the claim on a press until letGo is called: only a node that
// lives keeps others waiting.
func (g *Gate) keepClaimed(ctx context.Context, key cache.Key) (letGo func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer g.survive("claim")
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

// begin makes the record of an admitted attempt, so that nothing is billed that
// could not be finished, calls the provider, and completes the record.
func (g *Gate) begin(ctx context.Context, s starter, admitted *admission) *ledger.Press {
	g.CheckSecret(ctx)
	nonce := newID()
	id := attemptID(nonce)
	key := g.attemptKey(s.origin, id)
	attempt := &ledger.Attempt{
		Phase: ledger.PhaseStarted, Browser: hashID(s.browser), Client: g.callerOf(s.client),
		Account: g.account, Number: s.number.E164, Region: s.number.Region,
		Return: s.back, Deadline: time.Now().Add(g.cfg.AttemptTTL),
		InFlight: admitted.inFlight, Counted: admitted.returned,
	}
	reserved := g.attemptRecord(attempt)
	if err := g.replace(ctx, key, nil, reserved); err != nil {
		g.withdraw(ctx, admitted)
		return pressOf(g.failed("start", err))
	}
	started, err := g.callStart(ctx, s, nonce)
	admitted.called(err)
	if err != nil {
		return pressOf(g.startFailed(ctx, s, key, attempt, err))
	}
	full := *attempt
	full.Operator, full.State, full.AskUntil = provider.OperatorName(started.Operator), started.State, started.Expires
	full.Method = string(started.Method)
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
	return &ledger.Press{Attempt: id, URL: started.URL}
}

// callStart has the provider begin the attempt, with a token of its own where the
// verifier needs one.
func (g *Gate) callStart(ctx context.Context, s starter, nonce string) (*verifier.Started, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	token, err := g.freshToken(ctx)
	if err != nil {
		return nil, err
	}
	request := verifier.StartRequest{
		Number: s.number.E164, CallbackURL: s.origin.url + g.cfg.Path + "/callback", State: nonce, Token: token.Value,
	}
	var started *verifier.Started
	err = g.guarded("start", func() (err error) {
		started, err = g.cfg.Verifier.Start(ctx, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	if started == nil {
		return nil, &verifier.Error{Call: "start", Err: errors.New("neither a verification nor an error")}
	}
	full := *started
	if full.URL, err = checkedLink(started, &request); err != nil {
		return nil, err
	}
	if !token.Expires.IsZero() && (full.Expires.IsZero() || token.Expires.Before(full.Expires)) {
		full.Expires = token.Expires
	}
	if full.Expires.IsZero() { // nobody knows: the gate's own limits are all there is
		full.Expires = time.Now().Add(g.cfg.AttemptTTL + g.cfg.ResultWait)
	}
	return &full, nil
}

// checkedLink is the URL of a verification, fit for a visitor.
func checkedLink(started *verifier.Started, request *verifier.StartRequest) (string, error) {
	callback, err := url.Parse(request.CallbackURL)
	if err != nil {
		return "", &verifier.Error{Class: verifier.Misconfigured, Call: "start", Err: errors.New("the callback address cannot be parsed")}
	}
	secrets := append([]string{request.Token}, started.Hidden...)
	if !started.ShowsState {
		secrets = append(secrets, request.State)
	}
	link, err := provider.CheckLink(started.URL, provider.LinkRules{Callback: callback, Hosts: started.Hosts, Secrets: secrets})
	if err != nil {
		return "", &verifier.Error{Call: "start", Operator: started.Operator, Err: err, Hint: "ask the provider about the url of this operator"}
	}
	return link, nil
}

// errTokenUsed says that a token has already served another attempt.
var errTokenUsed = errors.New("already used for another attempt")

// freshToken returns a token that has never served an attempt, in any realm and on
// any node; an empty one where the verifier needs none.
func (g *Gate) freshToken(ctx context.Context) (*verifier.Token, error) {
	source, ok := g.cfg.Verifier.(verifier.TokenSource)
	if !ok {
		return &verifier.Token{}, nil
	}
	var token *verifier.Token
	err := g.guarded("token", func() (err error) {
		token, err = source.Token(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if token == nil || token.Value == "" || !token.Remember.After(time.Now()) {
		return nil, &verifier.Error{Call: "token", Err: errors.New("no token, or one that would be forgotten at once")}
	}
	key := cache.Key{Kind: cache.KindClaim, Realm: g.account, Secret: token.Value}
	err = g.replace(ctx, key, nil, &cache.Record{Value: &ledger.Claim{}, Expires: token.Remember})
	if errors.Is(err, cache.ErrConflict) {
		return nil, &verifier.Error{Class: verifier.Misconfigured, Call: "token", Err: errTokenUsed,
			Hint: "a token serves one attempt: have a new one for each, or let the verifier fetch them itself"}
	}
	return token, err
}

// startFailed ends an attempt that the provider did not begin.
func (g *Gate) startFailed(ctx context.Context, s starter, key cache.Key, attempt *ledger.Attempt, err error) Code {
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

// notAllowed returns the visitor's code where the provider is not to be called. As
// long as that is so anybody can cause it, so it is logged in samples.
func (g *Gate) notAllowed(step string, err error) Code {
	code := codeOf(err)
	if leftOut, ok := g.samples.take("provider not called"); ok {
		g.log.Info("provider not called", zap.String("step", step), zap.String("code", string(code)), zap.Error(err), zap.Int64("left_out", leftOut))
	}
	return code
}

// failed logs an error that the site's operator may have to act on and returns
// the visitor's code for it.
func (g *Gate) failed(step string, err error) Code {
	code := codeOf(err)
	fields := []zap.Field{zap.String("step", step), zap.String("code", string(code)), zap.Error(err)}
	var refused *verifier.Error
	if errors.As(err, &refused) {
		fields = append(fields, zap.String("error_id", refused.ID), zap.String("operator", provider.OperatorName(refused.Operator)))
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
func (g *Gate) attemptRecord(a *ledger.Attempt) *cache.Record {
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
