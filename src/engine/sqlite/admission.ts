/**
 * The question whether there is room for what some messages would make known, and who is told of the answer
 * [P-14.9]. Asked only where there may be none: far from every bound it costs nothing.
 */
import type { WarrenError } from "../../errors.ts";
import { tooManyTopics } from "../rules.ts";
import type { Pending } from "./storage.ts";
import type { RefusedTopic, TopicQuestion } from "./topic-exchange.ts";

export class Admission implements Pending {
  readonly question: TopicQuestion;
  /** How many of the items behind it stand and fall with it. */
  guarded = 0;
  readonly #answered: (refused: number | undefined) => void;

  /** `answered` is told which there is no room for, if there is one, before anything fails for that. */
  constructor(question: TopicQuestion, answered: (refused: number | undefined) => void) {
    this.question = question;
    this.#answered = answered;
  }

  /** Returns the error with which all that it guards fails. */
  refused({ message, isOverall }: RefusedTopic): WarrenError {
    this.#answered(message);
    const { keptTopics, candidates } = this.question;
    const { topic, channel, maxTopics } = candidates[message]!;
    return isOverall ? tooManyTopics(topic, keptTopics) : tooManyTopics(topic, maxTopics, channel);
  }

  committed(): void {
    this.#answered(undefined);
  }

  aborted(): void {
    this.#answered(undefined);
  }
}
