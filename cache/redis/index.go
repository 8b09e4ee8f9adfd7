package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/numberverify/caddy-number-verify/cache"
)

// list lists a record, which replaces old, before it is stored: under its tags, and if
// it is a session, among the sessions. A listed record that is not there does no harm,
// but one that is not listed could not be found and ended. A use of old is listed under
// the tags already.
func (c *Cache) list(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	client, err := c.connected()
	if err != nil {
		return err
	}
	var lists []rueidis.LuaExec
	add := func(list string, end time.Time, member, before string) {
		life := strconv.FormatInt(max(1, end.Sub(c.now()).Milliseconds()), 10)
		lists = append(lists, rueidis.LuaExec{Keys: []string{list}, Args: []string{c.scriptNow(), life, member, before}})
	}
	ref := key.Ref()
	for _, tag := range rec.Tags {
		if tag != (cache.Tag{}) && (old == nil || !rec.IsUseOf(old)) {
			add(c.tagKey(tag), rec.Expires, string(ref[:]), "")
		}
	}
	if key.Kind == cache.KindSession {
		before := ""
		if old != nil {
			before = member(ref, version(old))
		}
		add(c.sessionsKey(), rec.End(), member(ref, version(rec)), before)
	}
	for _, answer := range listScript.ExecMulti(ctx, client, lists...) {
		if err := answer.Error(); err != nil {
			return err
		}
	}
	return nil
}

// Find implements cache.Cache.
func (c *Cache) Find(ctx context.Context, tag cache.Tag) ([]cache.Ref, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	found, err := c.find(ctx, tag)
	return found, c.failed(ctx, err)
}

func (c *Cache) find(ctx context.Context, tag cache.Tag) ([]cache.Ref, error) {
	client, err := c.connected()
	if err != nil {
		return nil, err
	}
	// records that have ended may still be listed
	listed, err := client.Do(ctx, client.B().Zrange().Key(c.tagKey(tag)).Min("0").Max("-1").Build()).AsStrSlice()
	if err != nil || len(listed) == 0 {
		return nil, err
	}
	refs := make([]cache.Ref, 0, len(listed))
	for _, name := range listed {
		if len(name) == len(cache.Ref{}) {
			refs = append(refs, cache.Ref([]byte(name)))
		}
	}
	return c.existing(ctx, refs)
}

// existing returns those of refs under which something is stored.
func (c *Cache) existing(ctx context.Context, refs []cache.Ref) ([]cache.Ref, error) {
	client, err := c.connected()
	if err != nil {
		return nil, err
	}
	asked := make(rueidis.Commands, 0, len(refs))
	for _, ref := range refs {
		asked = append(asked, client.B().Exists().Key(c.recordKey(ref)).Build())
	}
	live := refs[:0]
	for i, answer := range client.DoMulti(ctx, asked...) {
		exists, err := answer.AsBool()
		if err != nil {
			return nil, err
		}
		if exists {
			live = append(live, refs[i])
		}
	}
	return live, nil
}

// Count implements cache.Cache.
func (c *Cache) Count(ctx context.Context, limits []cache.Limit) ([]cache.Counted, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	counted, err := c.count(ctx, limits)
	return counted, c.failed(ctx, err)
}

func (c *Cache) count(ctx context.Context, limits []cache.Limit) ([]cache.Counted, error) {
	client, err := c.connected()
	if err != nil || len(limits) == 0 {
		return nil, err
	}
	counters, err := cache.Counters(limits)
	if err != nil {
		return nil, err
	}
	keys, args := make([]string, 0, len(limits)), []string{c.scriptNow()}
	for i, counter := range counters {
		limit := &limits[i]
		keys = append(keys, c.counterKey(counter.Ref()))
		for _, n := range []int64{limit.Max, limit.Window.Milliseconds(), limit.Part()} {
			args = append(args, strconv.FormatInt(n, 10))
		}
	}
	answer, err := countScript.Exec(ctx, client, keys, args).AsIntSlice()
	if err != nil {
		return nil, err
	}
	if len(answer) == 2 && answer[0] > 0 && answer[0] <= int64(len(limits)) {
		return nil, &cache.LimitError{Limit: int(answer[0] - 1), Retry: time.Duration(answer[1]) * time.Millisecond}
	}
	if len(answer) != 1+2*len(limits) || answer[0] != 0 {
		return nil, errAnswer
	}
	counted := make([]cache.Counted, len(limits))
	for i, counter := range counters {
		counted[i] = cache.Counted{Counter: counter, Total: answer[1+2*i], Slot: answer[2+2*i]}
	}
	return counted, nil
}

// Total implements cache.Totaler.
func (c *Cache) Total(ctx context.Context, limit cache.Limit) (int64, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	total, err := c.total(ctx, limit)
	return total, c.failed(ctx, err)
}

func (c *Cache) total(ctx context.Context, limit cache.Limit) (int64, error) {
	client, err := c.connected()
	if err != nil {
		return 0, err
	}
	args := []string{c.scriptNow(), strconv.FormatInt(limit.Window.Milliseconds(), 10), strconv.FormatInt(limit.Part(), 10)}
	return totalScript.Exec(ctx, client, []string{c.counterKey(limit.Counter().Ref())}, args).AsInt64()
}

// Uncount implements cache.Cache.
func (c *Cache) Uncount(ctx context.Context, counted []cache.Counted) error {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return c.failed(ctx, c.uncount(ctx, counted))
}

func (c *Cache) uncount(ctx context.Context, counted []cache.Counted) error {
	client, err := c.connected()
	if err != nil {
		return err
	}
	for _, event := range counted {
		slot := []string{strconv.FormatInt(event.Slot, 10)}
		if err := uncountScript.Exec(ctx, client, []string{c.counterKey(event.Counter.Ref())}, slot).Error(); err != nil {
			return err
		}
	}
	return nil
}

// scriptNow returns the time as the first argument of scripts; "" stands for the
// server's own clock.
func (c *Cache) scriptNow() string {
	if c.opts.serverNow == nil {
		return ""
	}
	return strconv.FormatInt(c.opts.serverNow().UnixMilli(), 10)
}
