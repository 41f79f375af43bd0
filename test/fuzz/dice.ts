/** Chance in small words. */
import type { Random } from "../../src/clock.ts";

export class Dice {
  readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.upTo(choices.length - 1)]!;
  }

  upTo(most: number): number {
    return Math.floor(this.random() * (most + 1));
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }
}
