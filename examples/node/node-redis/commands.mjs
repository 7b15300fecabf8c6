// The commands that the uses need, as node-redis writes them; the same for every topology.
export const commands = (client) => ({
  get: async (key) => (await client()).get(key),
  getFor: async (key, seconds) => (await client()).getEx(key, { type: "EX", value: seconds }),
  setFor: async (key, value, ms) => (await client()).set(key, value, { expiration: { type: "PX", value: ms } }),
  del: async (key) => (await client()).del(key),
  run: async (script, keys, values) => (await client()).eval(script, { keys, arguments: values.map(String) }),
});
