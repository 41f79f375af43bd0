/** The flags of `serve` and `check`: every setting that a command line can hold. */

import { type Config, loadConfig } from "../config.ts";
import { settingLeaves } from "../config-leaves.ts";
import type { Flags, Input } from "./command.ts";
import { textFlag } from "./command.ts";

export const SETTINGS_FLAGS: Flags = {
  config: { type: "string", value: "FILE", help: "Settings in TOML or JSON; else WARREN_CONFIG." },
  ...Object.fromEntries(
    settingLeaves().flatMap((leaf) =>
      leaf.flag === undefined
        ? []
        : [
            [
              leaf.flag,
              {
                type: leaf.kind === "boolean" ? "boolean" : "string",
                value: leaf.words?.join("|") ?? leaf.unit ?? leaf.kind,
                help: leaf.description + defaultText(leaf.default),
              } as const,
            ],
          ],
    ),
  ),
};

/** The settings from flags, environment and file; throws `ConfigError`. */
export function settingsOf(input: Input): Promise<Config> {
  const flags: Record<string, string | boolean> = {};
  for (const { flag, path } of settingLeaves()) {
    const value = flag === undefined ? undefined : input.flags[flag];
    if (typeof value === "string" || typeof value === "boolean") flags[path] = value;
  }
  const file = textFlag(input, "config");
  return loadConfig({ flags, env: input.env, ...(file === undefined ? {} : { file }) });
}

function defaultText(value: unknown): string {
  return ["string", "number"].includes(typeof value) ? ` [${value}]` : "";
}
