// Server-sent events that come back after every failure.
//
// A browser's EventSource reconnects after a lost connection, but it gives up for ever when the
// answer is not a 200 (WHATWG HTML, 9.2.3): one 502 of a proxy while the gateway restarts ends it.

export interface StreamEvent {
  readonly type: 'status' | 'update' | 'interval_complete' | 'error';
  /** JSON; see docs/protocols/sse.md. */
  readonly data: string;
}

const TYPES = ['status', 'update', 'interval_complete', 'error'] as const;
// Not all clients should come back at the same moment.
const MIN_RETRY_MS = 1_000;
const MAX_RETRY_MS = 3_000;

/** Listen to the stream at `url`, and resume after failures, until the returned function is called. */
export function listenToEvents(
  url: string | URL,
  onEvent: (event: StreamEvent) => void,
): () => void {
  let lastEventId = '';
  let source: EventSource;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function open(): void {
    const address = new URL(url);
    // A new EventSource cannot set the header Last-Event-ID.
    if (lastEventId !== '') address.searchParams.set('lastEventId', lastEventId);
    source = new EventSource(address);
    for (const type of TYPES) {
      source.addEventListener(type, (event: Event) => {
        // The browser's own `error` has no data.
        if (!(event instanceof MessageEvent)) return;
        if (event.lastEventId !== '') lastEventId = event.lastEventId;
        onEvent({ type, data: String(event.data) });
      });
    }
    source.onerror = () => {
      // Otherwise the browser reconnects by itself.
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, MIN_RETRY_MS + Math.random() * (MAX_RETRY_MS - MIN_RETRY_MS));
    };
  }

  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
