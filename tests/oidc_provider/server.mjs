// A certified OpenID provider on loopback. Says its issuer on stdout, ends with its input.
// OIDC_OPTIONS (JSON): `ttl` overrides lifetimes in seconds, `sayIssuer` makes the metadata name another issuer.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const options = JSON.parse(process.env.OIDC_OPTIONS || '{}');
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
// Its pages and the callback are on different host names: Chromium shares connections by name, and hides faults so.
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'kirotunnel-test',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      // Without a port: any port of that loopback name matches (RFC 8252 §7.3).
      redirect_uris: ['http://127.0.0.1/oauth/callback', 'http://localhost/oauth/callback', 'http://[::1]/oauth/callback'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
    },
  ],
  scopes: ['openid', 'profile', 'email', 'offline_access'],
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
  },
  pkce: { required: () => true },
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

const answer = provider.callback();
server.on('request', (request, response) => {
  if (options.sayIssuer && request.url === '/.well-known/openid-configuration') {
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({
        issuer: options.sayIssuer,
        authorization_endpoint: `${issuer}/auth`,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/jwks`,
      }),
    );
    return;
  }
  answer(request, response);
});

console.log(JSON.stringify({ issuer, client_id: 'kirotunnel-test' }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
