/** Waiting for what a test means, never for a time. */

/** Far beyond what a slow, noisy machine needs. */
const BOUND_MS = 30_000;

/** Resolves when `holds` does; rejects, saying what was waited for, when it does not for too long. */
export async function eventually(holds: () => boolean, what: () => string): Promise<void> {
  const start = performance.now();
  while (!holds()) {
    if (performance.now() - start > BOUND_MS) throw new Error(`In vain waited for: ${what()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
