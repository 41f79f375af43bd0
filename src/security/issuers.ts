/**
 * Which issuer a token is from, and what that issuer's tokens may claim at most [P-14.1]. The `iss` of a
 * token only chooses whose keys must have signed it: it is believed when they have.
 */
import type { IssuerSettings } from "../../schemas/identity.ts";
import { compilePlan, type Fault, grantFaults, type Plan } from "../broker/access.ts";
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import { DEFAULT_LIMITS } from "../limits.ts";
import {
  discoveryUrl,
  type KeySource,
  keyFileFault,
  keySourceOf,
  PUBLIC_KEY_ALGORITHMS,
  SECRET_BYTES_MIN,
  secretAlgorithms,
  secretKeys,
} from "./key-sources.ts";
import { urlFault } from "./outbound.ts";
import {
  createTokenVerifier,
  readToken,
  type TokenVerifier,
  type VerifiedToken,
} from "./tokens.ts";
import { Turnstile } from "./turnstile.ts";
import { VerifiedTokens } from "./verified-tokens.ts";

/** What a token may claim at most. */
export interface ClaimBounds {
  readonly principalPrefix?: string | undefined;
  readonly allowedRoles?: readonly string[] | undefined;
  readonly maxAgeMs?: number | undefined;
  readonly maxPlan?: Plan | undefined;
}

/** A verified token, with the bounds of who made it. */
export interface Vouched extends VerifiedToken {
  readonly bounds: ClaimBounds;
}

export interface Issuers {
  /** Rejects as `TokenVerifier.verify` does. */
  verify(token: string, mayGoOn?: () => void): Promise<Vouched>;
  /** Key files and fetched keys are read anew for the next token. */
  refresh(): void;
  /** Fetched keys are asked for anew if that is due. Does not reject. */
  recheck(): Promise<void>;
}

export interface IssuersConfig {
  /** The shared secret of whoever runs this broker. */
  readonly jwtSecret?: string | undefined;
  /** Still good for verifying while the secret is being changed. */
  readonly jwtPreviousSecret?: string | undefined;
  /** `iss` of tokens under that secret, where it matters. */
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
  readonly clockToleranceMs?: number | undefined;
  readonly issuers?: readonly IssuerSettings[] | undefined;
  readonly clock: Clock;
  /** Verified tokens that are remembered, at most; without it none is. */
  readonly verifiedTokens?: number | undefined;
  /** Signatures that wait for their turn, at most; as many as by default when absent. */
  readonly pendingHandshakes?: number | undefined;
  /** Told when keys cannot be had; absent, nobody is. */
  readonly keysFailed?: ((issuer: string, reason: string) => void) | undefined;
}

interface Entry {
  readonly verifier: TokenVerifier;
  readonly keys: KeySource;
  readonly bounds: ClaimBounds;
}

/** The settings must have no `issuerFaults`. Undefined when nobody's tokens are taken. */
export function createIssuers(config: IssuersConfig): Issuers | undefined {
  const { pendingHandshakes = DEFAULT_LIMITS.pendingHandshakes } = config;
  const turnstile = new Turnstile(config.clock, pendingHandshakes);
  const named = new Map(
    (config.issuers ?? []).map((one) => [one.issuer, entryOf(one, config, turnstile)]),
  );
  const own = ownEntry(config);
  if (own === undefined && named.size === 0) return undefined;
  const known = new VerifiedTokens<Vouched>(config.clock, config.verifiedTokens ?? 0);
  return {
    async verify(text, mayGoOn) {
      const before = known.find(text);
      if (before !== undefined) return before;
      const token = readToken(text);
      const byName = token.issuer === undefined ? undefined : named.get(token.issuer);
      const entry = byName ?? own;
      if (entry === undefined) {
        const why =
          "The token's claim /iss is missing or names nobody whose tokens are taken here.";
        throw new WarrenError("unauthenticated", why, { pointer: "/iss" });
      }
      const { keys, verifier, bounds } = entry;
      const { revision } = keys;
      const vouched = { ...(await verifier.verify(token, mayGoOn)), bounds };
      // Keys that changed meanwhile may not be those that it was verified with.
      if (revision !== undefined && revision === keys.revision) {
        known.keep(text, vouched, vouched.span, () => keys.revision === revision);
      }
      return vouched;
    },
    refresh() {
      for (const { keys } of named.values()) keys.refresh();
    },
    async recheck() {
      await Promise.all([...named.values()].map(({ keys }) => keys.recheck?.()));
    },
  };
}

function ownEntry(config: IssuersConfig): Entry | undefined {
  const { jwtSecret, jwtPreviousSecret, issuer, audience, clockToleranceMs, clock } = config;
  if (jwtSecret === undefined) return undefined;
  const secrets = jwtPreviousSecret === undefined ? [jwtSecret] : [jwtSecret, jwtPreviousSecret];
  const keys = secretKeys(secrets);
  const verifier = createTokenVerifier({ keys, issuer, audience, clockToleranceMs, clock });
  return { verifier, keys, bounds: {} };
}

