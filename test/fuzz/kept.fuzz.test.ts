/** Every engine under random publishes, reads and trims of what topics keep. `FUZZ_SEED` repeats one run. */
import { memory } from "../engine/memory-kind.ts";
import { sqlite } from "../engine/sqlite-kind.ts";
import { fuzzKept } from "./kept-fuzz.ts";

fuzzKept(memory, { seeds: 4, steps: 150 });
fuzzKept(sqlite, { seeds: 4, steps: 150 });
