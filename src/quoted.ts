/** Text as JSON, for what is written with every message: ids, topics and names need no escapes nearly always. */

const QUOTE = 34;
const BACKSLASH = 92;
const LONGEST_CHECKED = 64;

/** To see that there is nothing to escape is faster than to call into the runtime. */
export function quoted(text: string): string {
  const { length } = text;
  if (length > LONGEST_CHECKED) return JSON.stringify(text);
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 32 || unit > 126 || unit === QUOTE || unit === BACKSLASH) {
      return JSON.stringify(text);
    }
  }
  return `"${text}"`;
}

/** Quoted text of the last one that was asked for: the same topics and queues come again and again. */
export class LastQuoted {
  #text = "";
  #quoted = '""';

  of(text: string): string {
    if (text !== this.#text) {
      this.#quoted = quoted(text);
      this.#text = text;
    }
    return this.#quoted;
  }
}

/** The last number as text: messages of one millisecond have the same times. */
export class LastNumber {
  #number = 0;
  #text = "0";

  of(number: number): string {
    if (number !== this.#number) {
      this.#text = String(number);
      this.#number = number;
    }
    return this.#text;
  }
}