function entryOf(settings: IssuerSettings, config: IssuersConfig, turnstile: Turnstile): Entry {
  const { issuer, audience, algorithms, maxAgeMs, maxGrants, allowedRoles } = settings;
  const { clock, clockToleranceMs } = config;
  const keys = keySourceOf(settings, clock, (reason) => config.keysFailed?.(issuer, reason));
  return {
    keys,
    verifier: createTokenVerifier({
      keys,
      algorithms,
      issuer,
      audience,
      maxAgeMs,
      clockToleranceMs,
      clock,
      // A shared secret takes next to nothing.
      turnstile: settings.secret === undefined ? turnstile : undefined,
    }),
    bounds: {
      allowedRoles,
      maxAgeMs,
      principalPrefix: settings.principalPrefix,
      maxPlan: maxGrants && compilePlan(maxGrants),
    },
  };
}

/** Everything that is wrong with the settings of issuers, by its place. */
export function issuerFaults(config: IssuersConfig): Fault[] {
  const seen = new Set(config.jwtSecret === undefined ? [] : [config.issuer]);
  const faults = (config.issuers ?? []).flatMap((settings, index) => {
    const at = `/issuers/${index}`;
    const again = seen.has(settings.issuer);
    seen.add(settings.issuer);
    return [
      ...(again ? [{ pointer: `${at}/issuer`, message: `repeats "${settings.issuer}"` }] : []),
      ...sourceFaults(settings, at),
      ...algorithmFaults(settings, at),
      ...grantFaults(settings.maxGrants ?? [], `${at}/maxGrants`),
    ];
  });
  const previous = secretFault(config.jwtPreviousSecret);
  if (previous !== undefined) faults.push({ pointer: "/jwt/previousSecret", message: previous });
  const own = secretFault(config.jwtSecret);
  if (own !== undefined) faults.push({ pointer: "/jwt/secret", message: own });
  else if (config.jwtSecret === undefined && config.jwtPreviousSecret !== undefined) {
    const message = "is of no use without jwt.secret; put the new secret there";
    faults.push({ pointer: "/jwt/previousSecret", message });
  }
  return faults;
}

const SOURCES = ["secret", "publicKeyFile", "jwksFile", "jwksUrl", "discovery"] as const;

function sourceFaults(settings: IssuerSettings, at: string): Fault[] {
  const { secret, previousSecret, jwksUrl, discovery, audience, issuer } = settings;
  const given = SOURCES.filter((name) => settings[name] !== undefined);
  if (given.length !== 1) {
    const message = `must have one of ${SOURCES.join(", ")}, and has ${given.join(", ") || "none"}`;
    return [{ pointer: at, message }];
  }
  const faults: Fault[] = [];
  const demand = (place: string, message: string | undefined) => {
    if (message !== undefined) faults.push({ pointer: `${at}/${place}`, message });
  };
  demand("secret", secretFault(secret));
  demand("previousSecret", secretFault(previousSecret));
  if (previousSecret !== undefined && secret === undefined) {
    demand("previousSecret", "is of no use without secret");
  }
  demand(given[0] as string, keyFileFault(settings));
  const url = discovery === true ? discoveryUrl(issuer) : jwksUrl;
  if (url === undefined) return faults;
  const fault = urlFault(url, { allowPrivate: settings.allowPrivate ?? false });
  demand(discovery === true ? "issuer" : "jwksUrl", fault);
  if (audience === undefined) {
    const why = "a token that this issuer made for any other service would be good here";
    demand("audience", `is missing: ${why}; set it to the name of this broker there`);
  }
  return faults;
}

function algorithmFaults({ algorithms, secret }: IssuerSettings, at: string): Fault[] {
  const possible = secret === undefined ? PUBLIC_KEY_ALGORITHMS : secretAlgorithms(secret);
  return (algorithms ?? []).flatMap((name, index) => {
    if (possible.includes(name)) return [];
    const why = `cannot be verified with its keys; there ${possible.join(", ")} can`;
    return [{ pointer: `${at}/algorithms/${index}`, message: `${name} ${why}` }];
  });
}

/** A secret that repeats itself, or is one of the examples of the world, can be guessed offline. */
export function secretFault(secret: string | undefined): string | undefined {
  if (secret === undefined) return undefined;
  const advice = "make one with `openssl rand -base64 32`";
  if (Buffer.byteLength(secret) < SECRET_BYTES_MIN) {
    return `must have at least ${SECRET_BYTES_MIN} bytes; ${advice}`;
  }
  if (new Set(secret).size < 8 || /^(.{1,8})\1+.{0,7}$/s.test(secret)) {
    return `repeats itself, so that it can be guessed; ${advice}`;
  }
  return undefined;
}
