/**
 * JSON from strangers. Two characters that open and close an array cost as much to parse as forty of other text, so a
 * text that holds hardly anything else is looked through first, and what nobody may use of it is not parsed [P-2.6].
 */

/** No payload may be nested as deep; the recursion over a value is bounded by it. */
export const NESTING_MAX = 512;
/** What is shorter takes a tenth of a millisecond at most, whatever is in it. */
const LOOKED_AT_FROM = 4096;
/** With fewer openings than one in so many characters a text costs no more than others of its length. */
const CHARACTERS_AN_OPENING = 8;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** The codes of `[` and `{` differ in this bit alone, and so do those of `]` and `}`. */
const CURLY = 0x20;
const OPENS = 0x7b;
const CLOSES = 0x7d;

/** As `JSON.parse`, of the text `withoutDepths`. Throws as that does. */
export function parseJson(text: string): unknown {
  return JSON.parse(withoutDepths(text));
}

/**
 * The text with a 0 for what lies deeper than `NESTING_MAX` levels, where parsing that would cost much; else the text
 * itself. What is left out is not looked at, not even for its faults.
 */
export function withoutDepths(text: string): string {
  if (text.length < LOOKED_AT_FROM) return text;
  const most = Math.max(NESTING_MAX, text.length / CHARACTERS_AN_OPENING);
  const arrays = occurrences(text, "[", most);
  return arrays + occurrences(text, "{", most - arrays) <= most ? text : cut(text);
}

/** How often the character is in the text; any number above `most` when it is more than that. */
function occurrences(text: string, character: string, most: number): number {
  let count = 0;
  for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + 1)) {
    if (++count > most) break;
  }
  return count;
}

function cut(text: string): string {
  let kept = "";
  let from = 0;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) i = endOfText(text, i);
    else if ((code | CURLY) === OPENS) {
      if (++depth === NESTING_MAX + 1) kept += `${text.slice(from, i)}0`;
    } else if ((code | CURLY) === CLOSES) {
      if (depth-- === NESTING_MAX + 1) from = i + 1;
    }
  }
  if (kept === "") return text;
  return depth > NESTING_MAX ? kept : kept + text.slice(from);
}

/** Where the text ends that begins with this quote; the end of it all when it has none. */
function endOfText(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end;
    while (text.charCodeAt(before - 1) === BACKSLASH) before--;
    if ((end - before) % 2 === 0) return end;
  }
  return text.length;
}
