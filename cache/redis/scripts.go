package redis

import "github.com/redis/rueidis"

// swapScript stores ARGV[2] under KEYS[1] for ARGV[3] milliseconds, or deletes if that
// is 0, and returns 1. If the first 8 bytes there are not ARGV[1] ("" for no content),
// it returns 0 and changes nothing.
var swapScript = rueidis.NewLuaScript(`
if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then
	return 0
end
if ARGV[3] == '0' then
	redis.call('DEL', KEYS[1])
else
	redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
`)

// setScript stores ARGV[1] under KEYS[1] for ARGV[2] milliseconds, or deletes if that is
// 0, and returns the first 8 bytes of what stood there.
var setScript = rueidis.NewLuaScript(`
local old = redis.call('GETRANGE', KEYS[1], 0, 7)
if ARGV[2] == '0' then
	redis.call('DEL', KEYS[1])
else
	redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return old
`)

// luaNow sets now to ARGV[1], a Unix time in milliseconds, or to the server's time
// where that is empty: nodes whose clocks differ must not empty each other's counters.
const luaNow = `
local now = tonumber(ARGV[1])
if not now then
	local time = redis.call('TIME')
	now = time[1] * 1000 + math.floor(time[2] / 1000)
end
`

// listScript adds ARGV[3] to the list KEYS[1] for ARGV[2] milliseconds, and removes
// entries that have ended. If ARGV[4] is listed, ARGV[3] stays for at least as long: a
// walk goes from early ends to late ones, and must meet a session that was used meanwhile,
// even by a node whose clock is behind. The script is sent whole, not as a hash: the
// lists of a record lie on several nodes of a Cluster, and all are written in one round
// trip.
var listScript = rueidis.NewLuaScriptNoSha(luaNow + `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local ends = now + ARGV[2]
if ARGV[4] ~= '' then
	ends = math.max(ends, redis.call('ZSCORE', KEYS[1], ARGV[4]) or 0)
end
redis.call('ZADD', KEYS[1], string.format('%.0f', ends), ARGV[3])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', last[2] - now))
return 1
`)

// sessionsScript returns how many entries of the list KEYS[1] have not ended. ARGV[1] is
// the time.
var sessionsScript = rueidis.NewLuaScript(luaNow + `
return redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now), '+inf')
`)

// pageScript returns up to ARGV[3] entries of the list KEYS[1], with their ends: those
// that end first, but not before ARGV[2], and have not ended yet. ARGV[1] is the time.
var pageScript = rueidis.NewLuaScript(luaNow + `
local from = string.format('%.0f', math.max(now + 1, ARGV[2]))
return redis.call('ZRANGEBYSCORE', KEYS[1], from, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
`)

// countScript is cache.Limit.Add for all KEYS in one step. ARGV[1] is the time. For each
// key, three more arguments follow: the most events, the window and its part, the last
// two in milliseconds. It returns 0, and then the total and slot of each key. If limits
// are reached, it returns the one that has no room for longest, counted from 1, and the
// milliseconds until it has.
var countScript = rueidis.NewLuaScript(luaNow + `
local reached, longest = 0, 0
local slots, lives, counted = {}, {}, {0}
for i, key in ipairs(KEYS) do
	local most, window, part = tonumber(ARGV[3*i-1]), tonumber(ARGV[3*i]), tonumber(ARGV[3*i+1])
	local slot = math.floor(now / part)
	local held, live, total = redis.call('HGETALL', key), {}, 0
	for j = 1, #held, 2 do
		local at, n = tonumber(held[j]), tonumber(held[j+1])
		-- a clock that was wrong has counted what is more than a window ahead
		if now < (at + 1) * part + window and at * part <= now + window then
			live[#live+1] = {at, n}
			total = total + n
		else
			redis.call('HDEL', key, held[j])
		end
	end
	if total >= most then
		table.sort(live, function(a, b) return a[1] < b[1] end)
		local left, retry = total, window
		for _, s in ipairs(live) do
			left = left - s[2]
			if left < most then
				retry = (s[1] + 1) * part + window - now
				break
			end
		end
		if reached == 0 or retry > longest then
			reached, longest = i, retry
		end
	end
	slots[i], lives[i] = slot, window + part
	counted[2*i], counted[2*i+1] = total + 1, slot
end
if reached > 0 then
	return {reached, longest}
end
for i, key in ipairs(KEYS) do
	redis.call('HINCRBY', key, string.format('%.0f', slots[i]), 1)
	redis.call('PEXPIRE', key, string.format('%.0f', lives[i]))
end
return counted
`)

// totalScript is cache.Limit.Total for KEYS[1]. ARGV[1] is the time, ARGV[2] the window
// and ARGV[3] its part in milliseconds.
var totalScript = rueidis.NewLuaScript(luaNow + `
local window, part, total = tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local held = redis.call('HGETALL', KEYS[1])
for j = 1, #held, 2 do
	local at = tonumber(held[j])
	if now < (at + 1) * part + window and at * part <= now + window then
		total = total + tonumber(held[j+1])
	end
end
return total
`)

// uncountScript takes one event of slot ARGV[1] off the counter KEYS[1].
var uncountScript = rueidis.NewLuaScript(`
local n = redis.call('HGET', KEYS[1], ARGV[1])
if not n then
	return 0
end
if tonumber(n) > 1 then
	redis.call('HINCRBY', KEYS[1], ARGV[1], -1)
else
	redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
`)
