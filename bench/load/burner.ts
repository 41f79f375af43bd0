/** A process that does nothing but use a share of a core: `burner.ts <share>`. */
import { sleep } from "./timing.ts";

/** About what a scheduler gives a process at a time; shorter would measure the sleeping. */
const PERIOD_MS = 5;

const share = Number(process.argv[2]);
// Nobody is left to burn for.
process.on("disconnect", () => process.exit(0));
for (;;) {
  const start = performance.now();
  while (performance.now() - start < PERIOD_MS * share);
  await sleep(PERIOD_MS * (1 - share));
}
