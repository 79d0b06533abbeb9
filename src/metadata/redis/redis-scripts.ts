/**
 * The rules of the store as Lua, which Redis runs one script at a time.
 *
 * The value of a key is a plain string under that key, so that Mooncake's engines GET and SET it. All else is beside it:
 *
 *   p2pstore:meta:state      hash    revision, compacted revision, size of the history, run id of the server
 *   p2pstore:meta:index      zset    every key, in byte order
 *   p2pstore:meta:revisions  hash    key -> revision, lease, SHA-1 of the value
 *   p2pstore:meta:history    stream  one entry for each change, its id is revision-position
 *   p2pstore:meta:leases     zset    lease -> when it ends, in ms of the server's clock
 *   p2pstore:meta:ttls       hash    lease -> its time in ms
 *   p2pstore:meta:lease:ID   set     the keys of a lease
 *   p2pstore:meta:commit:ID  string  how a commit went, for who lost the answer and asks again
 *
 * Every script first ends the leases whose time is over. A value that is not as we wrote it was set by another program:
 * whoever looks at it counts that as a change, at that moment. Keys on a lease also expire by themselves, a little
 * later, so that other programs do not see the dead for ever when none of ours is left.
 */

export const INTERNAL_PREFIX = 'p2pstore:meta:';

/** History kept for watches: whichever bound is met first. */
const HISTORY_EVENTS_MAX = 10_000;
const HISTORY_BYTES_MAX = 32 * 1024 * 1024;
/** How long a key outlives its lease for other programs, when nobody of ours ends it. */
const EXPIRY_GRACE_MS = 1000;
/** Longer than anybody tries to commit. */
const COMMIT_MEMORY_MS = 60_000;

const PRELUDE = `
local P = '${INTERNAL_PREFIX}'
local time = redis.call('TIME')
local NOW = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local function state(field) return tonumber(redis.call('HGET', P .. 'state', field) or '0') end
local revision = state('revision')

local function forget_lease_of(key)
  local known = redis.call('HGET', P .. 'revisions', key)
  if not known then return end
  local lease = string.match(known, '^%d+ (%d*) ')
  if lease ~= '' then redis.call('SREM', P .. 'lease:' .. lease, key) end
end

local function log(position, key, value)
  local id = text(revision) .. '-' .. position
  if value then redis.call('XADD', P .. 'history', id, 'k', key, 'v', value)
  else redis.call('XADD', P .. 'history', id, 'k', key) end
  redis.call('HINCRBY', P .. 'state', 'events', 1)
  redis.call('HINCRBY', P .. 'state', 'bytes', #key + #(value or ''))
end

local function trim()
  while state('events') > ${HISTORY_EVENTS_MAX} or state('bytes') > ${HISTORY_BYTES_MAX} do
    local first = redis.call('XRANGE', P .. 'history', '-', '+', 'COUNT', 1)[1]
    if not first then return end
    local oldest = string.match(first[1], '^(%d+)')
    for _, entry in ipairs(redis.call('XRANGE', P .. 'history', oldest, oldest)) do
      redis.call('XDEL', P .. 'history', entry[1])
      redis.call('HINCRBY', P .. 'state', 'events', -1)
      redis.call('HINCRBY', P .. 'state', 'bytes', -#entry[2][2] - #(entry[2][4] or ''))
    end
    redis.call('HSET', P .. 'state', 'compacted', oldest)
  end
end

local function note(key, value, lease)
  redis.call('HSET', P .. 'revisions', key, text(revision) .. ' ' .. lease .. ' ' .. redis.sha1hex(value))
  redis.call('ZADD', P .. 'index', 0, key)
end

local function drop(key)
  forget_lease_of(key)
  redis.call('DEL', key)
  redis.call('HDEL', P .. 'revisions', key)
  redis.call('ZREM', P .. 'index', key)
end

local function next_revision()
  revision = revision + 1
  redis.call('HSET', P .. 'state', 'revision', text(revision))
end

-- Writes are {key = , value = nil to delete, lease = '' for none}.
local function apply(writes)
  local position = 0
  for _, write in ipairs(writes) do
    if write.value or redis.call('HEXISTS', P .. 'revisions', write.key) == 1 then
      if position == 0 then next_revision() end
      position = position + 1
      if write.value then
        forget_lease_of(write.key)
        redis.call('SET', write.key, write.value)
        note(write.key, write.value, write.lease)
        if write.lease ~= '' then
          redis.call('SADD', P .. 'lease:' .. write.lease, write.key)
          local ends = redis.call('ZSCORE', P .. 'leases', write.lease)
          redis.call('PEXPIREAT', write.key, text(ends + ${EXPIRY_GRACE_MS}))
        end
      else
        drop(write.key)
      end
      log(position, write.key, write.value)
    end
  end
  if position > 0 then trim() end
end

local function end_lease(lease)
  local writes = {}
  for _, key in ipairs(redis.call('SMEMBERS', P .. 'lease:' .. lease)) do writes[#writes + 1] = { key = key } end
  apply(writes)
  redis.call('DEL', P .. 'lease:' .. lease)
  redis.call('ZREM', P .. 'leases', lease)
  redis.call('HDEL', P .. 'ttls', lease)
end

-- Returns value and revision of a key, after taking note of what others did to it.
local function look_up(key)
  local value = redis.call('GET', key)
  local known = redis.call('HGET', P .. 'revisions', key)
  if known and not value then
    apply({ { key = key } })
    return nil
  end
  if not value then return nil end
  if not known or string.sub(known, -40) ~= redis.sha1hex(value) then
    forget_lease_of(key)
    next_revision()
    note(key, value, '')
    log(1, key, value)
    trim()
    return value, text(revision)
  end
  return value, string.match(known, '^%d+')
end

for _, lease in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', NOW)) do end_lease(lease) end
`;

