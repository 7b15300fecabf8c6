// The commands that the uses need, as ioredis writes them; the same for every topology.
export const commands = (client) => ({
  get: async (key) => (await client()).get(key),
  setFor: async (key, value, ms) => (await client()).set(key, value, "PX", ms),
  run: async (script, keys, values) => (await client()).eval(script, keys.length, ...keys, ...values),
});
