// An OpenID provider for the tests: oidc-provider with accounts and clients of the tests' choice, without a page to click through.
//
//   node server.mjs MODULES        the configuration comes as one line of JSON on standard input
//
// A browser is played by a test that follows redirects: /interaction/UID logs in whom the parameter `login_hint` names, and consents.
// POST /tests/accounts sets the accounts anew: {"subject": {claims…}}.

import { createRequire } from 'node:module';
import http from 'node:http';
import https from 'node:https';
import { pathToFileURL } from 'node:url';
import readline from 'node:readline';

const require = createRequire(`${process.argv[2]}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const first = await new Promise((resolve) => readline.createInterface({ input: process.stdin }).once('line', resolve));
const { issuer, port, tls, clients, jwks } = JSON.parse(first);
let accounts = {};


const provider = new Provider(issuer, {
  clients,
  jwks,
  claims: { openid: ['sub'], profile: ['name', 'preferred_username', 'groups'], email: ['email'] },
  cookies: { keys: ['only for tests'] },
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  findAccount: (_, sub) => (accounts[sub] ? { accountId: sub, claims: async () => ({ sub, ...accounts[sub] }) } : undefined),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
});

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return JSON.parse(text);
}

async function consent(request, response) {
  const { params, prompt, session, grantId } = await provider.interactionDetails(request, response);
  if (params.login_hint === 'nobody') return provider.interactionFinished(request, response, { error: 'access_denied' });
  if (prompt.name === 'login') return provider.interactionFinished(request, response, { login: { accountId: params.login_hint } });
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function handle(request, response) {
  try {
    if (request.url.startsWith('/interaction/')) return await consent(request, response);
    if (request.url === '/tests/accounts') {
      accounts = await body(request);
      return response.writeHead(204).end();
    }
  } catch (error) {
    return response.writeHead(500).end(String(error.stack));
  }
  return provider.callback()(request, response);
}

const server = tls ? https.createServer(tls, handle) : http.createServer(handle);
server.listen(port, '127.0.0.1', () => console.log('ready'));
