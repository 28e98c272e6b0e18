// The certified OpenID provider `oidc-provider`, for one test: it reads its configuration from standard input, says
// where it listens on standard output, and ends with its standard input. Whoever types an address is that person.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const lines = createInterface({ input: process.stdin });
const { port, clients, people } = JSON.parse(await new Promise((resolve) => lines.once("line", resolve)));
lines.on("close", () => process.exit(0));

const key = (kind, options, alg) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }), alg, kid: alg, use: "sig",
});
const provider = new Provider(`http://localhost:${port}`, {
  clients,
  jwks: {
    keys: [
      key("rsa", { modulusLength: 2048 }, "RS256"),
      key("rsa", { modulusLength: 2048 }, "PS256"),
      key("ec", { namedCurve: "P-256" }, "ES256"),
      key("ed25519", {}, "EdDSA"),
    ],
  },
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "PS256", "ES256", "EdDSA"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  cookies: { keys: ["tests"] },
  features: { backchannelLogout: { enabled: true } },
  pkce: { required: () => true },
  findAccount: (context, address) =>
    people[address] && { accountId: address, claims: () => ({ sub: address, email: address, ...people[address] }) },
  // nobody is asked whether we may know who they are
  async loadExistingGrant({ oidc: { client, session } }) {
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope("openid email profile");
    await grant.save();
    return grant;
  },
  // it asks nothing on its own machine, and ours is there
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
});
createServer(provider.callback()).listen(port, "127.0.0.1", () => console.log("listening"));
