// How messages travel. The client knows no more of it than this.

export interface TransportEvents {
  onOpen(): void;
  onMessage(text: string): void;
  /** It has ended, for whatever reason; nothing comes after it. Codes are those of WebSocket. */
  onClose(code: number, reason: string): void;
}

/** One connection: used once, and thrown away when it has ended. */
export interface Transport {
  /** Begin. What happens is told to `events`, never before this returns. */
  connect(events: TransportEvents): void;
  /** Send one message; only while it is open. */
  send(text: string): void;
  /** End it. `onClose` need not be called any more. */
  close(): void;
}

export type TransportFactory = () => Transport;

/**
 * Return the address of the stream of the gateway at `base`: the address of one of its pages, or one
 * that ends with a slash if the gateway is under a path prefix.
 */
export function streamUrl(base: string | URL): string {
  const url = new URL('api/v1/stream', base);
  url.protocol = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss:' : 'ws:';
  return url.href;
}

/** Messages over a WebSocket at `url`. */
export function webSocketTransport(url: string): Transport {
  let socket: WebSocket | null = null;
  return {
    connect(events) {
      socket = new WebSocket(url);
      socket.onopen = () => events.onOpen();
      socket.onmessage = (event: MessageEvent<unknown>) => {
        if (typeof event.data === 'string') events.onMessage(event.data);
      };
      // An error is always followed by this.
      socket.onclose = (event) => events.onClose(event.code, event.reason);
    },
    send(text) {
      socket?.send(text);
    },
    close() {
      if (socket === null) return;
      // Else a socket that is dead without knowing it would speak up a minute later.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}
