/** `warren version`: what this is. */
import { VERSION } from "../version.ts";
import type { Command } from "./command.ts";

export const versionCommand: Command = {
  name: "version",
  usage: "",
  summary: "Print the version.",
  flags: {},
  args: [0, 0],
  async run({ flags, terminal }) {
    if (flags.json === true) terminal.object({ version: VERSION, bun: Bun.version });
    else terminal.line(`warren ${VERSION} (bun ${Bun.version})`);
    return 0;
  },
};
