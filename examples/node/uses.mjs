// What the shop in examples/api does with Redis, from Node.js, with the scripts of `applications` on the same keys: a session that
// Python began is one here, and a lock that is held here is held there. `redis` is one of node-redis/commands.mjs and ioredis/commands.mjs.
import { randomBytes } from "node:crypto";
import { patiently } from "./common.mjs";

const PERSON_SECONDS = 2; // so long a person waits for an answer
const SESSION_MS = 1800 * 1000;

// A value that `load` gives, kept for a while; entries end at different moments. Without Redis every caller loads for himself.
export async function cached(redis, name, seconds, load) {
  const key = `page:${name}`;
  const kept = await redis.get(key).catch(() => null);
  if (kept !== null) return kept;
  const loaded = await load();
  await redis.setFor(key, loaded, Math.floor(seconds * 1000 * (0.8 + 0.2 * Math.random()))).catch(() => {});
  return loaded;
}

const START = `
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
`;
const USE = `
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('HGET', KEYS[1], 'user')
`;
const LOGOUT = `
redis.call('SET', KEYS[2], 1, 'PX', ARGV[1])
return redis.call('DEL', KEYS[1])
`;
const sessionKeys = (session) => [`session:{${session}}`, `session:{${session}}:out`]; // the braces: one slot of a cluster

export async function beginSession(redis, user) {
  const session = randomBytes(32).toString("base64url"); // chosen here, so that a repeated call begins no second one
  await patiently(() => redis.run(START, sessionKeys(session), [SESSION_MS, "user", user]), PERSON_SECONDS);
  return session;
}

// Whose session it is, and another half hour for it; null when there is none.
export const sessionUser = (redis, session) =>
  patiently(() => redis.run(USE, sessionKeys(session).slice(0, 1), [SESSION_MS]), PERSON_SECONDS);

export const endSession = (redis, session) =>
  patiently(() => redis.run(LOGOUT, sessionKeys(session), [SESSION_MS]), PERSON_SECONDS);

const COUNT = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = math.floor(now / ARGV[2])
local held, count = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
count = held and tonumber(held) == window and tonumber(count) or 0
if count >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], string.format('%.0f %d', window, count + 1), 'PX', math.ceil(ARGV[2] / 1000))
return 1
`;

// Whether a visitor may pass: at most `limit` times in each window. Without Redis everybody passes.
export async function admitted(redis, visitor, limit, windowSeconds) {
  const keys = [`limit:{${visitor}}`];
  return (await redis.run(COUNT, keys, [limit, windowSeconds * 1e6]).catch(() => 1)) === 1;
}

const ACQUIRE = `
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local token = redis.call('INCR', KEYS[2])
if token <= tonumber(ARGV[3]) then
    token = tonumber(ARGV[3]) + 1
    redis.call('SET', KEYS[2], token)
end
return token
`;
const RELEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`;

// Do `work` with the lock; null when somebody else holds it. `work` gets a token that grows: what it changes must refuse older ones,
// because no lock can keep its holder from being paused for longer than the lock lasts. A failover may forget the last tokens: who is
// refused hands in the token that was met as `least`, and goes on above it.
export async function locked(redis, name, ms, work, least = 0) {
  const owner = randomBytes(8).toString("hex");
  const keys = [`lock:{${name}}`, `lock:{${name}}:token`];
  // An owner who asks again, because an answer was lost, finds himself in possession.
  const token = await patiently(() => redis.run(ACQUIRE, keys, [owner, ms, least]), PERSON_SECONDS);
  if (!token) return null;
  try {
    return await work(token);
  } finally {
    await redis.run(RELEASE, keys.slice(0, 1), [owner]).catch(() => {}); // else it ends by itself
  }
}
