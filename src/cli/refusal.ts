/** What a broker says no to, as the command line prints it: the code, the sentence, and what it is about. */

export interface Refusal {
  readonly code: string;
  readonly sentence: string;
  /** What else the answer says; names that the sentence leaves out are added to it. */
  readonly about: Readonly<Record<string, unknown>>;
}

export function refusalText({ code, sentence, about }: Refusal): string {
  const { queue, pointer } = about;
  const named = [queue, pointer].filter(
    (name) => typeof name === "string" && name !== "" && !sentence.includes(name),
  );
  return `${code}: ${sentence}${named.length === 0 ? "" : ` (${named.join(", ")})`}`;
}
