// A real identity provider (oidc-provider) with its own pages for log-in and consent.
//
// Prints {"port": N} once it listens on 127.0.0.1, and ends when its standard input does. Its one argument is JSON:
// {"clients": [...], "groups": name of a person -> groups}.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { clients, groups } = JSON.parse(process.argv[2]);
const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const { port } = server.address();
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  conformIdTokenClaims: false,
  features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true } },
  // The page is on loopback, where the provider's own guard lets no notice go.
  fetch: (address, { dispatcher, ...options }) => fetch(address, options),
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => ({ sub: `number of ${id}`, preferred_username: id, groups: groups[id] ?? [] }),
  }),
  pkce: { required: () => true },
});
server.on('request', provider.callback());
process.stdin.resume().on('end', () => process.exit(0));
console.log(JSON.stringify({ port }));
