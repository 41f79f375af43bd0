/** What every HTTP answer says to browsers [P-14.12]; an answer with words of its own keeps them. */

const ALWAYS: Readonly<Record<string, string>> = {
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "X-Frame-Options": "DENY",
  // Nothing here is a page; one that is brings its own policy.
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
};

export function secure(headers: Headers): void {
  for (const [name, value] of Object.entries(ALWAYS)) {
    if (!headers.has(name)) headers.set(name, value);
  }
}