/** ARGV: run id. A server that was started anew may have lost the last changes: revisions go on above all there were. */
const INIT = `
if revision == 0 or redis.call('HGET', P .. 'state', 'run') ~= ARGV[1] then
  revision = math.max(revision + 1, NOW)
  redis.call('DEL', P .. 'history')
  redis.call('HSET', P .. 'state', 'revision', text(revision), 'compacted', text(revision), 'run', ARGV[1])
  redis.call('HSET', P .. 'state', 'events', 0, 'bytes', 0)
end
return text(revision)
`;

/** ARGV: key. Returns value and revision, or nothing. */
const GET = `
local value, at = look_up(ARGV[1])
if not value then return {} end
return { value, at }
`;

/** ARGV: lexical minimum and maximum, `1` for keys only. Returns the revision, then key, revision and value of each. */
const LIST = `
local entries = { '' }
local most = tonumber(ARGV[4])
for _, key in ipairs(redis.call('ZRANGEBYLEX', P .. 'index', ARGV[1], ARGV[2])) do
  if #entries > 3 * most then break end
  local value, at = look_up(key)
  if value then
    entries[#entries + 1] = key
    entries[#entries + 1] = at
    entries[#entries + 1] = ARGV[3] == '1' and '' or value
  end
end
entries[1] = text(revision)
return entries
`;

/**
 * ARGV: id of the commit; number of conditions; of each its kind, key or lexical minimum, revision or lexical maximum; then of
 * each write its kind, key, value and lease. Returns how it went and the revision or the lost lease.
 */
const COMMIT = `
local memory = P .. 'commit:' .. ARGV[1]
local before = redis.call('GET', memory)
if before then return { 'done', before } end
local at = 3
for _ = 1, tonumber(ARGV[2]) do
  local kind, first, second = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local holds
  if kind == 'prefix-empty' then
    holds = true
    for _, key in ipairs(redis.call('ZRANGEBYLEX', P .. 'index', first, second)) do
      if look_up(key) then holds = false break end
    end
  else
    local value, current = look_up(first)
    if kind == 'absent' then holds = not value else holds = value ~= nil and current == second end
  end
  if not holds then return { 'failed', text(revision) } end
  at = at + 3
end
local writes = {}
while at <= #ARGV do
  local kind, key, value, lease = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if lease ~= '' and not redis.call('ZSCORE', P .. 'leases', lease) then return { 'lease', lease } end
  look_up(key)
  writes[#writes + 1] = { key = key, value = kind == 'put' and value or nil, lease = lease }
  at = at + 4
end
apply(writes)
redis.call('SET', memory, text(revision), 'PX', ${COMMIT_MEMORY_MS})
return { 'done', text(revision) }
`;

/** ARGV: lease, its time in ms. */
const GRANT = `
redis.call('ZADD', P .. 'leases', text(NOW + ARGV[2]), ARGV[1])
redis.call('HSET', P .. 'ttls', ARGV[1], ARGV[2])
return 'OK'
`;

/** ARGV: lease. Returns its time, 0 when it has ended. */
const KEEP_ALIVE = `
local ttl = redis.call('HGET', P .. 'ttls', ARGV[1])
if not ttl then return '0' end
redis.call('ZADD', P .. 'leases', text(NOW + ttl), ARGV[1])
for _, key in ipairs(redis.call('SMEMBERS', P .. 'lease:' .. ARGV[1])) do
  redis.call('PEXPIREAT', key, text(NOW + ttl + ${EXPIRY_GRACE_MS}))
end
return ttl
`;

/** ARGV: lease. */
const REVOKE = `
end_lease(ARGV[1])
return 'OK'
`;

/** ARGV: first revision of interest. Returns `reset` when part of it is gone, else the revision and the entries of the history. */
const SINCE = `
if tonumber(ARGV[1]) <= state('compacted') then return { 'reset' } end
return { text(revision), redis.call('XRANGE', P .. 'history', ARGV[1], '+') }
`;

export type ScriptName = 'init' | 'get' | 'list' | 'commit' | 'grant' | 'keepAlive' | 'revoke' | 'since';

const BODIES: Readonly<Record<ScriptName, string>> = {
  init: INIT,
  get: GET,
  list: LIST,
  commit: COMMIT,
  grant: GRANT,
  keepAlive: KEEP_ALIVE,
  revoke: REVOKE,
  since: SINCE,
};

export function scriptText(name: ScriptName): string {
  return PRELUDE + BODIES[name];
}
