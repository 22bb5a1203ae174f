// One round of drawing per animation frame, however much happened since the last.

/** Collects what changed; a frame later `draw` gets all of it at once. */
export class Frames<T> {
  private changed = new Set<T>();
  private waiting = 0;
  private readonly drawers = new Set<(changed: ReadonlySet<T>) => void>();

  /** Each thing that changed waits once, so what waits while a tab is hidden is bounded. */
  mark(thing: T): void {
    this.changed.add(thing);
    if (this.waiting === 0) this.waiting = requestAnimationFrame(() => this.draw());
  }

  /** Let `drawer` draw; return what ends that. */
  onDraw(drawer: (changed: ReadonlySet<T>) => void): () => void {
    this.drawers.add(drawer);
    return () => void this.drawers.delete(drawer);
  }

  private draw(): void {
    this.waiting = 0;
    const changed = this.changed;
    this.changed = new Set();
    for (const drawer of this.drawers) drawer(changed);
  }
}
