// When to come back after a connection ended.

export const FIRST_DELAY_MS = 500;
// Longer, and a person reloads the page; shorter, and many clients keep a server busy that starts.
export const MAX_DELAY_MS = 10_000;

/**
 * Return how long to wait before attempt `attempt` (0, 1, 2, ...).
 *
 * Half of it is chance, so that not all clients of a server that restarts come in one moment.
 */
export function backoffMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10));
  return ceiling * (0.5 + random() / 2);
}
