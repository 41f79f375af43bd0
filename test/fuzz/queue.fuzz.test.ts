/** Every engine under random operations. `FUZZ_SEED` repeats one run. */
import { memory } from "../engine/memory-kind.ts";
import { fuzzEngine, fuzzTwoEngines } from "./queue-fuzz.ts";

fuzzEngine(memory, { seeds: 5, steps: 300 });
fuzzTwoEngines(memory, memory, { seeds: 1, steps: 300 });
