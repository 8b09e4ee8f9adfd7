package redis

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/sealed"
)

// walkPage is how many sessions a walk asks for at a time.
const walkPage = 500

// member returns the member of the list of sessions for one version of a session. Each
// write of a session lists a member of its own, and takes off that of the version that
// it has replaced. So whatever is done at the same time, nobody takes off the member of a
// version that lives.
func member(ref cache.Ref, version string) string { return string(ref[:]) + version }

// Label implements cache.Cache. The server does not track the key, see trackable.
func (c *Cache) Label(ctx context.Context, ref cache.Ref) ([]byte, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	raw, err := c.raw(ctx, ref)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if raw == "" {
		return nil, cache.ErrNotFound
	}
	return sealed.Label([]byte(raw[min(versionSize, len(raw)):])), nil
}

// Sessions implements cache.Cache.
func (c *Cache) Sessions(ctx context.Context) (int64, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	n, err := c.countSessions(ctx)
	return n, c.failed(ctx, err)
}

func (c *Cache) countSessions(ctx context.Context) (int64, error) {
	client, err := c.connected()
	if err != nil {
		return 0, err
	}
	return sessionsScript.Exec(ctx, client, []string{c.sessionsKey()}, []string{c.scriptNow()}).AsInt64()
}

// Walk implements cache.Cache. It goes from early ends to late ones. A session that is
// used meanwhile moves on, towards what is still to come.
func (c *Cache) Walk(ctx context.Context, visit func(cache.Ref) error) error {
	next := page{size: walkPage}
	for !next.isLast {
		refs, err := c.turn(ctx, &next)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if err := visit(ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// page is a part of the list of sessions: up to size of those that end at from or later.
type page struct {
	from   float64
	size   int64
	seen   map[string]bool // of those that end at from, the ones that were visited
	isLast bool
}

// turn returns the live sessions of a page, and turns to the next one.
func (c *Cache) turn(ctx context.Context, p *page) ([]cache.Ref, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	listed, err := c.listed(ctx, p)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	live, err := c.existing(ctx, p.next(listed))
	return live, c.failed(ctx, err)
}

func (c *Cache) listed(ctx context.Context, p *page) ([]rueidis.ZScore, error) {
	client, err := c.connected()
	if err != nil {
		return nil, err
	}
	args := []string{c.scriptNow(), strconv.FormatFloat(p.from, 'f', -1, 64), strconv.FormatInt(p.size, 10)}
	return pageScript.Exec(ctx, client, []string{c.sessionsKey()}, args).AsZScores()
}

// next returns the sessions in listed, the content of the page, that were not visited
// yet, and turns to the next page. That begins with the last end again: more than fit on
// a page may end at the same time.
func (p *page) next(listed []rueidis.ZScore) (refs []cache.Ref) {
	p.isLast = int64(len(listed)) < p.size
	last, seen := p.from, make(map[string]bool)
	if len(listed) > 0 {
		last = listed[len(listed)-1].Score
	}
	for _, session := range listed {
		if session.Score == last {
			seen[session.Member] = true
		}
		if !p.seen[session.Member] && len(session.Member) == len(cache.Ref{})+versionSize {
			refs = append(refs, cache.Ref([]byte(session.Member)))
		}
	}
	if last == p.from {
		p.size *= 2
	} else {
		p.size = walkPage
	}
	p.from, p.seen = last, seen
	return refs
}
