package cachetest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/cache/sealed"
)

// Module is the cache as a module of Caddy. A Caddyfile names it by the last word
// of its ID: cache example.
type Module struct {
	// IndexSecrets protect the index keys.
	IndexSecrets []string `json:"secret,omitempty"`
}

func init() { caddy.RegisterModule(Module{}) }

// CaddyModule returns the Caddy module information.
func (Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.caches.example", New: func() caddy.Module { return new(Module) }}
}

// StoreName is the same for modules that share one store.
func (Module) StoreName() string { return "example" }

// Secrets returns none where the verifier's secret serves.
func (m Module) Secrets() []string { return m.IndexSecrets }

// Open opens the store.
func (Module) Open(_ *zap.Logger, codec cache.Codec) (cache.Cache, error) {
	return newTable(codec, time.Now), nil
}

// table is a cache.Cache that keeps sealed records in a map, in place of a database.
// Its lock makes each call one step.
type table struct {
	codec cache.Codec
	now   func() time.Time

	mu      sync.Mutex
	rows    map[cache.Ref]row // nil: closed
	counts  map[cache.Ref]*cache.Count
	version uint64
}

// row is a sealed record, with what must be known of it without its key.
type row struct {
	version uint64
	kind    cache.Kind
	ends    time.Time
	tags    [2]cache.Tag
	box     []byte // the sealed record
}

func newTable(codec cache.Codec, now func() time.Time) *table {
	return &table{codec: codec, now: now, rows: make(map[cache.Ref]row), counts: make(map[cache.Ref]*cache.Count)}
}

// begin locks the table, unless ctx has ended or the cache is closed.
func (t *table) begin(ctx context.Context) (end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	if t.rows == nil {
		t.mu.Unlock()
		return nil, cache.ErrClosed
	}
	return t.mu.Unlock, nil
}

// live returns the live record under key, or nil. A box that key does not open counts
// as none.
func (t *table) live(key cache.Key) *cache.Record {
	there, ok := t.rows[key.Ref()]
	if !ok {
		return nil
	}
	rec, err := sealed.Open(t.codec, key, there.box)
	if err != nil || !rec.Live(t.now()) {
		return nil
	}
	rec.Version = there.version
	return rec
}

// store seals rec and stores it, or deletes what is there if rec has no life left.
func (t *table) store(key cache.Key, rec *cache.Record) error {
	if !key.Kind.Stored() {
		return fmt.Errorf("example: unknown kind %d", key.Kind)
	}
	if !rec.Live(t.now()) {
		delete(t.rows, key.Ref())
		return nil
	}
	box, err := sealed.Seal(t.codec, key, rec)
	if err != nil {
		return err
	}
	t.version++
	rec.Version = t.version
	t.rows[key.Ref()] = row{version: rec.Version, kind: key.Kind, ends: rec.End(), tags: rec.Tags, box: box}
	return nil
}

// Get implements cache.Cache.
func (t *table) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	end, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if rec := t.live(key); rec != nil {
		return rec, nil
	}
	return nil, cache.ErrNotFound
}

// Put implements cache.Cache.
func (t *table) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	end, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return t.store(key, rec)
}

// Replace implements cache.Cache.
func (t *table) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	end, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	there := t.live(key)
	if (there == nil) != (old == nil) || there != nil && there.Version != old.Version {
		return cache.ErrConflict
	}
	damaged := there == nil && t.now().Before(t.rows[key.Ref()].ends)
	if damaged && key.Kind == cache.KindClaim {
		return cache.ErrConflict // a damaged claim still counts as claimed
	}
	return t.store(key, rec)
}

// Delete implements cache.Cache.
func (t *table) Delete(ctx context.Context, ref cache.Ref) error {
	end, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	delete(t.rows, ref)
	return nil
}

// Find implements cache.Cache. A real store has an index of tags.
func (t *table) Find(ctx context.Context, tag cache.Tag) (found []cache.Ref, err error) {
	end, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	for ref, there := range t.rows {
		if tag != (cache.Tag{}) && slices.Contains(there.tags[:], tag) && t.now().Before(there.ends) {
			found = append(found, ref)
		}
	}
	return found, nil
}

