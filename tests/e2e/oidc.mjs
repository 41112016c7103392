// A real authorization server (oidc-provider), and a resource that takes what comes with one of its tokens.
//
// Prints {"port": N} once it listens on 127.0.0.1, and ends when its standard input does. Its one argument is JSON:
// {"clients": [...], "seconds": life of a token}. POST /results wants a token that is valid here; POST /revoke ends
// all tokens given so far; GET /seen tells how many tokens were given and what came with which client.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { clients, seconds } = JSON.parse(process.argv[2]);
const seen = { tokens: 0, results: [] };
const given = new Set();
const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const { port } = server.address();
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  scopes: ['system/*.cud'],
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
  enabledJWA: { clientAuthSigningAlgValues: ['RS384', 'ES384'] },
  ttl: { ClientCredentials: seconds },
});
provider.on('client_credentials.saved', (token) => {
  seen.tokens += 1;
  given.add(token.jti);
});
const oidc = provider.callback();

server.on('request', async (request, response) => {
  const { pathname } = new URL(request.url, 'http://x');
  if (!['/results', '/revoke', '/seen'].includes(pathname)) return oidc(request, response);
  request.resume();
  let status = 200;
  if (pathname === '/results') {
    const value = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    const token = value && (await provider.ClientCredentials.find(value));
    status = token && !token.isExpired && token.scope === 'system/*.cud' ? 201 : 401;
    if (status === 201) seen.results.push(token.clientId);
  } else if (pathname === '/revoke') {
    for (const value of given) await (await provider.ClientCredentials.find(value))?.destroy();
    given.clear();
  }
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(seen));
});
process.stdin.resume().on('end', () => process.exit(0));
console.log(JSON.stringify({ port }));
