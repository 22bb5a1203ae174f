// What time the server has. The clock of this machine may be minutes off, so its offset is estimated
// over the connection, as NTP does. Pure: times are arguments.

/** The server's time, and how much it may be off. */
export interface ServerTime {
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  readonly errorMs: number;
}

/** One question for the time: when it was asked and answered here, received and sent there. */
export interface Exchange {
  /** By a clock of this machine that never goes back, as `performance.now()`. */
  readonly askedMs: number;
  readonly answeredMs: number;
  /** By the server's clock, since 1970. */
  readonly receivedMs: number;
  readonly sentMs: number;
}

interface Sample {
  readonly offsetMs: number;
  readonly errorMs: number;
  readonly atMs: number;
}

const KEPT = 8;
// Two cheap quartz clocks drift apart by no more than this.
const DRIFT = 1e-4;
// Browsers round their clocks to a millisecond or less.
const RESOLUTION_MS = 1;

export class ServerClock {
  private samples: Sample[] = [];
  private renewing = false;

  /** Take an exchange; one that cannot be true is passed over. */
  take({ askedMs, answeredMs, receivedMs, sentMs }: Exchange): void {
    const roundTripMs = answeredMs - askedMs - (sentMs - receivedMs);
    if (!(sentMs >= receivedMs && roundTripMs >= -RESOLUTION_MS)) return;
    const sample: Sample = {
      // Each way takes half of the round trip, give or take that half.
      offsetMs: (receivedMs - askedMs + (sentMs - answeredMs)) / 2,
      errorMs: Math.max(0, roundTripMs) / 2 + RESOLUTION_MS,
      atMs: answeredMs,
    };
    // A sample that contradicts it says that one of the clocks was set.
    const kept = this.renewing ? [] : this.samples.filter((known) => agree(known, sample));
    this.renewing = false;
    this.samples = [...kept.slice(1 - KEPT), sample];
  }

  /** Another server may have answered what comes next: begin anew with it. */
  renew(): void {
    this.renewing = true;
  }

  /** Forget all: the clock of this machine was set, or stood still. */
  forget(): void {
    this.samples = [];
  }

  /** Return the server's time at `atMs` of this machine's clock; null: it is not known. */
  at(atMs: number): ServerTime | null {
    let best: ServerTime | null = null;
    for (const sample of this.samples) {
      const errorMs = errorAt(sample, atMs);
      if (best === null || errorMs <= best.errorMs) {
        best = { nowMs: atMs + sample.offsetMs, errorMs };
      }
    }
    return best;
  }
}

// The older a sample, the less it says.
function errorAt(sample: Sample, atMs: number): number {
  return sample.errorMs + DRIFT * Math.max(0, atMs - sample.atMs);
}

function agree(known: Sample, sample: Sample): boolean {
  const apart = Math.abs(known.offsetMs - sample.offsetMs);
  return apart <= errorAt(known, sample.atMs) + sample.errorMs;
}