// Label implements cache.Cache.
func (t *table) Label(ctx context.Context, ref cache.Ref) ([]byte, error) {
	end, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	there, ok := t.rows[ref]
	if !ok || !t.now().Before(there.ends) {
		return nil, cache.ErrNotFound
	}
	return sealed.Label(there.box), nil
}

// Walk implements cache.Cache. It visits after the table is unlocked, since visit may
// use the cache. A real store reads its list in parts.
func (t *table) Walk(ctx context.Context, visit func(cache.Ref) error) error {
	sessions, err := t.sessions(ctx)
	if err != nil {
		return err
	}
	for _, ref := range sessions {
		if err := visit(ref); err != nil {
			return err
		}
	}
	return nil
}

// Sessions implements cache.Cache. A real store does not look at each of them.
func (t *table) Sessions(ctx context.Context) (int64, error) {
	sessions, err := t.sessions(ctx)
	return int64(len(sessions)), err
}

func (t *table) sessions(ctx context.Context) (refs []cache.Ref, err error) {
	end, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	for ref, there := range t.rows {
		if there.kind == cache.KindSession && t.now().Before(there.ends) {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// Count implements cache.Cache: of several limits all count or none.
func (t *table) Count(ctx context.Context, limits []cache.Limit) ([]cache.Counted, error) {
	keys, err := cache.Counters(limits)
	if err != nil {
		return nil, err
	}
	end, err := t.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	now := t.now()
	var reached *cache.LimitError
	with := make([]*cache.Count, len(limits))
	counted := make([]cache.Counted, len(limits))
	for i := range limits {
		count, total, retry := limits[i].Add(t.counts[keys[i].Ref()], now)
		if count == nil && (reached == nil || retry > reached.Retry) {
			reached = &cache.LimitError{Limit: i, Retry: retry}
		}
		with[i], counted[i] = count, cache.Counted{Counter: keys[i], Slot: limits[i].Slot(now), Total: total}
	}
	if reached != nil {
		return nil, reached
	}
	for i := range with {
		t.counts[keys[i].Ref()] = with[i]
	}
	return counted, nil
}

// Uncount implements cache.Cache.
func (t *table) Uncount(ctx context.Context, counted []cache.Counted) error {
	end, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for _, event := range counted {
		if count := t.counts[event.Counter.Ref()]; count != nil {
			t.counts[event.Counter.Ref()] = count.Without(event.Slot)
		}
	}
	return nil
}

// Close implements cache.Cache.
func (t *table) Close() error {
	end, err := t.begin(context.Background())
	if err != nil {
		return err
	}
	defer end()
	t.rows = nil
	return nil
}

// This is a whole cache: a module that opens it, and a table of records that package
// sealed has sealed. Two things are left out. A real cache bounds the number of its
// attempts and counters (cache.ErrFull), and it deletes records and counters that have
// ended. Its test is
//
//	func TestConformance(t *testing.T) {
//		cachetest.Run(t, func(_ *testing.T, now func() time.Time) cache.Cache {
//			return newTable(cachetest.Codec{}, now)
//		})
//	}
func Example() {
	ctx := context.Background()
	c, err := Module{}.Open(zap.NewNop(), cachetest.Codec{}) // the gate passes a codec of its own
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	key := cache.Key{Kind: cache.KindAttempt, Realm: "www.example.com", Secret: rand.Text()}
	record := func(text string) *cache.Record {
		return &cache.Record{Value: &cachetest.Value{Text: text}, Expires: time.Now().Add(time.Minute)}
	}
	started := record("started")
	fmt.Println("begin:", c.Replace(ctx, key, nil, started))
	fmt.Println("take it:", c.Replace(ctx, key, started, record("taken")))
	fmt.Println("take it again:", c.Replace(ctx, key, started, record("taken twice")))
	rec, err := c.Get(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("it was", rec.Value.(*cachetest.Value).Text)
	// Output:
	// begin: <nil>
	// take it: <nil>
	// take it again: cache: changed meanwhile
	// it was taken
}
