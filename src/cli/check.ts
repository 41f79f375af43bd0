/** `warren check`: reads the settings, says everything that is wrong with them, and starts nothing. */
import { ConfigError, publicConfig } from "../config.ts";
import type { Command } from "./command.ts";
import { SETTINGS_FLAGS, settingsOf } from "./settings-flags.ts";

export const checkCommand: Command = {
  name: "check",
  usage: "",
  summary: "Check the settings without starting anything.",
  flags: SETTINGS_FLAGS,
  args: [0, 0],
  async run(input) {
    const { terminal, flags } = input;
    try {
      const config = await settingsOf(input);
      const { checkConfig, settingsWarnings } = await import("../main.ts");
      checkConfig(config);
      const warnings = settingsWarnings(config);
      if (flags.json === true) {
        terminal.object({ ok: true, warnings, config: publicConfig(config) });
        return 0;
      }
      for (const { message, advice } of warnings) terminal.note(`warning: ${message}. ${advice}`);
      terminal.line("The settings are good.");
      return 0;
    } catch (error) {
      if (!(error instanceof ConfigError) || flags.json !== true) throw error;
      terminal.object({ ok: false, faults: error.faults });
      return 1;
    }
  },
};
