/** `warren token check`: what a broker with these settings would say to a token, and why. */
import { systemClock } from "../clock.ts";
import { loadConfig } from "../config.ts";
import { toWarrenError } from "../errors.ts";
import { assertNamed } from "../security/anonymous.ts";
import { type Command, Failure, textFlag } from "./command.ts";

export const tokenCheckCommand: Command = {
  name: "token check",
  usage: "",
  summary: "Check a token against the settings, and show its claims.",
  details:
    "The token is WARREN_TOKEN or comes on standard input: words of a command line are seen by others.",
  flags: { config: { type: "string", value: "FILE", help: "The broker's settings." } },
  args: [0, 0],
  async run(input) {
    const file = textFlag(input, "config");
    const { WARREN_TOKEN: given, ...env } = input.env;
    const { jwt, issuers } = await loadConfig({ flags: {}, env, ...(file && { file }) });
    const { createIssuers, issuerFaults } = await import("../security/issuers.ts");
    const reasons: string[] = [];
    const rules = {
      jwtSecret: jwt.secret,
      jwtPreviousSecret: jwt.previousSecret,
      issuer: jwt.issuer,
      audience: jwt.audience,
      clockToleranceMs: jwt.clockToleranceMs,
      issuers,
      clock: systemClock,
      keysFailed: (_issuer: string, reason: string) => reasons.push(reason),
    };
    const fault = issuerFaults(rules)[0];
    if (fault !== undefined) throw new Failure(`${fault.pointer}: ${fault.message}`);
    const verifier = createIssuers(rules);
    if (verifier === undefined) {
      throw new Failure("No tokens are taken: set WARREN_JWT_SECRET, or issuers in the settings.");
    }
    const text = (given ?? (await Bun.stdin.text())).trim();
    try {
      const { claims, bounds } = await verifier.verify(text);
      const principal = `${bounds.principalPrefix ?? ""}${claims.sub}`;
      assertNamed(principal);
      input.terminal.object({ ok: true, principal, claims });
      return 0;
    } catch (error) {
      const { code, message } = toWarrenError(error);
      throw new Failure([`${code}: ${message}`, ...reasons].join(" "));
    }
  },
};
