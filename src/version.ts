/** What this build is, from the one place that says so. */
import { version } from "../package.json";

export const VERSION: string = version;
