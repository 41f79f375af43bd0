/** Requests of the command line to the operator's plane of a broker. */

import { Failure, type Input } from "./command.ts";
import { addressOf, unreachable } from "./connection.ts";
import { refusalText } from "./refusal.ts";

/** The answer's value; throws a `Failure` with the broker's own sentence. */
export async function ask<T>(
  input: Input,
  method: "GET" | "PUT" | "POST" | "PATCH" | "DELETE",
  path: string,
  body?: object,
): Promise<T> {
  const { http, token } = addressOf(input);
  const headers: Record<string, string> = { Accept: "application/json" };
  if (token !== undefined) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer: Response;
  try {
    answer = await fetch(`${http}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw unreachable(http);
  }
  const text = await answer.text();
  if (answer.ok) return (text === "" ? undefined : JSON.parse(text)) as T;
  throw new Failure(failureText(answer.status, text));
}

function failureText(status: number, text: string): string {
  try {
    const { code, detail, ...about } = JSON.parse(text) as { code: string; detail: string };
    return refusalText({ code, sentence: detail, about });
  } catch {
    return `The answer was ${status}, and not from a Warren broker.`;
  }
}
