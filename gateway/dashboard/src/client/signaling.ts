// The signaling topic of the gateway: as much STOMP 1.2 over a WebSocket as it takes.

export interface Signal {
  readonly type: 'JOIN' | 'OFFER' | 'ANSWER' | 'ICE' | 'ERROR';
  readonly senderId: string;
  readonly targetId?: string | null;
  readonly sdp?: string | null;
  readonly candidate?: RTCIceCandidateInit | null;
  /** Further fields pass the gateway unchanged. */
  readonly [field: string]: unknown;
}

export interface SignalingEvents {
  /** Subscribed: what is sent from now on comes through. */
  onOpen(): void;
  /** Everybody's messages come, our own too. */
  onSignal(signal: Signal): void;
  /** It has ended, for whatever reason; nothing comes after it. */
  onClose(code: number, reason: string): void;
}

export interface Signaling {
  /** Send one message; only while it is open. */
  send(signal: Signal): void;
  /** End it. `onClose` need not be called any more. */
  close(): void;
}

export type SignalingFactory = (events: SignalingEvents) => Signaling;

const TOPIC = '/topic/signaling';

/** Return the address of STOMP at the gateway that `base` belongs to. */
export function signalingUrl(base: string | URL): string {
  const url = new URL('ws', base);
  url.protocol = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss:' : 'ws:';
  return url.href;
}

/** Return an id that nobody else has; unlike `randomUUID` it does not need https. */
export function newPeerId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Connect to `url`, and subscribe. */
export function openSignaling(url: string, events: SignalingEvents): Signaling {
  const socket = new WebSocket(url, ['v12.stomp']);
  let problem = '';
  socket.onopen = () => {
    const host = new URL(url).hostname;
    socket.send(encodeFrame('CONNECT', { 'accept-version': '1.2', host }));
  };
  socket.onmessage = ({ data }: MessageEvent<unknown>) => {
    const frame = typeof data === 'string' ? decodeFrame(data) : null;
    if (frame === null) return;
    if (frame.command === 'CONNECTED') {
      const headers = { id: '0', destination: TOPIC, receipt: 'subscribed' };
      socket.send(encodeFrame('SUBSCRIBE', headers));
    } else if (frame.command === 'RECEIPT') {
      events.onOpen();
    } else if (frame.command === 'ERROR') {
      problem = frame.headers.get('message') ?? '';
    } else if (frame.command === 'MESSAGE') {
      const signal = parseSignal(frame.body);
      if (signal !== null) events.onSignal(signal);
    }
  };
  // An error is always followed by this.
  socket.onclose = (event) => events.onClose(event.code, event.reason || problem);
  return {
    send(signal) {
      socket.send(encodeFrame('SEND', { destination: '/app/signal' }, JSON.stringify(signal)));
    },
    close() {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    },
  };
}

export interface Frame {
  readonly command: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** Return a frame; the headers have nothing in them that must be escaped. */
export function encodeFrame(
  command: string,
  headers: Readonly<Record<string, string>>,
  body = '',
): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`);
  return `${command}\n${lines.join('')}\n${body}\0`;
}

/** Return the frame in `text`; null for a heart-beat. */
export function decodeFrame(text: string): Frame | null {
  const start = text.search(/[^\r\n]/);
  const end = text.lastIndexOf('\0');
  if (start < 0 || end < start) return null;
  const divided = text.indexOf('\n\n', start);
  if (divided < 0) return null;
  const [command = '', ...lines] = text.slice(start, divided).split('\n');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = unescape(line.slice(0, colon));
    // STOMP 1.2: of repeated headers the first counts.
    if (!headers.has(name)) headers.set(name, unescape(line.slice(colon + 1)));
  }
  return { command, headers, body: text.slice(divided + 2, end) };
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', c: ':', '\\': '\\' };

function unescape(text: string): string {
  return text.replace(/\\([nrc\\])/g, (_, letter: string) => ESCAPES[letter] ?? '');
}

/** Return the message in `body`; null if it is none. */
export function parseSignal(body: string): Signal | null {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value !== 'object' || value === null) return null;
    const { type, senderId } = value as Partial<Signal>;
    return typeof type === 'string' && typeof senderId === 'string' ? (value as Signal) : null;
  } catch {
    return null;
  }
}
