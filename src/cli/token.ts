/** `warren token`: makes the credentials that the broker takes. */

import { readFile } from "node:fs/promises";
import { ACTIONS, type Action, type Grant } from "../../schemas/access.ts";
import { ALGORITHMS } from "../../schemas/identity.ts";
import { systemClock } from "../clock.ts";
import { type Config, loadConfig } from "../config.ts";
import { ANONYMOUS } from "../security/anonymous.ts";
import { makeKey } from "../security/keys.ts";
import type { SigningKey } from "../security/tokens.ts";
import {
  type Command,
  Failure,
  type Flags,
  type Input,
  integerFlag,
  listFlag,
  textFlag,
  UsageError,
} from "./command.ts";

/** What a credential allows, and to which device. */
export const RIGHTS_FLAGS: Flags = {
  allow: {
    type: "string",
    multiple: true,
    value: "ACTIONS=FILTER",
    help: "A grant; repeatable.",
  },
  deny: {
    type: "string",
    multiple: true,
    value: "ACTIONS=FILTER",
    help: "A denial; repeatable.",
  },
  role: { type: "string", multiple: true, value: "ROLE", help: "A role; repeatable." },
  client: { type: "string", value: "ID", help: "The id of the device." },
};

export const tokenCommand: Command = {
  name: "token",
  usage: "<principal>",
  summary: "Make a token, or with --key an API key for the settings.",
  details:
    "A token is signed with the secret of the settings (WARREN_JWT_SECRET, or the file of --config).\n" +
    "Grants are ACTIONS=FILTER: --allow publish,subscribe='devices/{principal}/#' --deny admin='#'.\n" +
    "A key is printed once; what goes into the settings, under `keys`, is printed beside it.",
  flags: {
    config: { type: "string", value: "FILE", help: "The broker's settings." },
    ...RIGHTS_FLAGS,
    "ttl-ms": { type: "string", value: "MS", help: "How long a token is good; an hour if absent." },
    alg: { type: "string", value: "ALG", help: "The algorithm, such as ES256; HS256 if absent." },
    "key-file": {
      type: "string",
      value: "FILE",
      help: "A private key (PEM, PKCS 8) to sign with.",
    },
    kid: { type: "string", value: "ID", help: "The id of that key in the issuer's key set." },
    issuer: { type: "string", value: "ISS", help: "Sign as this issuer of the settings." },
    key: { type: "boolean", help: "Make an API key instead." },
  },
  args: [1, 1],
  run(input) {
    if (input.args[0] === ANONYMOUS)
      throw new UsageError(`nobody can be given the name ${ANONYMOUS}`);
    return input.flags.key === true ? key(input) : token(input);
  },
};

const HOUR_MS = 3_600_000;

async function token(input: Input): Promise<number> {
  const granted = rights(input);
  const file = textFlag(input, "config");
  const config = await loadConfig({ flags: {}, env: input.env, ...(file && { file }) });
  const { issuer, audience, ...signing } = signer(input, config);
  const signingKey = await keyOf(input, signing.secret);
  const now = systemClock.now();
  const client = textFlag(input, "client");
  const claims = {
    sub: input.args[0] as string,
    iat: Math.floor(now / 1000),
    ...(issuer === undefined ? {} : { iss: issuer }),
    ...(audience === undefined ? {} : { aud: audience }),
    ...(client === undefined ? {} : { client }),
    ...granted,
  };
  const expiresAt = now + (integerFlag(input, "ttl-ms", 1000) ?? HOUR_MS);
  const { signToken } = await import("../security/tokens.ts");
  const signed = await signToken(claims, signingKey, expiresAt);
  // Plain even in a pipe: TOKEN=$(warren token me).
  if (input.flags.json === true) input.terminal.object({ token: signed, claims, expiresAt });
  else input.terminal.line(signed);
  return 0;
}

interface Signer {
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
  readonly secret?: string | undefined;
}

/** Whose tokens are made: an issuer of the settings, or whoever runs the broker. */
function signer(input: Input, { jwt, issuers }: Config): Signer {
  const name = textFlag(input, "issuer");
  if (name === undefined) return jwt;
  const found = issuers.find(({ issuer }) => issuer === name);
  if (found === undefined) throw new Failure(`There is no issuer ${name} in the settings.`);
  return found;
}

async function keyOf(input: Input, secret: string | undefined): Promise<SigningKey> {
  const alg = textFlag(input, "alg");
  if (alg !== undefined && !ALGORITHMS.some((known) => known === alg)) {
    throw new UsageError(`${alg} is no algorithm; there are ${ALGORITHMS.join(", ")}`);
  }
  const path = textFlag(input, "key-file");
  if (path !== undefined) {
    if (alg === undefined || alg.startsWith("HS")) {
      throw new UsageError("--key-file needs the --alg of its key, such as ES256");
    }
    const { importPKCS8 } = await import("jose");
    const key = await importPKCS8(await readFile(path, "utf8"), alg);
    return { alg, key, kid: textFlag(input, "kid") };
  }
  if (secret === undefined) {
    throw new Failure("There is no secret to sign with: set WARREN_JWT_SECRET, or jwt.secret.");
  }
  const { secretAlgorithms } = await import("../security/key-sources.ts");
  const { sharedKey } = await import("../security/tokens.ts");
  if (alg !== undefined && !secretAlgorithms(secret).includes(alg)) {
    throw new Failure(
      `The secret cannot sign with ${alg}; it can with ${secretAlgorithms(secret)}.`,
    );
  }
  return sharedKey(secret, alg);
}

async function key(input: Input): Promise<number> {
  const made = makeKey();
  const principal = input.args[0] as string;
  const settings = { id: made.id, hash: made.hash, principal, ...rights(input) };
  if (input.flags.json === true) input.terminal.object({ key: made.key, settings });
  else {
    input.terminal.line(made.key);
    input.terminal.note(`For the settings, under keys:\n${JSON.stringify(settings)}`);
  }
  return 0;
}

export function rights(input: Input): { roles?: string[]; grants?: readonly Grant[] } {
  const roles = [...listFlag(input, "role")];
  const grants: Grant[] = [
    ...listFlag(input, "allow").map((text) => ({ allow: actions(text), on: [filter(text)] })),
    ...listFlag(input, "deny").map((text) => ({ deny: actions(text), on: [filter(text)] })),
  ];
  return {
    ...(roles.length > 0 ? { roles } : {}),
    ...(grants.length > 0 ? { grants } : {}),
  };
}

function actions(text: string): Action[] {
  return (text.split("=", 1)[0] as string).split(",").map((word) => {
    const action = ACTIONS.find((one) => one === word.trim());
    if (action !== undefined) return action;
    throw new UsageError(`${word} is no action; there are ${ACTIONS.join(", ")}`);
  });
}

function filter(text: string): string {
  const at = text.indexOf("=");
  if (at >= 0 && at < text.length - 1) return text.slice(at + 1);
  throw new UsageError(`a grant is ACTIONS=FILTER, not ${text}`);
}
