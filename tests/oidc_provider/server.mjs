// A certified OpenID provider, on loopback unless told otherwise. Says its issuer on stdout, ends with its input.
// OIDC_OPTIONS (JSON): `ttl` overrides lifetimes in seconds, `sayIssuer` makes the metadata name another issuer,
// `listen` is another address, `clients` are more clients (metadata of RFC 7591) which may do without PKCE,
// `jwt` are client IDs whose access tokens are JWTs for them, `scopes` are more scopes,
// `handOver: "link"` ends on a page with a link back to the client, as many providers' pages do, and not on a redirect.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const options = JSON.parse(process.env.OIDC_OPTIONS || '{}');
const server = createServer();
await new Promise((resolve) => server.listen(0, options.listen || '127.0.0.1', resolve));
// Its pages and the callback are on different host names: Chromium shares connections by name, and hides faults so.
const issuer = `http://${server.address().address}:${server.address().port}`;
const kirotunnel = 'kirotunnel-test';

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: kirotunnel,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      // Without a port: any port of that loopback name matches (RFC 8252 §7.3).
      redirect_uris: ['http://127.0.0.1/oauth/callback', 'http://localhost/oauth/callback', 'http://[::1]/oauth/callback'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
    },
    ...(options.clients || []),
  ],
  scopes: ['openid', 'profile', 'email', 'offline_access', ...(options.scopes || [])],
  claims: { openid: ['sub'], email: ['email'], profile: ['name'] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, name: id }),
  }),
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_, client) => (options.jwt?.includes(client.clientId) ? `urn:${client.clientId}` : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource, client) => ({
        scope: 'openid email',
        audience: client.clientId,
        accessTokenFormat: 'jwt',
      }),
    },
  },
  pkce: { required: (_, client) => client.clientId === kirotunnel },
  rotateRefreshToken: true,
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
  cookies: { keys: ['of-no-value'] },
  ttl: {
    AccessToken: 3600,
    AuthorizationCode: 60,
    DeviceCode: 600,
    Grant: 86400,
    IdToken: 3600,
    Interaction: 3600,
    RefreshToken: 86400,
    Session: 86400,
    ...options.ttl,
  },
});

if (options.handOver === 'link') {
  provider.use(async (context, next) => {
    await next();
    const location = context.response.get('location');
    if (/^http:\/\/(localhost|127\.0\.0\.1|\[::1\])[:/]/.test(location)) {
      context.response.remove('location');
      context.status = 200;
      context.type = 'html';
      context.body = `<h1>Signed in</h1><a id="continue" href="${location.replaceAll('&', '&amp;')}">Continue</a>`;
    }
  });
}

// Below `/tls` are metadata for a client that speaks to https alone: as if a proxy in between ended TLS.
const metadata = (said, tokenEndpoint) =>
  JSON.stringify({
    issuer: said,
    authorization_endpoint: `${issuer}/auth`,
    token_endpoint: tokenEndpoint,
    jwks_uri: `${issuer}/jwks`,
  });
const answer = provider.callback();
server.on('request', (request, response) => {
  const outside = issuer.replace('http:', 'https:');
  const said = {
    '/tls/.well-known/openid-configuration': metadata(outside, `${outside}/token`),
    ...(options.sayIssuer && {
      '/.well-known/openid-configuration': metadata(options.sayIssuer, `${issuer}/token`),
    }),
  }[request.url];
  if (said) {
    response.setHeader('content-type', 'application/json');
    response.end(said);
    return;
  }
  answer(request, response);
});

console.log(JSON.stringify({ issuer, client_id: kirotunnel }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
