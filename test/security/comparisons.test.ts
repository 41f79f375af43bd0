/**
 * Secrets and what is made of them are compared in constant time, or not at all: `===` ends at the first
 * difference, and whoever measures how soon learns what he has to say next. Read from the source.
 */
import { describe, expect, test } from "bun:test";
import { functionsOf } from "../tidy/shape.ts";
import { type Finding, finding, readSources, type Source, source } from "../tidy/sources.ts";

const SECRET = /(?:secret|password|signature|credential|apikey|token|hash|hmac|mac|digest)s?$/i;
/** Hashes there are those of topics and names, which are no secrets: whoever has a key's asks `src/security/`. */
const HASHES_NAMES = /^src\/(?:broker|engine|collections)\//;
const OF_NAMES = /(?:hash|digest)(?:es|s)?$/i;
/** Not these: a kind of wildcard, a word of the grammar. */
const CONSTANT = /^[A-Z][A-Z0-9_]*$/;
const COMPARED = /(?<left>[\w$.#?[\]!]+)\s*(?:===|!==|==|!=)\s*(?<right>[\w$.#?[\]!"'`-]+)/g;
const ASKED =
  /(?<left>[\w$.#?[\]!]+)\.(?:includes|indexOf|startsWith|endsWith|localeCompare)\((?<right>[\w$.#?[\]!]+)[),]/g;
/** What tells nothing of what a secret says. */
const HARMLESS = /^(?:undefined|null|true|false|-?\d.*|["'`].*)$/;

/** Comparisons that may end at the first difference, with a secret on either side. */
function comparedSecrets(files: readonly Source[]): Finding[] {
  return files.flatMap((file) =>
    [COMPARED, ASKED].flatMap((how) =>
      [...file.code.matchAll(how)].flatMap((match) => {
        const { left = "", right = "" } = match.groups ?? {};
        if ([left, right].some((one) => HARMLESS.test(one) || CONSTANT.test(one))) return [];
        // `typeof x === …` compares the name of a type.
        if (/\btypeof\s*$/.test(file.code.slice(0, match.index))) return [];
        return [left, right].some((one) => isSecret(one, file))
          ? [finding(file, match.index, `${match[0]}; use sameHash or timingSafeEqual`)]
          : [];
      }),
    ),
  );
}

function isSecret(operand: string, { path }: Source): boolean {
  const last =
    operand
      .replace(/[!?\]]+$/, "")
      .split(/[.#?[]+/)
      .at(-1) ?? "";
  return SECRET.test(last) && !(HASHES_NAMES.test(path) && OF_NAMES.test(last));
}

const broker = readSources("src", "schemas");
const flagged = (code: string, path = "src/x.ts") => comparedSecrets([source(path, code)]);

describe("[P-13.2, P-14.1] secrets, hashes and signatures are never compared with ===", () => {
  test("in this repository", () => expect(comparedSecrets(broker)).toEqual([]));

  test.each([
    "if (key.hash === hashKey(text)) ok();",
    "return signature !== expected;",
    "if (one.hash != other?.hash) ok();",
    "const good = expected == mac;",
    "if (given === settings.jwt.secret) ok();",
    "if (this.#secret === given) ok();",
    "if (secrets.includes(given)) ok();",
    "if (known.token.startsWith(given)) ok();",
    "if (rows[0]!.hash === given) ok();",
  ])("canary: %s", (code) => expect(flagged(code)).toHaveLength(1));

  test.each([
    "if (secret === undefined) none();",
    'if (typeof token === "string") text();',
    "return mac.length === signature.length;",
    'if (url.hash !== "") none();',
    "if (kind === HASH) all();",
    "if (credential.startsWith(PREFIX)) looks();",
    "// secret === given\n",
  ])("innocent: %s", (code) => expect(flagged(code)).toEqual([]));
});

test("in the broker a hash is a topic's, and a secret still a secret", () => {
  expect(flagged("if (met[place] === hash) known();", "src/broker/x.ts")).toEqual([]);
  expect(flagged("if (given === webhook.secret) ok();", "src/broker/x.ts")).toHaveLength(1);
});

test("[P-13.2, P-14.1] what decides about them compares in constant time", () => {
  for (const [path, name] of [
    ["src/security/keys.ts", "sameHash"],
    ["src/security/signatures.ts", "isSignedBy"],
  ] as const) {
    const file = broker.find((one) => one.path === path)!;
    const span = functionsOf(file).find((one) => one.name === name)!;
    expect(file.code.slice(span.start, span.end)).toMatch(/\btimingSafeEqual\(/);
  }
});

test("[P-13.2] a key is looked for by its id and decided about by its hash alone", () => {
  const file = broker.find((one) => one.path === "src/security/api-keys.ts")!;
  const span = functionsOf(file).find((one) => one.name === "find")!;
  expect(file.code.slice(span.start, span.end)).toMatch(/\bsameHash\(hash, key\?\.hash\)/);
});
