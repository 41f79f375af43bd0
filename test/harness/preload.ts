/** Runs before every test file: generous time for a slow, noisy, two-core machine. */
import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(60_000);
