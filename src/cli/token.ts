/** `warren token`: makes the credentials that the broker takes. */
import { ACTIONS, type Action, type Grant } from "../../schemas/access.ts";
import { systemClock } from "../clock.ts";
import { loadConfig } from "../config.ts";
import { makeKey } from "../security/keys.ts";
import { signToken } from "../security/tokens.ts";
import {
  type Command,
  Failure,
  type Input,
  integerFlag,
  listFlag,
  textFlag,
  UsageError,
} from "./command.ts";

export const tokenCommand: Command = {
  name: "token",
  usage: "<principal>",
  summary: "Make a token, or with --key an API key.",
  details:
    "A token is signed with the secret of the settings (WARREN_JWT_SECRET, or the file of --config).\n" +
    "Grants are ACTIONS=FILTER: --allow publish,subscribe='devices/{principal}/#' --deny admin='#'.\n" +
    "A key is printed once; what goes into the settings, under `keys`, is printed beside it.",
  flags: {
    config: { type: "string", value: "FILE", help: "The broker's settings." },
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
    "ttl-ms": { type: "string", value: "MS", help: "How long a token is good; an hour if absent." },
    key: { type: "boolean", help: "Make an API key instead." },
  },
  args: [1, 1],
  run: (input) => (input.flags.key === true ? key(input) : token(input)),
};

const HOUR_MS = 3_600_000;

async function token(input: Input): Promise<number> {
  const granted = rights(input);
  const file = textFlag(input, "config");
  const { jwt } = await loadConfig({ flags: {}, env: input.env, ...(file && { file }) });
  if (jwt.secret === undefined) {
    throw new Failure("There is no secret to sign with: set WARREN_JWT_SECRET, or jwt.secret.");
  }
  const now = systemClock.now();
  const client = textFlag(input, "client");
  const claims = {
    sub: input.args[0] as string,
    iat: Math.floor(now / 1000),
    ...(jwt.issuer === undefined ? {} : { iss: jwt.issuer }),
    ...(jwt.audience === undefined ? {} : { aud: jwt.audience }),
    ...(client === undefined ? {} : { client }),
    ...granted,
  };
  const expiresAt = now + (integerFlag(input, "ttl-ms", 1000) ?? HOUR_MS);
  const signed = await signToken(claims, jwt.secret, expiresAt);
  // Plain even in a pipe: TOKEN=$(warren token me).
  if (input.flags.json === true) input.terminal.object({ token: signed, claims, expiresAt });
  else input.terminal.line(signed);
  return 0;
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

function rights(input: Input): { roles?: string[]; grants?: readonly Grant[] } {
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
