/** Every engine under random operations. `FUZZ_SEED` repeats one run. */
import { memory } from "../engine/memory-kind.ts";
import { sqlite } from "../engine/sqlite-kind.ts";
import { fuzzEngine, fuzzTwoEngines } from "./queue-fuzz.ts";

fuzzEngine(memory, { seeds: 5, steps: 300 });
fuzzEngine(sqlite, { seeds: 5, steps: 300 });
fuzzTwoEngines(memory, sqlite, { seeds: 2, steps: 300 });
